"""The images of a manifest as a contract prepares them, for whatever feeds a network."""

import json

from remedis_jax.data.manifest import Manifest
from remedis_jax.data.sources import FileSource
from remedis_jax.weights.contract import Contract


def prepared_source(manifest: Manifest, contract: Contract) -> FileSource:
    """The manifest's images in the form that `contract.to_network` takes."""
    host = contract.host
    return FileSource(
        manifest,
        contract.prepare,
        (host.size, host.size, contract.channels),
        dtype=contract.dtype,
        description=json.dumps(contract.to_json(), sort_keys=True),
    )
