"""`remedis models`: the list, one model, getting it, verifying it, its card."""

import json

import pytest

from remedis_jax.weights.artifact import load_artifact, read_card
from remedis_jax.weights.bit_npz import write_bit_npz
from remedis_jax.weights.registry.published import APACHE, BUCKET, MODELS, KnownModel
from tests.loopback_server import Served, loopback_server
from tests.weights.conftest import SMALL, random_params, small_artifact  # noqa: F401


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The models folder."""
    monkeypatch.setenv("REMEDIS_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("REMEDIS_OFFLINE", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Serves a small network as the published model `bit-test`."""
    model = KnownModel(
        name="bit-test", encoder="r14x0.25", input_size=32, trained_on="nothing", terms=APACHE,
        classes=3, url=f"{BUCKET}/BiT-test.npz",
    )  # fmt: skip
    monkeypatch.setitem(MODELS, model.name, model)
    write_bit_npz(tmp_path / "source.npz", random_params(SMALL, 3))
    with loopback_server(monkeypatch) as running:
        running.files["/bit_models/BiT-test.npz"] = Served((tmp_path / "source.npz").read_bytes())
        yield running


def put(artefact, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(artefact.read_bytes())
    return path


def test_list_names_every_published_model_on_a_narrow_terminal(remedis, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    outcome = remedis("models")
    assert outcome.code == 0
    for name in MODELS:
        assert f" {name} " in outcome.out
    assert str(folder) in outcome.out and not folder.exists()


def test_list_for_programs(remedis, folder, small_artifact, tmp_path):  # noqa: F811
    put(small_artifact, folder / "derm.safetensors")
    put(small_artifact, tmp_path / "runs" / "first" / "weights.safetensors")
    (folder / "other.safetensors").write_bytes(b"\x80\x04pickle")
    content = json.loads(remedis("models", "--json", "--folder", tmp_path / "runs").out)
    published = {entry["name"]: entry for entry in content["published"]}
    assert len(published) == 30 and published["bit-m-r50x1"]["here"] == "no"
    assert published["bit-m-r50x1"]["sha256"] is None
    assert published["cxr-50x1-remedis-m"]["credentialed"]
    assert len(published["cxr-50x1-remedis-m"]["access"]) == 5
    assert [entry["name"] for entry in content["artefacts"]] == ["derm", "first"]
    assert content["artefacts"][0]["sha256"] == read_card(small_artifact)[1]
    assert "is a pickle" in content["other_files"][0]["problem"]
    shown = remedis("models", "--folder", tmp_path / "runs").out
    assert "derm" in shown and "first" in shown and "1 other .safetensors" in shown


def test_show_a_model_that_one_has_to_sign_in_for(remedis, refused, folder):
    out = remedis("models", "show", "Path-152x2-Remedis-S").out
    for part in ("224 x 224", "ILSVRC-2012", "10.13026/grp0-z205", "credentialed"):
        assert part in out, part
    # On one line, to be copied.
    assert any("wget -r -N -c -np" in line and line.endswith("-s/") for line in out.splitlines())
    line = refused("models", "get", "path-152x2-remedis-s")
    assert "(1)" in line and "wget" in line and "remedis import remedis" in line


def test_show_what_is_here_by_name_path_and_address(remedis, refused, folder, small_artifact):  # noqa: F811
    path = put(small_artifact, folder / "team" / "derm" / "weights.safetensors")
    sha256 = read_card(small_artifact)[1]
    for reference in ("team/derm", path, path.parent, f"file://{path}"):
        out = remedis("models", "show", reference).out
        for part in (sha256, "r14x0.25", "class 0, class 1, class 2", "32 pixels", "Apache-2.0"):
            assert part in out, reference
    content = json.loads(remedis("models", "show", "team/derm", "--json").out)
    assert content["artefact"]["card"]["stage"] == "import:bit"
    out = remedis("models", "show", "hf://org/repo/x.safetensors").out
    assert "https://huggingface.co/org/repo/resolve/main/x.safetensors" in out and "no; it" in out
    assert "remedis models" in refused("models", "show", "team/dermatology")


def test_get_downloads_imports_and_is_here_from_then_on(
    remedis, refused, folder, server, monkeypatch
):
    outcome = remedis("models", "get", "bit-test")
    assert outcome.code == 0, outcome
    entry = next(
        e for e in json.loads(remedis("models", "--json").out)["published"]
        if e["name"] == "bit-test"
    )  # fmt: skip
    assert entry["here"] == "yes" and entry["path"] in outcome.out
    artefact = load_artifact(entry["path"])
    assert artefact.card["head"]["classes"] == ["0", "1", "2"]
    server.stop()
    monkeypatch.setenv("REMEDIS_OFFLINE", "1")
    assert remedis("models", "get", "BiT-test").code == 0
    assert "REMEDIS_OFFLINE is set" in refused("models", "get", "bit-m-r50x1")
    out = remedis("models", "verify").out.splitlines()
    assert len(out) == 2 and all(line.startswith("good") for line in out)
    assert any("as at its first download" in line for line in out)


def test_get_of_a_file_that_is_not_there(refused, folder, server):
    line = refused("models", "get", "gs://bucket/none.npz")
    assert "HTTP 404" in line and "gcloud storage cp" in line
    assert "pickle" in refused("models", "get", "hf://org/repo/pytorch_model.bin")
    assert "append #sha256=" in refused("models", "get", server.url("/x.npz"))


def test_verify_finds_damage(remedis, refused, folder, small_artifact):  # noqa: F811
    assert "no files of weights" in remedis("models", "verify").out
    good = put(small_artifact, folder / "good.safetensors")
    damaged = put(small_artifact, folder / "damaged.safetensors")
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    assert remedis("models", "verify", good).code == 0
    outcome = remedis("models", "verify")
    assert outcome.code == 1 and "1 of 2 files are not what they should be" in outcome.err
    bad, fine = outcome.out.splitlines()
    assert bad.startswith("BAD") and "another SHA-256" in bad and fine.startswith("good")


def test_card_to_a_file_and_to_standard_output(remedis, refused, folder, small_artifact, tmp_path):  # noqa: F811
    put(small_artifact, folder / "derm.safetensors")
    outcome = remedis("models", "card", "derm", "--out", tmp_path / "out" / "README.md")
    assert outcome.code == 0
    text = (tmp_path / "out" / "README.md").read_text()
    assert remedis("models", "card", "derm").out == text and text.startswith("---\nlicense:")
    line = refused("models", "card", "derm", "--metrics", tmp_path / "none.json")
    assert "none.json" in line


def test_card_from_elsewhere_does_not_steer_the_terminal(remedis, folder, tmp_path):
    from remedis_jax.weights.artifact import save_artifact
    from tests.weights.conftest import make_card

    card = make_card(SMALL, 2)
    card["stage"] = "\x1b[2Jsimclr"
    card["head"]["classes"] = ["a\x1b]0;title\x07", "b\nc"]
    folder.mkdir()
    save_artifact(folder / "x.safetensors", random_params(SMALL, 2), card)
    for arguments in ((), ("show", "x"), ("show", "x", "--json"), ("verify",), ("card", "x")):
        outcome = remedis("models", *arguments)
        assert outcome.code == 0 and "simclr" in outcome.out or arguments == ("verify",)
        assert "\x1b[2J" not in outcome.out and "\x1b]0" not in outcome.out
