"""The contract is kept: one rule for files, bytes and arrays, and refusals for all else."""

import io
import json

import jax
import numpy as np
import pytest
from PIL import Image

import remedis_jax
from remedis_jax.augment import get_recipe
from remedis_jax.data.decode import decode_image
from remedis_jax.data.reading import Reading
from remedis_jax.data.resample import Resampling
from remedis_jax.errors import UserError
from remedis_jax.models.bit import BiT, BiTSpec, to_bit_input
from remedis_jax.weights.artifact import load_artifact, save_artifact
from remedis_jax.weights.contract import Contract, recipe_contract
from tests.weights.conftest import make_card, random_params


@pytest.fixture(scope="module")
def model(small_artifact):
    return remedis_jax.load(small_artifact, devices=1)


def noise(height, width, channels=3):
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def png(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_path_bytes_and_pixels_are_one_image(model, tmp_path):
    pixels = noise(50, 41)
    path = tmp_path / "a.png"
    path.write_bytes(png(pixels))
    batch = np.stack([pixels] * 5)
    features = model.embed([path, str(path), png(pixels), pixels])
    assert features.shape == (4, 512)
    np.testing.assert_array_equal(features, np.repeat(model.embed(batch, batch_size=4)[:1], 4, 0))
    deep = batch.astype(np.uint16) * 257
    np.testing.assert_array_equal(model.embed(deep[:4], batch_size=4), features)


def test_what_is_converted_by_rule(model):
    grey = noise(40, 30, 1)
    as_colour = np.repeat(grey[:, :, None], 3, axis=2)
    deep = grey.astype(np.uint16) * 257
    deep[0, 0] = 65535
    grey[0, 0], as_colour[0, 0] = 255, 255
    opaque = np.dstack([as_colour, np.full(grey.shape, 255, np.uint8)])
    features = model.embed([as_colour, grey, grey[:, :, None], deep, png(deep), opaque])
    np.testing.assert_array_equal(features, np.repeat(features[:1], 6, axis=0))
    clear = opaque.copy()
    clear[:, :, 3] = 0
    black = np.zeros_like(as_colour)
    one, other = model.embed([clear, black])
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "image, message",
    [
        (np.zeros((8, 8, 3), np.float32), "image 0: .*float32.*agreed range"),
        (np.zeros((8, 8, 4), np.uint16), "uint16 with 4 channel"),
        (np.full((8, 8), 4000, np.uint16), "12-bit"),
        (np.zeros((8, 8, 2), np.uint8), "is no image"),
        (np.zeros((0, 8, 3), np.uint8), "is no image"),
        (np.zeros((3000, 40, 3), np.uint8), "40 x 3000 pixels is more than 20 times"),
        (b"not an image", "image 0: .*not a JPEG, PNG"),
        ("nowhere.png", "nowhere.png: .*no such file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(model, image, message):
    with pytest.raises(UserError, match=message):
        model.embed([image])


def test_a_batch_that_is_none(model):
    with pytest.raises(UserError, match="no batch of images"):
        model.embed(np.zeros((2, 8, 8, 3), np.float32))
    with pytest.raises(UserError, match="One image"):
        model.embed("a.png")
    with pytest.raises(UserError, match="no images"):
        model.embed([])


def test_colour_where_grey_is_wanted():
    contract = Contract(1, False, Resampling(16), None, 16, 512)
    with pytest.raises(UserError, match="the image has colour"):
        contract.prepare(noise(20, 20))
    luma = Contract(1, True, Resampling(16), None, 16, 512).prepare(noise(20, 20))
    assert luma.shape == (16, 16, 1)


def test_what_the_network_reads():
    """Images of all types alike, in the value range that the card says."""
    contract = Contract(1, False, Resampling(4), None, 4, 512, value_range=(0.0, 1.0))
    image = np.full((1, 4, 4, 1), 255, np.uint8)
    np.testing.assert_array_equal(contract.to_network(image), np.ones((1, 4, 4, 3)))
    deep = image.astype(np.uint16) * 257
    np.testing.assert_array_equal(contract.to_network(deep), np.ones((1, 4, 4, 3)))
    usual = Contract(3, False, Resampling(4), None, 4, 512)
    np.testing.assert_array_equal(
        usual.to_network(np.zeros((1, 4, 4, 3), np.float32)), -np.ones((1, 4, 4, 3))
    )


def test_networks_trained_here_see_what_they_were_evaluated_on():
    spec = BiTSpec(14, 0.25)
    contract = recipe_contract(
        reading=Reading(), working_size=36, fit="squash",
        options={"center_proportion": 0.8}, size=32, spec=spec,
    )  # fmt: skip
    again = Contract.from_json(json.loads(json.dumps(contract.to_json())))
    assert again == contract and hash(again) == hash(contract)
    prepared = np.stack([contract.prepare(noise(50, 40))])
    recipe = get_recipe("eval", center_proportion=0.8)
    np.testing.assert_array_equal(
        contract.to_network(prepared), to_bit_input(recipe(None, prepared, 32))
    )
    assert contract.sentences()[2].startswith("the central 0.8 of it resampled to 32 pixels")


READINGS = [
    Reading(),
    Reading(1, to_grey=True, bits=16),
    Reading(reduced=True),
    Reading(bits=16, window=(40.0, 400.0), frames="middle", reduced=True),
]


@pytest.mark.parametrize("reading", READINGS, ids=str)
def test_the_contract_of_a_run_reads_images_as_the_run_did(reading):
    contract = recipe_contract(
        reading=reading, working_size=24, fit="crop", options={}, size=20, spec=BiTSpec(14, 0.25)
    )
    again = Contract.from_json(json.loads(json.dumps(contract.to_json())))
    assert again == contract and again.reading == reading and hash(again) == hash(contract)
    file = io.BytesIO()
    Image.fromarray(noise(90, 70)).save(file, "JPEG")
    prepared = again.prepare(file.getvalue())
    expected = decode_image(file.getvalue(), size=24, reading=reading, fit="crop")
    np.testing.assert_array_equal(prepared, expected)
    assert prepared.dtype == contract.dtype == (np.uint8 if reading.bits == 8 else np.uint16)


def test_cards_of_older_runs_read_8_bits_at_full_scale():
    values = Contract(3, False, Resampling(4), None, 4, 512).to_json()
    for new in ("bits", "window", "frames", "reduced"):
        del values[new]
    assert Contract.from_json(values).reading == Reading()


def test_what_is_read_otherwise_is_said_in_words():
    plain, other = (
        Contract(3, False, Resampling(4), None, 4, 512, **options).sentences()
        for options in ({}, {"bits": 16, "window": (40, 400), "frames": "first", "reduced": True})
    )
    assert plain[0].startswith("8-bit") and "bicubic, with antialias" in plain[1]
    assert other[0].startswith("16-bit") and "mean over areas" in other[1]
    assert "DICOM: window centre 40, width 400" in other
    assert "of files with several images, the first one" in other
    assert any("half or less" in line for line in other)
    with pytest.raises(UserError, match="cannot reduce"):
        Contract(3, False, Resampling(4, antialias=False), None, 4, 512, reduced=True)


def test_unscaled_networks_without_a_last_norm(tmp_path):
    """What a REMEDIS file can ask for: [0, 1], features before the last GroupNorm."""
    spec = BiTSpec(14, 0.25, final_norm=False, value_range=(0.0, 1.0))
    path = tmp_path / "w.safetensors"
    params = random_params(spec)
    save_artifact(path, params, make_card(spec, fit="crop", antialias=False))
    model = remedis_jax.load(path, devices=1)
    assert model.spec == spec and "group_norm" not in load_artifact(path).params["encoder"]
    image = noise(40, 40)
    prepared = model.contract.prepare(image)[None]
    apply = jax.jit(lambda x: BiT(spec).apply({"params": params["encoder"]}, x, pool=False))
    expected, wrong_range = (np.asarray(apply(x)) for x in (prepared, 2 * prepared - 1))
    got = model.feature_map([image])
    # Before the last norm features have no fixed size.
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(got, expected, atol=tolerance)
    assert np.abs(wrong_range - got).max() > 100 * tolerance
    assert (np.asarray(got) < 0).any(), "a ReLU was applied"
    np.testing.assert_allclose(model.embed([image]), got.mean(axis=(1, 2)), atol=tolerance)
