"""Weights files: exact, self-describing, refused when they are not what they should be."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from remedis_jax.errors import UserError
from remedis_jax.models.bit import BiT, BiTSpec
from remedis_jax.weights.architecture import encoder_shapes, infer_spec
from remedis_jax.weights.artifact import (
    METADATA_KEY,
    flatten,
    load_artifact,
    read_card,
    replace_parts,
    save_artifact,
    unflatten,
)
from tests.weights.conftest import SMALL, make_card, random_params


def test_round_trip_is_exact_and_reproducible(tmp_path):
    params, card = random_params(SMALL, 3), make_card(SMALL, 3)
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    digest = save_artifact(first, params, card)
    assert save_artifact(second, params, card) == digest
    assert first.read_bytes() == second.read_bytes()
    (tmp_path / "plain").touch()
    assert first.stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "plain").unlink()
    loaded = load_artifact(first, sha256=digest.upper())
    assert loaded.card == json.loads(json.dumps(card)) and loaded.sha256 == digest
    for name, value in flatten(params).items():
        np.testing.assert_array_equal(flatten(loaded.params)[name], value)
    assert flatten(unflatten(flatten(params))).keys() == flatten(params).keys()
    assert read_card(first) == (loaded.card, digest)
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]


@pytest.mark.parametrize(
    "spec",
    [
        BiTSpec(14, 0.25, "cifar_stride2"),
        BiTSpec(26, 1, "bit", final_norm=False),
        BiTSpec(50, 3),
        BiTSpec(152, 2),
    ],
    ids=lambda spec: f"{spec.name}-{spec.stem}",
)
def test_the_table_of_shapes_is_that_of_the_modules(spec):
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    module = jax.eval_shape(lambda x: BiT(spec).init(jax.random.key(0), x), image)["params"]
    leaves = jax.tree_util.tree_leaves_with_path(module)
    expected = {"/".join(k.key for k in path): leaf.shape for path, leaf in leaves}
    assert encoder_shapes(spec) == expected
    if spec.stem == "bit":
        assert infer_spec(expected) == spec


def test_published_sizes():
    """timm's resnetv2_50x1_bit has 25,549,352 parameters, 2,049,000 of them in the classifier."""
    shapes = encoder_shapes(BiTSpec.from_name("r50x1"))
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 25_549_352 - 2_049_000
    # Arrays of the published files, head included: 153 and 459.
    assert len(shapes) == 151 and len(encoder_shapes(BiTSpec.from_name("r152x2"))) == 457


def test_parts_are_replaced_strictly(tmp_path):
    path = tmp_path / "a.safetensors"
    save_artifact(path, random_params(SMALL, 3), make_card(SMALL, 3))
    artifact = load_artifact(path)
    own = random_params(SMALL, 3, seed=1)
    own["head"]["dense"]["bias"] = np.ones(3, np.float32)
    kernel = ("root_block", "standardized_conv2d", "kernel")
    taken = replace_parts(own, artifact, ("encoder",))
    np.testing.assert_array_equal(leaf(taken["encoder"], kernel),
                                  leaf(artifact.params["encoder"], kernel))
    np.testing.assert_array_equal(taken["head"]["dense"]["bias"], 1)
    other = own | {"head": random_params(SMALL, 4)["head"]}
    with pytest.raises(UserError, match="head/dense/bias.*other classes"):
        replace_parts(other, artifact, ("encoder", "head"))
    kept = replace_parts(other, artifact, ("encoder", "head"), dont_load=("head/",))
    np.testing.assert_array_equal(kept["head"]["dense"]["bias"], other["head"]["dense"]["bias"])
    own["encoder"]["extra"] = np.ones(3)
    with pytest.raises(UserError, match="encoder/extra is absent"):
        replace_parts(own, artifact, ("encoder",))


def leaf(tree, path):
    for name in path:
        tree = tree[name]
    return tree


def test_dont_load_leaves_out_and_allows_missing(small_artifact, tmp_path):
    without = load_artifact(small_artifact, dont_load=("head/", "encoder/block4/"))
    assert "head" not in without.params and "block4" not in without.params["encoder"]
    with safe_open(small_artifact, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    # A file that really lacks what its card promises.
    del tensors["encoder/group_norm/gamma"]
    content = json.loads(metadata[METADATA_KEY])
    path = tmp_path / "lacking.safetensors"
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(UserError, match="not those that its card lists"):
        load_artifact(path)
    params = unflatten(tensors)
    with pytest.raises(UserError, match="1 missing: group_norm/gamma"):
        save_artifact(tmp_path / "b.safetensors", params, content["card"])
    with pytest.raises(UserError, match="no regular expression"):
        load_artifact(small_artifact, dont_load=("head(",))


def rewritten(source, target, change):
    """A copy of an artefact with its tensors and metadata changed behind its back."""
    with safe_open(source, framework="numpy") as file:
        content = json.loads(file.metadata()[METADATA_KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    change(content, tensors)
    save_file(tensors, target, metadata={METADATA_KEY: json.dumps(content)})
    return target


def test_every_change_is_found(small_artifact, tmp_path):
    name = "encoder/block1/unit01/a/group_norm/beta"

    def flip(content, tensors):
        tensors[name] = tensors[name].copy()
        tensors[name].view(np.uint8)[1] ^= 1

    def edit(content, tensors):
        content["card"]["preprocessing"]["value_range"] = [0, 1]

    def swap(content, tensors):
        other = name.replace("beta", "gamma")
        tensors[name], tensors[other] = tensors[other], tensors[name]

    for change, message in ((flip, name), (edit, "card has been changed"), (swap, "unit01/a")):
        path = rewritten(small_artifact, tmp_path / "changed.safetensors", change)
        with pytest.raises(UserError, match=message):
            load_artifact(path)
    with pytest.raises(UserError, match="other weights"):
        load_artifact(small_artifact, sha256="0" * 64)
    # The name of the file is no part of what it is.
    renamed = shutil.copy(small_artifact, tmp_path / "another name.safetensors")
    assert load_artifact(renamed).sha256 == load_artifact(small_artifact).sha256


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="do not exist"):
        load_artifact(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="has not finished"):
        load_artifact(tmp_path)
    path = tmp_path / "a.safetensors"
    save_artifact(path, random_params(SMALL), make_card(SMALL))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="not a readable safetensors"):
        load_artifact(path)
    save_file({"x": np.zeros(2)}, path)
    with pytest.raises(UserError, match="no card"):
        load_artifact(path)
    params = random_params(SMALL)
    params["encoder"]["group_norm"]["beta"] = params["encoder"]["group_norm"]["beta"].astype("f8")
    with pytest.raises(UserError, match="float64 and not float32"):
        save_artifact(path, params, make_card(SMALL))
    wide = make_card(BiTSpec(14, 0.5))
    with pytest.raises(UserError, match="of another shape"):
        save_artifact(path, random_params(SMALL), wide)
    assert not list(tmp_path.glob("*.tmp"))
