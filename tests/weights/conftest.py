"""A small artefact: a real network of random weights with a whole card."""

import numpy as np
import pytest

from remedis_jax.data.resample import Resampling
from remedis_jax.models.bit import BiTSpec
from remedis_jax.weights.architecture import (
    encoder_card,
    encoder_shapes,
    head_shapes,
)
from remedis_jax.weights.artifact import save_artifact, unflatten
from remedis_jax.weights.contract import Contract


def random_params(spec: BiTSpec, classes: int = 0, seed: int = 0) -> dict:
    """Nested parameters; gamma and beta are random too, since at 1 and 0 a swap would hide."""
    generator = np.random.default_rng(seed)
    parts = {"encoder": encoder_shapes(spec)}
    if classes:
        parts["head"] = head_shapes(spec, classes)
    flat = {}
    for part, shapes in parts.items():
        for name, shape in shapes.items():
            values = 0.3 * generator.standard_normal(shape, dtype=np.float32)
            flat[f"{part}/{name}"] = values + 1 if name.endswith("gamma") else values
    return unflatten(flat)


def make_card(spec: BiTSpec, classes: int = 0, size: int = 32, **host) -> dict:
    """A card as an import writes it."""
    contract = Contract(
        channels=3,
        to_grey=False,
        host=Resampling(size, **host),
        device=None,
        size=size,
        output_dim=spec.output_dim,
        value_range=spec.value_range,
    )
    names = [f"class {index}" for index in range(classes)]
    return {
        "stage": "import:bit",
        "encoder": encoder_card(spec),
        "head": {"kind": "softmax", "classes": names, "temperature": None} if classes else None,
        "preprocessing": contract.to_json(),
        "lineage": {"init": None},
        "licence": {"name": "Apache-2.0", "inherited": None},
        "versions": {},
    }


SMALL = BiTSpec(14, 0.25)


@pytest.fixture(scope="session")
def small_artifact(tmp_path_factory):
    """Path of an r14x0.25 with a head of three classes, for images of 32 pixels."""
    path = tmp_path_factory.mktemp("artefact") / "small.safetensors"
    save_artifact(path, random_params(SMALL, 3), make_card(SMALL, 3))
    return path
