"""BiT .npz files in every form in which they were published, in and out."""

import numpy as np
import pytest

from remedis_jax.errors import UserError
from remedis_jax.models.bit import BiTSpec
from remedis_jax.weights.architecture import encoder_shapes, infer_spec
from remedis_jax.weights.artifact import flatten, load_artifact, save_artifact
from remedis_jax.weights.bit_npz import read_bit_npz, write_bit_npz
from remedis_jax.weights.imports import import_bit, published_name
from remedis_jax.weights.registry.published import MODELS, NETWORKS
from tests.weights.conftest import SMALL, random_params


def published(path, spec=SMALL, classes=3, numbered=False, wide_norms=False):
    """A file in the published layout, written without the code that is tested."""
    params = flatten(random_params(spec, classes))
    arrays = {}
    for position, (name, values) in enumerate(params.items()):
        if name.startswith("encoder/"):
            name = name.removeprefix("encoder/")
            if numbered and position % 2:
                name = name.replace("standardized_conv2d/", "standardized_conv2d_7/")
                name = name.replace("group_norm/", "group_norm_1/")
            if wide_norms and name.endswith(("gamma", "beta")):
                values = values[None, None, None]
        else:
            name = name.replace("head/dense", "head/conv2d")
            values = values[None, None] if values.ndim == 2 else values
        arrays[f"resnet/{name}"] = values
    np.savez(path, **arrays)
    return params


@pytest.mark.parametrize("form", [{}, {"numbered": True}, {"wide_norms": True}, {"classes": 0}])
def test_every_published_form_is_read(tmp_path, form):
    path = tmp_path / "mine.npz"
    expected = published(path, **form)
    params, spec = read_bit_npz(path)
    assert spec == SMALL
    found = flatten(params)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_written_as_it_was_published(tmp_path):
    first, second = tmp_path / "a.npz", tmp_path / "b.npz"
    published(first)
    write_bit_npz(second, read_bit_npz(first)[0])
    with np.load(first) as one, np.load(second) as other:
        assert sorted(one.files) == sorted(other.files)
        projection = "resnet/block4/unit01/a/proj/standardized_conv2d/kernel"
        assert {"resnet/head/conv2d/kernel", projection} <= set(one.files)
        for name in one.files:
            assert one[name].dtype == other[name].dtype == np.float32
            np.testing.assert_array_equal(one[name], other[name])
    again = second.read_bytes()
    write_bit_npz(second, read_bit_npz(first)[0])
    assert second.read_bytes() == again
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz"]


@pytest.mark.parametrize("network", NETWORKS)
def test_every_published_network_is_recognised(network):
    spec = BiTSpec.from_name(network.lower())
    assert infer_spec(encoder_shapes(spec)) == spec
    names = [m.file_name for m in MODELS.values() if m.encoder == network.lower() and m.file_name]
    assert {f"BiT-{s}-{network}.npz" for s in "SM"} | {f"BiT-M-{network}-ILSVRC2012.npz"} <= set(
        names
    )


def test_a_published_file_becomes_an_artefact(tmp_path):
    path = tmp_path / "BiT-S-R50x1.npz"
    spec = BiTSpec(50, 1)
    expected = published(path, spec, classes=1000)
    params, card = import_bit(path)
    out = tmp_path / f"{published_name(path)}.safetensors"
    save_artifact(out, params, card)
    loaded = load_artifact(out)
    assert out.name == "bit-s-r50x1.safetensors"
    assert loaded.card["licence"]["name"] == "Apache-2.0"
    assert loaded.card["head"]["kind"] == "softmax" and len(loaded.card["head"]["classes"]) == 1000
    contract = loaded.card["preprocessing"]
    assert contract["value_range"] == [-1, 1] and contract["size"] == 224
    assert contract["host"]["kernel"] == "bilinear" and contract["host"]["fit"] == "squash"
    assert loaded.card["lineage"]["source"]["published"] == "bit-s-r50x1"
    for name, values in flatten(loaded.params).items():
        np.testing.assert_array_equal(values, expected[name])


def test_names_that_deny_the_contents(tmp_path):
    path = tmp_path / "BiT-M-R152x2.npz"
    published(path)
    with pytest.raises(UserError, match="holds a r14x0.25, which its name denies"):
        read_bit_npz(path)
    path = tmp_path / "BiT-M-R50x1.npz"
    published(path, BiTSpec(50, 1), classes=10)
    with pytest.raises(UserError, match="10 classes where BiT-M-R50x1.npz has 21,843"):
        import_bit(path)
