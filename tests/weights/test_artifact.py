"""Weights files: exact, self-describing, refused when they are not what they should be."""

import numpy as np
import pytest

from remedis_jax.errors import UserError
from remedis_jax.weights.artifact import (
    flatten,
    load_artifact,
    replace_parts,
    save_artifact,
    unflatten,
)

CARD = {"stage": "simclr", "encoder": {"name": "r14x0.25", "stem": "cifar"}, "é": [1, None]}


def params():
    generator = np.random.default_rng(0)
    return {
        "encoder": {"root_block": {"kernel": generator.standard_normal((3, 3)).astype("f")}},
        "head": {"bias": np.zeros(2, np.float32)},
    }


def test_round_trip_is_exact_and_reproducible(tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    digest = save_artifact(first, params(), CARD)
    assert save_artifact(second, params(), CARD) == digest
    assert first.read_bytes() == second.read_bytes()
    loaded = load_artifact(first)
    assert loaded.card == CARD and loaded.sha256 == digest
    for name, value in flatten(params()).items():
        np.testing.assert_array_equal(flatten(loaded.params)[name], value)
    assert flatten(unflatten(flatten(params()))).keys() == flatten(params()).keys()


def test_parts_are_replaced_strictly(tmp_path):
    path = tmp_path / "a.safetensors"
    save_artifact(path, params(), CARD)
    artifact = load_artifact(path)
    own = {"encoder": {"root_block": {"kernel": np.zeros((3, 3))}}, "head": {"bias": np.ones(2)}}
    taken = replace_parts(own, artifact, ("encoder",))
    np.testing.assert_array_equal(
        taken["encoder"]["root_block"]["kernel"], params()["encoder"]["root_block"]["kernel"]
    )
    np.testing.assert_array_equal(taken["head"]["bias"], 1)
    own["head"]["bias"] = np.ones(3)
    with pytest.raises(UserError, match="head/bias.*other classes"):
        replace_parts(own, artifact, ("encoder", "head"))
    own["encoder"]["extra"] = np.ones(3)
    with pytest.raises(UserError, match="encoder/extra is absent"):
        replace_parts(own, artifact, ("encoder",))


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="do not exist"):
        load_artifact(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="has not finished"):
        load_artifact(tmp_path)
    path = tmp_path / "a.safetensors"
    save_artifact(path, params(), CARD)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="not a readable safetensors"):
        load_artifact(path)
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(2)}, path)
    with pytest.raises(UserError, match="no card"):
        load_artifact(path)
