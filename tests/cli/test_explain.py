"""`remedis explain`, from images to the page."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from remedis_jax.weights.artifact import save_artifact
from tests.weights.conftest import SMALL, make_card, random_params

NAMES = ("class 0", "class 1", "class 2")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_artifact(path, random_params(SMALL, 3), make_card(SMALL, 3, size=64))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six images, and predictions of which c.png and b.png are wrong, the former more surely."""
    data = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for name in "abcdef":
        pixels = generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(data / f"{name}.png")
    p = np.array([[0.8, 0.1, 0.1]] * 6)
    p[2], p[1] = (0.9, 0.05, 0.05), (0.1, 0.7, 0.2)
    table = pd.DataFrame({"image": [f"{name}.png" for name in "abcdef"]})
    table["group"], table["site"], table["split"] = table["image"], "here", "test"
    table["label"] = [NAMES[0], NAMES[0], NAMES[1], NAMES[0], NAMES[0], NAMES[0]]
    for column, name in enumerate(NAMES):
        table[f"p_{name}"] = p[:, column]
    (data / "other").mkdir()
    table.to_csv(data / "other" / "predictions.csv", index=False)
    table.to_csv(data / "predictions.csv", index=False)
    return data


def test_maps_of_errors_with_the_sanity_check(remedis, folder, weights, tmp_path):
    predictions = folder / "other" / "predictions.csv"
    done = remedis(
        "explain", predictions, "--images", folder, "--weights", weights, "--out", tmp_path,
        "--errors", predictions, "--sanity", "--limit", 3,
    )  # fmt: skip
    assert done.code == 0 and "explaining 2 of 6 images" in done.err, done
    text = (tmp_path / "report.md").read_text()
    assert "does not prove why the model decided" in text
    assert "The 2 most confident errors of predictions.csv." in text
    assert "mean magnitude of the correlations is" in text
    table = pd.read_csv(tmp_path / "tables" / "examples.csv")
    assert table["image"].tolist() == ["c.png", "b.png"]
    assert table["explained"].tolist() == ["class 0", "class 1"]
    assert table["label"].tolist() == ["class 1", "class 0"]
    with np.load(tmp_path / "maps" / "001.npz", allow_pickle=False) as file:
        assert file["map"].dtype == np.float32 and file["map"].shape == (2, 2)
        assert str(file["image"]) == "c.png" and str(file["explained"]) == "class 0"
        assert file["map"].max() == pytest.approx(table["largest"][0], rel=1e-5)
    assert (tmp_path / "figures" / "saliency_01.png").is_file()


def test_a_table_of_images_with_a_class_that_is_asked_for(remedis, folder, weights, tmp_path):
    done = remedis(
        "explain", folder / "predictions.csv", "--weights", weights, "--out", tmp_path,
        "--label", "class 2", "--limit", 2,
    )  # fmt: skip
    assert done.code == 0, done
    table = pd.read_csv(tmp_path / "tables" / "examples.csv")
    assert table["image"].tolist() == ["a.png", "d.png"]
    assert set(table["explained"]) == {"class 2"}
    assert "random" not in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--label", "class 9"), "no class 'class 9'. Did you mean"),
        (("--method", "gradcamm"), "no method 'gradcamm'"),
        (("--layer", "block9"), "no layer 'block9'"),
        (("--steps", 3), "--steps belongs to integrated_gradients"),
        (("--limit", 0), "--limit 0 leaves nothing"),
        (("--where", "split=val"), "no row has split = 'val'"),
        (("--images", "nowhere"), "the image file is missing for"),
    ],
)
def test_what_is_refused(refused, folder, weights, tmp_path, options, message):
    table = folder / "predictions.csv"
    line = refused("explain", table, "--weights", weights, "--out", tmp_path / "out", *options)
    assert message in line
    assert not (tmp_path / "out").exists()


def test_errors_that_are_not_there(refused, folder, weights, tmp_path):
    table = folder / "predictions.csv"
    line = refused(
        "explain", table, "--weights", weights, "--out", tmp_path / "out", "--errors", table,
        "--label", "class 2",
    )  # fmt: skip
    assert "none of its 0 errors about class 2" in line
