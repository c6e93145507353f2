"""timm and transformers state dicts: names, round trips, and what is refused. Without PyTorch."""

import json
import pickle
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from remedis_jax.data.resample import Resampling
from remedis_jax.errors import RunFailed, UserError
from remedis_jax.models.bit import BiTSpec
from remedis_jax.weights.artifact import Artifact, flatten
from remedis_jax.weights.contract import Contract
from remedis_jax.weights.pytorch import exporter
from remedis_jax.weights.pytorch.exporter import describe, export_torch, torch_state
from remedis_jax.weights.pytorch.importer import import_torch
from remedis_jax.weights.pytorch.layouts import check_expressible, torch_names
from remedis_jax.weights.pytorch.preprocessing import (
    contract_of_hf,
    contract_of_timm,
    differences,
    hf_preprocessing,
    timm_preprocessing,
)
from tests.weights.conftest import make_card, random_params

SPEC = BiTSpec(14, 1)
LAYOUTS = ("timm", "hf")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return Artifact(random_params(SPEC, 3), make_card(SPEC, 3, 224), "ab" * 32, "here")


def write(folder, artifact, layout):
    """The exported folder, without the check in PyTorch. Returns the weights file."""
    folder.mkdir()
    state = torch_state(artifact, SPEC, layout)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    describe(folder, artifact, layout)
    return folder / "model.safetensors"


def test_names_and_shapes_are_those_of_the_libraries(artifact):
    # Written down from the two libraries' own state_dict(), not from the code.
    known = {
        "root_block/standardized_conv2d/kernel": (
            "stem.conv.weight", "embedder.convolution.weight", (64, 3, 7, 7),
        ),
        "block2/unit01/a/proj/standardized_conv2d/kernel": (
            "stages.1.blocks.0.downsample.conv.weight",
            "encoder.stages.1.layers.0.downsample.conv.weight",
            (512, 256, 1, 1),
        ),
        "block4/unit01/b/standardized_conv2d/kernel": (
            "stages.3.blocks.0.conv2.weight",
            "encoder.stages.3.layers.0.conv2.weight",
            (512, 512, 3, 3),
        ),
        "block1/unit01/c/group_norm/gamma": (
            "stages.0.blocks.0.norm3.weight", "encoder.stages.0.layers.0.norm3.weight", (64,),
        ),
        "block3/unit01/a/group_norm/beta": (
            "stages.2.blocks.0.norm1.bias", "encoder.stages.2.layers.0.norm1.bias", (512,),
        ),
        "group_norm/gamma": ("norm.weight", "norm.weight", (2048,)),
    }  # fmt: skip
    timm, hf = (torch_state(artifact, SPEC, layout) for layout in LAYOUTS)
    for ours, (in_timm, in_hf, shape) in known.items():
        assert torch_names(SPEC, "timm", head=True)[f"encoder/{ours}"] == in_timm
        assert torch_names(SPEC, "hf", head=False)[f"encoder/{ours}"] == in_hf
        assert timm[in_timm].shape == hf[f"bit.{in_hf}"].shape == shape
        np.testing.assert_array_equal(timm[in_timm], hf[f"bit.{in_hf}"])
    assert timm["head.fc.weight"].shape == (3, 2048, 1, 1)
    assert hf["classifier.1.weight"].shape == (3, 2048) and hf["classifier.1.bias"].shape == (3,)
    # OIHW: one weight followed through.
    kernel = artifact.params["encoder"]["root_block"]["standardized_conv2d"]["kernel"]
    assert timm["stem.conv.weight"][5, 1, 2, 3] == kernel[2, 3, 1, 5]
    assert hf["classifier.1.weight"][2, 7] == artifact.params["head"]["dense"]["kernel"][7, 2]
    # 153 arrays in a published R50, its head among them.
    assert len(torch_names(BiTSpec(50, 1), "timm", head=True)) == 153


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("classes", [0, 3])
def test_round_trip_is_exact(tmp_path, layout, classes):
    params, card = random_params(SPEC, classes), make_card(SPEC, classes, 224, fit="pad")
    file = write(tmp_path / "out", Artifact(params, card, "ab" * 32, "here"), layout)
    found, parts = import_torch(tmp_path / "out")
    expected = flatten(params)
    assert flatten(found).keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(flatten(found)[name], values, err_msg=name)
    assert parts["layout"] == layout and parts["encoder"] == card["encoder"]
    assert parts["head"] == card["head"]
    # Neither library can say it, but our own export's config can.
    assert parts["preprocessing"] == card["preprocessing"]
    assert any("eps 1e-10" in note for note in parts["notes"])
    # The file alone is enough for the network, not for its preprocessing.
    alone = file.rename(tmp_path / "weights.safetensors")
    found, parts = import_torch(alone)
    assert parts["preprocessing"] is None and "preprocessing is unknown" in parts["notes"][0]
    np.testing.assert_array_equal(
        found["encoder"]["group_norm"]["beta"], params["encoder"]["group_norm"]["beta"]
    )


def test_calibration_goes_into_the_head(tmp_path, artifact):
    card = artifact.card | {"head": artifact.card["head"] | {"temperature": 2.5}}
    write(tmp_path / "out", Artifact(artifact.params, card, "ab" * 32, "here"), "hf")
    found, parts = import_torch(tmp_path / "out")
    np.testing.assert_allclose(
        found["head"]["dense"]["kernel"], artifact.params["head"]["dense"]["kernel"] / 2.5, 1e-6
    )
    assert parts["head"]["temperature"] == 1.0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_have_to_be_all_of_them_and_no_others(tmp_path, artifact, layout):
    file = write(tmp_path / "out", artifact, layout)
    state = load_file(file)
    last = "norm.bias" if layout == "timm" else "bit.norm.bias"
    spoilt = {
        f"1 missing: {last}": {k: v for k, v in state.items() if k != last},
        "1 left over: ema.decay": state | {"ema.decay": np.zeros(1, np.float32)},
        f"{last} is .7,. and not .2048,.": state | {last: np.zeros(7, np.float32)},
        f"{last} is stored as F16 and not as F32": state | {last: state[last].astype("f2")},
    }
    for message, tensors in spoilt.items():
        save_file(tensors, file)
        with pytest.raises(UserError, match=message):
            import_torch(tmp_path / "out")
    units = "blocks" if layout == "timm" else "layers"
    save_file({k: v for k, v in state.items() if f".3.{units}.0." not in k}, file)
    with pytest.raises(UserError, match="no known BiT"):
        import_torch(file)
    save_file({"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}, file)
    with pytest.raises(UserError, match="neither of stem.conv.weight and embedder"):
        import_torch(file)


def test_narrow_grey_and_other_stems_are_refused(tmp_path, artifact):
    for spec, reason in (
        (BiTSpec(14, 0.25), "width 0.25"),
        (BiTSpec(14, 1.25), "width 1.25"),
        (BiTSpec(14, 1, stem="cifar"), "stem 'cifar'"),
        (BiTSpec(14, 1, final_norm=False), "no GroupNorm after its last block"),
    ):
        for layout in LAYOUTS:
            with pytest.raises(UserError, match=reason):
                check_expressible(spec, layout)
    state = torch_state(artifact, SPEC, "timm")
    state["stem.conv.weight"] = state["stem.conv.weight"].mean(axis=1, keepdims=True)
    save_file(state, tmp_path / "grey.safetensors")
    with pytest.raises(UserError, match="three input channels"):
        import_torch(tmp_path / "grey.safetensors")


def test_pickles_are_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "boom"), "w"))

    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("pytorch_model.bin", "model.safetensors"):
        (folder / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(UserError, match="a pickle, which can run any program"):
            import_torch(folder)
        with pytest.raises(UserError, match="a pickle, which can run any program"):
            import_torch(folder / name)
    assert not (tmp_path / "boom").exists()
    with pytest.raises(UserError, match="does not exist"):
        import_torch(tmp_path / "none")
    with pytest.raises(UserError, match=r"holds no model.safetensors\."):
        import_torch(tmp_path)


@pytest.mark.parametrize(
    "layout, name, change, message",
    [
        ("hf", "config.json", {"embedding_dynamic_padding": True}, "dynamic_padding is True"),
        ("hf", "config.json", {"layer_type": "bottleneck"}, "layer_type is 'bottleneck'"),
        ("hf", "config.json", {"global_padding": "SAME"}, "global_padding is 'SAME'"),
        ("hf", "config.json", {"depths": [3, 4, 6, 3]}, r"depths is \[3, 4, 6, 3\]"),
        ("hf", "config.json", {"num_groups": 16}, "num_groups is 16"),
        ("hf", "preprocessor_config.json", {"image_mean": [0.48, 0.45, 0.4]}, "none of the value"),
        ("hf", "preprocessor_config.json", {"do_normalize": False}, "do_normalize is false"),
        ("hf", "preprocessor_config.json", {"resample": 1}, "resampled by 'another kernel'"),
        ("timm", "config.json", {"architecture": "resnetv2_50"}, "architecture is 'resnetv2_50'"),
        ("timm", "config.json", {"model_args": {"stem_type": "same"}}, "stem_type.*change the"),
    ],
)
def test_a_config_that_describes_another_network_is_refused(
    tmp_path, artifact, layout, name, change, message
):
    write(tmp_path / "out", artifact, layout)
    path = tmp_path / "out" / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        import_torch(tmp_path / "out")
    path.write_text("{")
    with pytest.raises(UserError, match="no JSON description"):
        import_torch(tmp_path / "out")


@pytest.mark.parametrize(
    "host",
    [
        Resampling(224),
        Resampling(448, "crop"),
        Resampling(224, "crop", 0.875, "bilinear"),
        Resampling(224, "squash", 0.875),
    ],
)
@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0.0, 1.0)])
def test_preprocessing_in_their_words_and_back(host, value_range):
    contract = Contract(3, False, host, None, host.size, 2048, value_range)
    assert contract_of_timm(timm_preprocessing(contract), 2048, "config.json") == contract
    assert contract_of_hf(hf_preprocessing(contract), 2048, "preprocessor.json") == contract
    exact = host == Resampling(224)
    assert (differences(contract, "timm") == []) == exact


def test_what_their_words_leave_out_is_said():
    device = ("eval", (("crop", "center"),))
    contract = Contract(1, False, Resampling(256, "pad"), device, 224, 2048)
    described = hf_preprocessing(contract)
    assert not described["do_resize"]
    assert contract_of_hf(described, 2048, "preprocessor.json") is None
    text = " ".join(differences(contract, "hf"))
    for part in ("twice, to 256 and then to 224", "pad them yourself", "colour is refused"):
        assert part in text


def test_small_kernels_are_named_as_the_reason(tmp_path, artifact, monkeypatch):
    params = random_params(SPEC, 3)
    root = params["encoder"]["root_block"]["standardized_conv2d"]
    root["kernel"] = root["kernel"] * np.float32(0.001 / 0.3)
    small = Artifact(params, artifact.card, "ab" * 32, "here")
    expected = {"features": np.zeros((1, 2048), np.float32)}
    found = {"versions": {}}, {"features": expected["features"] + np.float32(0.01)}
    monkeypatch.setattr(exporter, "run_worker", lambda *_, **__: found)
    images = np.zeros((1, 32, 32, 3), np.float32)
    options = {"images": images, "expected": expected, "tolerance": 1e-4}
    # eps / (2 variance) of 1e-8 and 1e-6, as far as the variance of 147 draws is 1e-6.
    with pytest.raises(RunFailed, match="by up to 0.01,.*eps 1e-10.*differ by up to 0.00[4-9]"):
        export_torch(small, tmp_path / "out", "timm", **options)
    assert not list(tmp_path.iterdir())


def test_without_pytorch_nothing_is_left(tmp_path, artifact):
    options = {
        "images": np.zeros((1, 32, 32, 3), np.float32),
        "expected": {"features": np.zeros((1, 2048), np.float32)},
        "tolerance": 1e-4,
    }
    # -S: the standard library alone.
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(UserError, match="has no package 'numpy'.*--python"):
        export_torch(artifact, tmp_path / "out", "timm", python=bare, **options)
    with pytest.raises(UserError, match="cannot be started"):
        export_torch(artifact, tmp_path / "out", "timm", python=tmp_path / "none", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["python"]
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists already"):
        export_torch(artifact, tmp_path / "out", "timm", **options)
    with pytest.raises(UserError, match="no layout 'tf'"):
        export_torch(artifact, tmp_path / "else", "tf", **options)
