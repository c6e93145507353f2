"""Embeddings of a manifest: rows, ids, resume, devices, bad images, and the files themselves."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import remedis_jax
from remedis_jax.errors import UserError
from remedis_jax.evaluation.embedding_files import read_embeddings
from remedis_jax.weights.artifact import load_artifact, save_artifact
from tests.weights.conftest import SMALL, make_card, random_params

COUNT = 37


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    # 64 pixels leave 2 x 2 positions: with a single one GroupNorm amplifies rounding.
    save_artifact(path, random_params(SMALL, 3), make_card(SMALL, 3, size=64))
    return path


@pytest.fixture
def folder(tmp_path):
    """Grey and colour images of several sizes, named by a manifest with ids to keep."""
    data = tmp_path / "data"
    data.mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for index in range(COUNT):
        shape = (40 + index, 50) if index % 3 == 0 else (40, 30 + index, 3)
        pixels = generator.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(data / f"{index:02d}.png")
        rows.append(
            {"image": f"{index:02d}.png", "patient_id": f"{index // 3:03d}", "note": "a,é"}
            | {"x": 256 * index, "y": -index, "slide": "AB"[index % 2]}
        )
    pd.DataFrame(rows).iloc[::-1].to_csv(data / "manifest.csv", index=False)
    return data


def embed(folder, weights, name, **settings):
    settings = {"devices": 1, "batch_size": 8} | settings
    return remedis_jax.embed(folder / "manifest.csv", weights, folder / name, **settings)


def test_rows_in_order_with_their_ids_in_every_format(folder, weights):
    model = remedis_jax.load(weights, devices=1)
    names = [f"{index:02d}.png" for index in reversed(range(COUNT))]
    expected = model.embed([folder / name for name in names], batch_size=8)
    assert expected.shape == (COUNT, 512) and expected.std(axis=0).max() > 1e-3
    for ending in ("parquet", "npz", "h5"):
        found = read_embeddings(embed(folder, weights, f"e.{ending}"))
        np.testing.assert_array_equal(found.features, expected)
        assert found.table["image"].tolist() == names
        assert found.table["patient_id"].tolist()[:2] == ["012", "011"]
        assert set(found.table["note"]) == {"a,é"}
        assert found.table["row"].tolist() == list(range(2, COUNT + 2))
        assert found.header["weights"]["sha256"] == load_artifact(weights).sha256
        assert found.header["contract"] == model.contract.to_json()
        if ending != "parquet":
            np.testing.assert_array_equal(found.coords[:, 0], 256 * np.arange(COUNT)[::-1])
    # As other tools read it, and without pickles.
    frame = pd.read_parquet(folder / "e.parquet")
    np.testing.assert_array_equal(np.stack(frame["embedding"]), expected)
    with np.load(folder / "e.npz", allow_pickle=False) as file:
        assert file["features"].dtype == np.float32


def test_one_file_per_slide_as_mil_tools_read_it(folder, weights):
    h5py = pytest.importorskip("h5py")
    out = embed(folder, weights, "slides", by="slide")
    assert sorted(path.name for path in out.iterdir()) == ["A.h5", "B.h5"]
    with h5py.File(out / "B.h5") as file:
        assert file["features"].shape == (COUNT // 2, 512)
        assert file["features"].dtype == np.float32 and file["coords"].dtype == np.int64
        assert file["coords"][0].tolist() == [256 * 35, -35]
    with pytest.raises(UserError, match="cannot be the name of a file"):
        table = pd.read_csv(folder / "manifest.csv")
        table["slide"] = "../escaped"
        table.to_csv(folder / "manifest.csv", index=False)
        embed(folder, weights, "other", by="slide")


@pytest.mark.parametrize("ending", ["parquet", "npz", "h5"])
def test_interrupted_run_ends_with_the_same_bytes(folder, weights, ending):
    whole = embed(folder, weights, f"whole.{ending}").read_bytes()
    for stop_after in (8, 24):

        def stop(done, total, stop_after=stop_after):
            if done >= stop_after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            embed(folder, weights, f"parts.{ending}", progress=stop)
        assert not (folder / f"parts.{ending}").exists()
    said = []
    parts = embed(folder, weights, f"parts.{ending}", announce=said.append, batch_size=None)
    assert parts.read_bytes() == whole
    assert said == ["going on behind row 8 of 37"]
    assert not (folder / f"parts.{ending}.partial").exists()
    embed(folder, weights, f"parts.{ending}", announce=said.append)
    assert said[-1].endswith("is complete already")


def test_sigkill_changes_no_byte(folder, weights):
    whole = embed(folder, weights, "whole.parquet", batch_size=2).read_bytes()
    command = [
        sys.executable, "-m", "remedis_jax", "embed", str(folder / "manifest.csv"), "--weights",
        str(weights), "--out", str(folder / "killed.parquet"), "--devices", "1",
        "--batch-size", "2",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    done = folder / "killed.parquet.partial" / "done.json"
    deadline = time.monotonic() + 120
    while not done.exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not (folder / "killed.parquet").exists()
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert "going on behind row" in finished.stderr
    assert (folder / "killed.parquet").read_bytes() == whole


def test_one_and_eight_devices_agree(folder, weights):
    one = read_embeddings(embed(folder, weights, "one.parquet", batch_size=16))
    eight = read_embeddings(embed(folder, weights, "eight.parquet", devices=8, batch_size=16))
    np.testing.assert_allclose(one.features, eight.features, atol=1e-5, rtol=0)
    pd.testing.assert_frame_equal(one.table, eight.table)


def test_an_image_that_cannot_be_used(folder, weights):
    (folder / "05.png").write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match=r"row 33 \(05.png\).*web page"):
        embed(folder, weights, "e.parquet")
    with pytest.raises(UserError, match="1 of 37 images cannot be used.*--max-bad"):
        embed(folder, weights, "few.parquet", on_bad_image="skip")
    said = []
    out = embed(
        folder, weights, "s.parquet", on_bad_image="skip", max_bad=0.1, announce=said.append
    )
    found = read_embeddings(out)
    missing = np.isnan(found.features).all(axis=1)
    assert found.table["image"][missing].tolist() == ["05.png"]
    assert "web page" in found.table["problem"][missing].item()
    assert not np.isnan(found.features[~missing]).any()
    assert "1 of 37 images have no features" in said[-1]
    assert pd.read_parquet(out)["embedding"].isna().sum() == 1


def test_other_inputs_never_mix(folder, weights, tmp_path):
    embed(folder, weights, "e.parquet")
    other = tmp_path / "other.safetensors"
    save_artifact(other, random_params(SMALL, 3, seed=1), make_card(SMALL, 3))
    with pytest.raises(UserError, match="made with other weights"):
        embed(folder, other, "e.parquet")
    before = (folder / "e.parquet").read_bytes()
    embed(folder, other, "e.parquet", overwrite=True)
    assert (folder / "e.parquet").read_bytes() != before
    (folder / "thesis.npz").write_text("precious")
    with pytest.raises(UserError, match="is no file of embeddings"):
        embed(folder, weights, "thesis.npz")
    assert (folder / "thesis.npz").read_text() == "precious"

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(folder, weights, "p.parquet", progress=stop)
    with pytest.raises(UserError, match="run with other weights"):
        embed(folder, other, "p.parquet")
    state = json.loads((folder / "p.parquet.partial" / "header.json").read_text())
    assert state["batch_size"] == 8


@pytest.mark.parametrize(
    "name, message",
    [("e.csv", ".parquet"), ("none/e.parquet", "does not exist")],
)
def test_targets_that_are_refused(folder, weights, name, message):
    with pytest.raises(UserError, match=message):
        embed(folder, weights, name)


def test_a_column_that_the_file_needs_for_itself(folder, weights):
    table = pd.read_csv(folder / "manifest.csv").rename(columns={"note": "embedding"})
    table.to_csv(folder / "manifest.csv", index=False)
    with pytest.raises(UserError, match="'embedding' of its own"):
        embed(folder, weights, "e.parquet")


def test_files_of_others_are_refused(tmp_path):
    np.savez(tmp_path / "objects.npz", header=np.array({"a": 1}), features=np.zeros(2))
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and nothing more")
    for name in ("objects.npz", "cut.parquet", "none.h5"):
        with pytest.raises(UserError):
            read_embeddings(tmp_path / name)
    assert os.listdir(tmp_path) and not (tmp_path / "none.h5").exists()
