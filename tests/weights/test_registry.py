"""Names, folders and addresses of weights: what is known, what is here, and what is refused."""

import hashlib
import io
import os

import numpy as np
import pytest

from remedis_jax.errors import UserError
from remedis_jax.weights.registry.addresses import location_of
from remedis_jax.weights.registry.checksums import read_record
from remedis_jax.weights.registry.folders import find_artifact, list_artifacts, models_folders
from remedis_jax.weights.registry.locate import locate
from remedis_jax.weights.registry.published import MODELS, known_model
from tests.loopback_server import Served, loopback_server


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays or {"a": np.zeros(3)})
    return file.getvalue()


CONTENT = npz()
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The first of two models folders; neither exists yet."""
    folders = [tmp_path / "own", tmp_path / "shared"]
    monkeypatch.setenv("REMEDIS_MODELS", os.pathsep.join(map(str, folders)))
    monkeypatch.delenv("REMEDIS_OFFLINE", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    return folders[0]


@pytest.fixture
def server(monkeypatch):
    with loopback_server(monkeypatch) as running:
        running.files["/bit_models/BiT-M-R50x1.npz"] = Served(CONTENT)
        yield running


def test_every_published_model_is_known():
    assert len(MODELS) == 8 + 12 + 6 + 4
    for name, model in MODELS.items():
        assert name == model.name == name.lower() and known_model(name.upper()) is model
        assert model.terms.credentialed == (model.url is None) == ("remedis" in name)
        assert model.access() and model.size > 0
    urls = [model.url for model in MODELS.values() if model.url]
    assert len(set(urls)) == len(urls)
    assert MODELS["bit-m-r152x4-ilsvrc2012"].url.endswith("/BiT-M-R152x4-ILSVRC2012.npz")
    # As timm's tables have them: parameters of R101x3 with 1,000 classes, and of R50x1 (25.5 M).
    assert round(MODELS["bit-s-r101x3"].parameters / 1e4) == 38793
    assert round(MODELS["bit-m-r50x1-ilsvrc2012"].parameters / 1e5) == 255


def test_steps_to_a_credentialed_model_are_whole(folder):
    with pytest.raises(UserError) as error:
        locate("CXR-50x1-remedis-m")
    text = error.value.remedy
    for step in (
        "https://physionet.org/settings/credentialing/",
        "training",
        "Sign the agreement",
        "wget -r -N -c -np --user YOUR_PHYSIONET_NAME --ask-password https://physionet.org/files/"
        "medical-ai-research-foundation/1.0.0/cxr-50x1-remedis-m/",
        "remedis import remedis physionet.org/files/",
    ):
        assert step in text
    assert "\n" not in str(error.value)


def test_published_file_is_downloaded_once_and_works_without_the_server(folder, server):
    path = locate("BiT-M-R50x1")
    assert path == folder / "bit-m-r50x1" / "BiT-M-R50x1.npz" and path.read_bytes() == CONTENT
    assert read_record(path).sha256 == DIGEST and not read_record(path).given
    server.stop()
    assert locate("bit-m-r50x1") == path
    assert locate(f"bit-m-r50x1#sha256={DIGEST}", offline=True) == path
    with pytest.raises(UserError, match="other bytes"):
        locate(f"bit-m-r50x1#sha256={'0' * 64}")
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(UserError, match="damaged or replaced"):
        locate("bit-m-r50x1")


def test_offline_nothing_leaves_the_machine(folder, server, monkeypatch):
    monkeypatch.setenv("REMEDIS_OFFLINE", "1")
    for reference in ("bit-m-r50x1", "https://h/x.npz", "gs://b/x.npz", "hf://o/r/x.safetensors"):
        with pytest.raises(UserError, match=r"is not here, and REMEDIS_OFFLINE.*Put .* at ") as e:
            locate(reference)
    # The place that the message names is where it is found.
    monkeypatch.setenv("REMEDIS_OFFLINE", "0")
    with pytest.raises(UserError, match="downloads are switched off") as e:
        locate("hf://o/r/x.npz", offline=True)
    place = folder / e.value.remedy.partition(f"{folder}/")[2].partition(",")[0]
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert locate("hf://o/r/x.npz", offline=True) == place
    assert not server.requests


def test_imported_weights_come_before_the_published_file(folder, small_artifact):
    raw = folder / "BiT-M-R50x1.npz"
    imported = folder.parent / "shared" / "bit-m-r50x1" / "weights.safetensors"
    for path, content in ((raw, CONTENT), (imported, small_artifact.read_bytes())):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert locate("bit-m-r50x1") == imported
    # A hash is that of the published file.
    assert locate(f"bit-m-r50x1#sha256={DIGEST}") == raw


def test_savedmodel_that_lies_there_is_named(folder):
    saved = folder / "path-50x1-remedis-s"
    saved.mkdir(parents=True)
    (saved / "saved_model.pb").write_bytes(b"x")
    for reference in ("path-50x1-remedis-s", str(saved)):
        with pytest.raises(UserError, match=f"Import it once: remedis import remedis {saved}"):
            locate(reference)


def test_imported_weights_come_before_the_savedmodel_in_the_current_folder(
    folder, small_artifact, tmp_path, monkeypatch
):
    saved = tmp_path / "here" / "path-50x1-remedis-s"
    saved.mkdir(parents=True)
    (saved / "saved_model.pb").write_bytes(b"x")
    folder.mkdir(parents=True, exist_ok=True)
    imported = folder / "path-50x1-remedis-s.safetensors"
    imported.write_bytes(small_artifact.read_bytes())
    monkeypatch.chdir(saved.parent)
    assert locate("path-50x1-remedis-s") == imported
    with pytest.raises(UserError, match="Import it once"):
        locate(saved)


def test_folders_are_searched_two_levels_deep_by_their_headers(folder, small_artifact):
    from remedis_jax.weights.artifact import read_card

    content = small_artifact.read_bytes()
    places = (
        "derm.safetensors",
        "team/derm.safetensors",
        "team/run/weights.safetensors",
        "run/weights.safetensors",
        "run/other.safetensors",
    )
    beyond = ("team/study/run/weights.safetensors", ".x/a.safetensors")
    for place in (*places, *beyond):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(content)
    (folder / "foreign.safetensors").write_bytes(b"\x80\x02pickle")
    (folder / "cut.safetensors").write_bytes(content[:-1])
    found = list_artifacts([folder, folder.parent / "absent"])
    card, sha256 = read_card(small_artifact)
    ours = {entry.name: entry for entry in found if entry.card}
    assert sorted(ours) == ["derm", "run", "run/other", "team/derm", "team/run"]
    assert all((e.card, e.sha256, e.size) == (card, sha256, len(content)) for e in ours.values())
    assert {e.name: e.problem for e in found if not e.card} == {
        "foreign": f"{folder / 'foreign.safetensors'} is a pickle, which can run any program when "
        "it is opened.",
        "cut": next(e.problem for e in found if e.name == "cut"),
    }
    for name, entry in ours.items():
        assert find_artifact(name) == entry.path == locate(name)


@pytest.mark.parametrize(
    "name", ["../secret", "a/../../secret", "/secret", "a/b/c/d", "a\\..\\secret", "..", "", "~"]
)
def test_no_name_leads_out_of_the_folders(folder, small_artifact, name):
    folder.mkdir()
    (folder.parent / "secret.safetensors").write_bytes(small_artifact.read_bytes())
    assert find_artifact(name) is None


def test_default_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("REMEDIS_MODELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models_folders() == [tmp_path / "remedis_jax" / "models"]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert models_folders() == [tmp_path / ".cache" / "remedis_jax" / "models"]
    monkeypatch.setenv("REMEDIS_MODELS", os.pathsep.join(["~/a", "", "b"]))
    assert [str(path) for path in models_folders()] == [str(tmp_path / "a"), "b"]


def test_paths_and_file_addresses(folder, tmp_path):
    path = tmp_path / "a b.npz"
    path.write_bytes(CONTENT)
    run = tmp_path / "run"
    run.mkdir()
    assert locate(path) == locate(str(path)) == path
    assert locate(f"file://{tmp_path}/a%20b.npz#sha256={DIGEST}") == path
    assert locate(f"file://localhost{tmp_path}/a%20b.npz") == path
    with pytest.raises(UserError, match="names the machine 'elsewhere'"):
        locate("file://elsewhere/x.npz")
    with pytest.raises(UserError, match="does not exist"):
        locate("file:///none.npz")
    with pytest.raises(UserError, match="other bytes"):
        locate(f"{path}#sha256={'0' * 64}")
    with pytest.raises(UserError, match="is no SHA-256"):
        locate(f"{path}#sha256=abc")
    with pytest.raises(UserError, match="holds no weights.safetensors"):
        locate(run)
    (run / "weights.safetensors").write_bytes(CONTENT)
    assert locate(run) == run
    (tmp_path / "model.pth").write_bytes(b"x")
    with pytest.raises(UserError, match="is a pickle by its name"):
        locate(tmp_path / "model.pth")
    with pytest.raises(UserError, match="Did you mean 'bit-m-r50x1'"):
        locate("bit-m-r50x1x")


def test_what_addresses_mean(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", " secret\n")
    store, hub = "https://storage.googleapis.com", "https://huggingface.co"
    for address, url, name in (
        ("gs://bucket/a b/x.npz", f"{store}/bucket/a%20b/x.npz", "x.npz"),
        ("hf://org/repo/x.safetensors", f"{hub}/org/repo/resolve/main/x.safetensors", None),
        ("hf://org/repo@refs%2Fpr%2F1/s/x.npz", f"{hub}/org/repo/resolve/refs%2Fpr%2F1/s/x.npz", 0),
        ("https://h/a b/X.NPZ?sign=1", "https://h/a%20b/X.NPZ?sign=1", "X.NPZ"),
        ("https://h/%2e%2e%2fx.npz", "https://h/%2e%2e%2fx.npz", "x.npz"),
    ):
        location = location_of(address)
        assert location.url == url
        assert location.file_name == (name or url.rpartition("/")[2])
        assert location.token == ("secret" if hub in url else None)
        assert "secret" not in repr(location)
    a, b = location_of("https://h/x.npz?version=1"), location_of("https://h/x.npz?version=2")
    assert a.folder != b.folder


@pytest.mark.parametrize(
    "address, reason",
    [
        ("https://h/model.pt?x=.npz", r"is a pickle by its name \(.pt\)"),
        ("hf://org/repo/pytorch_model.bin", "is a pickle"),
        ("gs://bucket/x.PKL", "is a pickle"),
        ("https://h/model.ckpt", "is a pickle"),
        ("https://h/model.tar.gz", "neither .safetensors nor .npz"),
        ("https://h/", "neither .safetensors nor .npz"),
        ("hf://repo/x.npz", "is incomplete"),
        ("gs://x.npz/a.npz/", "no name for a file"),
        ("hf:org/repo/x.npz", "is incomplete"),
        ("https://h/%00.npz", "no name for a file"),
        ("https://h/a%5C..%5Cx.npz", "no name for a file"),
        (f"https://h/{'x' * 300}.npz", "no name for a file"),
        ("https://[::1/x.npz", "is no address"),
        ("s3://bucket/x.npz", "s3: is no address that is read here"),
        ("http://h/x.npz", "not encrypted"),
        ("https://user:word@h/x.npz", "user name or a password"),
    ],
)
def test_addresses_that_are_refused_before_anything_is_asked(folder, server, address, reason):
    with pytest.raises(UserError, match=reason) as error:
        locate(address)
    assert not server.requests and not folder.exists()
    assert "word@" not in str(error.value)


def test_addresses_are_downloaded_side_by_side_and_kept(folder, server, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    other = npz(b=np.ones(2))
    server.files["/bucket/x.npz"] = Served(CONTENT)
    server.files["/org/repo/resolve/main/x.npz"] = Served(other)
    first, second = locate("gs://bucket/x.npz"), locate("hf://org/repo/x.npz")
    assert (first.read_bytes(), second.read_bytes()) == (CONTENT, other)
    assert first.is_relative_to(folder) and second.is_relative_to(folder)
    sent = [(h["Host"], h.get("Authorization")) for _, h in server.requests]
    assert sent == [("storage.googleapis.com", None), ("huggingface.co", "Bearer secret")]
    # Found in a folder of others, too.
    (folder.parent / "shared").mkdir()
    first.parent.parent.rename(folder.parent / "shared" / "downloads")
    server.stop()
    assert locate("gs://bucket/x.npz").read_bytes() == CONTENT


def test_refusals_say_what_to_do(folder, server):
    server.files["/bucket/x.npz"] = Served(statuses=[403])
    with pytest.raises(UserError, match=r"HTTP 403.*gcloud storage cp gs://bucket/x.npz \."):
        locate("gs://bucket/x.npz")
    with pytest.raises(UserError, match=r"HTTP 404.*set HF_TOKEN"):
        locate("hf://org/repo/x.npz")


def test_http_is_read_with_its_hash(folder, server):
    server.files["/x.npz"] = Served(CONTENT)
    path = locate(f"{server.url('/x.npz')}#sha256={DIGEST}")
    assert path.read_bytes() == CONTENT and read_record(path).given
