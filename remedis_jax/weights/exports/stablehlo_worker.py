"""Runs an exported program; started by `worker_process.run_worker`, never imported.

Imports the standard library, numpy, JAX and safetensors, nothing else: what a user without this
package has. `job.json` has "program" and "weights"; `arrays.npz` has "images", float32
[N, H, W, 3] in [0, 1].
"""

import json
import sys
from pathlib import Path

import numpy as np

_BATCH = 4


def main(job_folder: Path) -> dict:
    import jax
    import jax.export
    from safetensors.numpy import load_file

    job = json.loads((job_folder / "job.json").read_text())
    network = jax.export.deserialize(bytearray(Path(job["program"]).read_bytes()))
    tensors = load_file(job["weights"]).items()
    # As in the README: hashes of what the weights have seen are no parameters.
    weights = jax.device_put({n: values for n, values in tensors if not n.startswith("seen/")})
    call = jax.jit(network.call)
    with np.load(job_folder / "arrays.npz", allow_pickle=False) as arrays:
        images = arrays["images"]
    parts = [
        jax.device_get(call(weights, images[start : start + _BATCH]))
        for start in range(0, len(images), _BATCH)
    ]
    results = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    np.savez(job_folder / "results.npz", **results)
    return {"versions": {"jax": jax.__version__}}


if __name__ == "__main__":
    place = Path(sys.argv[1])
    (place / "report.json").write_text(json.dumps(main(place)))
