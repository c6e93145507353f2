"""Files that are not what they say: refused in one line, with nothing of theirs executed.

Every case is made anew, handed to each reader that a user could hand it to, and has to end in a
UserError whose message names the file. A canary file would appear if anything in a payload ran.
docs/security.md lists the cases; a test compares the list.
"""

import io
import json
import os
import pickle
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from remedis_jax.cli import main as cli
from remedis_jax.errors import UserError
from remedis_jax.evaluation.model import load
from remedis_jax.models.bit import BiTSpec
from remedis_jax.weights.artifact import METADATA_KEY, flatten, load_artifact
from remedis_jax.weights.bit_npz import read_bit_npz, write_bit_npz
from remedis_jax.weights.imports import import_state_dict
from tests.weights.conftest import SMALL, random_params

ROOT = Path(__file__).parents[2]


class Payload:
    """What runs a command when it is unpickled."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def artifact_with(source: Path, path: Path, change) -> Path:
    """An artefact with `change(content, tensors)` applied behind its back."""
    with safe_open(source, framework="numpy") as file:
        content = json.loads(file.metadata()[METADATA_KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    changed = change(content, tensors)
    text = changed if isinstance(changed, str) else json.dumps(content)
    save_file(tensors, path, metadata={METADATA_KEY: text})
    return path


def npz_with(path: Path, change) -> Path:
    """A BiT .npz with `change(arrays)` applied, objects allowed."""
    arrays = {f"resnet/{k}": v for k, v in flatten(random_params(SMALL)["encoder"]).items()}
    change(arrays)
    np.savez(path, allow_pickle=True, **arrays)
    return path


def raw_npz(path: Path, member: bytes, name: str = "resnet/root_block/x.npy") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, member)
    return path


def npy_header(text: str) -> bytes:
    body = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body


class Maker:
    """Makes each case in a folder."""

    def __init__(self, folder: Path, good: Path, canary: Path):
        self.folder, self.good, self.canary = folder, good, canary

    def file(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    # --- Programs in disguise -------------------------------------------------------------------
    def pickle_as_safetensors(self):
        return self.file("model.safetensors", pickle.dumps(Payload(self.canary)))

    def old_pickle_as_npz(self):
        return self.file("BiT-M-R50x1.npz", pickle.dumps(Payload(self.canary), protocol=0))

    def torch_archive(self):
        path = self.folder / "pytorch_model.safetensors"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Payload(self.canary)))
        return path

    def npz_with_objects(self):
        def change(arrays):
            arrays["resnet/group_norm/beta"] = np.array([Payload(self.canary)], dtype=object)

        return npz_with(self.folder / "objects.npz", change)

    def npz_with_pickled_member(self):
        return raw_npz(self.folder / "member.npz", pickle.dumps(Payload(self.canary)))

    def header_with_code(self):
        code = f"__import__('os').system('touch {self.canary}')"
        return raw_npz(self.folder / "code.npz", npy_header(code))

    # --- Damaged --------------------------------------------------------------------------------
    def empty(self):
        return self.file("empty.safetensors", b"")

    def web_page(self):
        return self.file("BiT-M-R50x1.npz", b"<!DOCTYPE html><title>Sign in</title>")

    def truncated_artefact(self):
        return self.file("cut.safetensors", self.good.read_bytes()[:-100])

    def truncated_npz(self):
        path = npz_with(self.folder / "cut.npz", lambda arrays: None)
        return self.file("cut.npz", path.read_bytes()[: path.stat().st_size // 2])

    def flipped_bit(self):
        content = bytearray(self.good.read_bytes())
        content[-1000] ^= 4
        return self.file("flipped.safetensors", bytes(content))

    def npz_member_shorter_than_its_header(self):
        header = npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (9999, 9999)}")
        return raw_npz(self.folder / "short.npz", header + b"\0" * 16)

    # --- Too large ------------------------------------------------------------------------------
    def npz_bomb(self):
        """17 GiB of zeros by its table of contents, some kilobytes on disk."""
        path = self.folder / "bomb.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("resnet/a.npy", b"\0" * 2**20)
        content = bytearray(path.read_bytes())
        entry = content.index(b"PK\x01\x02")
        # The size field of the central directory, as large as it can be, several times over.
        content[entry + 24 : entry + 28] = struct.pack("<I", 2**32 - 2)
        directory = bytes(content[entry : content.index(b"PK\x05\x06")])
        end = content.index(b"PK\x05\x06")
        body = bytes(content[:entry]) + directory * 5
        tail = bytearray(content[end:])
        tail[8:12] = struct.pack("<HH", 5, 5)
        tail[12:16] = struct.pack("<I", len(directory) * 5)
        path.write_bytes(body + bytes(tail))
        return path

    def npz_with_a_huge_header(self):
        body = b"{'descr': '<f4', " + b" " * 60_000 + b"}\n"
        return raw_npz(
            self.folder / "header.npz", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body
        )

    def safetensors_with_a_huge_header(self):
        return self.file("header.safetensors", struct.pack("<Q", 2**62) + b"{}" + b" " * 64)

    def deeply_nested_card(self):
        def change(content, tensors):
            return "[" * 100_000 + "]" * 100_000

        return artifact_with(self.good, self.folder / "nested.safetensors", change)

    # --- Of another network, or with another hash -----------------------------------------------
    def other_width(self):
        def change(content, tensors):
            content["card"]["encoder"]["name"] = "r14x0.5"
            rehash(content)

        return artifact_with(self.good, self.folder / "width.safetensors", change)

    def absurd_width(self):
        def change(content, tensors):
            content["card"]["encoder"]["name"] = "r50x999999999999"
            rehash(content)

        return artifact_with(self.good, self.folder / "absurd.safetensors", change)

    def changed_card(self):
        def change(content, tensors):
            content["card"]["preprocessing"]["value_range"] = [0, 1]

        return artifact_with(self.good, self.folder / "card.safetensors", change)

    def wrong_hash(self):
        def change(content, tensors):
            content["sha256"] = "0" * 64

        return artifact_with(self.good, self.folder / "hash.safetensors", change)

    def card_without_preprocessing(self):
        def change(content, tensors):
            del content["card"]["preprocessing"]
            rehash(content)

        return artifact_with(self.good, self.folder / "bare.safetensors", change)

    def random_recipe_in_the_contract(self):
        def change(content, tensors):
            device = {"recipe": "simclr", "options": {}}
            content["card"]["preprocessing"]["device"] = device
            rehash(content)

        return artifact_with(self.good, self.folder / "random.safetensors", change)

    def missing_tensor(self):
        def change(content, tensors):
            del tensors["encoder/group_norm/gamma"]

        return artifact_with(self.good, self.folder / "missing.safetensors", change)

    def left_over_tensor(self):
        def change(content, tensors):
            tensors["encoder/extra"] = np.zeros(3, np.float32)

        return artifact_with(self.good, self.folder / "extra.safetensors", change)

    def no_card(self):
        save_file({"weight": np.zeros(3, np.float32)}, self.folder / "plain.safetensors")
        return self.folder / "plain.safetensors"

    def renamed_npz(self):
        return npz_with(self.folder / "BiT-M-R152x2.npz", lambda arrays: None)

    def npz_of_float16(self):
        def change(arrays):
            name = "resnet/group_norm/beta"
            arrays[name] = arrays[name].astype(np.float16)

        return npz_with(self.folder / "half.npz", change)

    def npz_that_is_no_bit(self):
        np.savez(self.folder / "other.npz", weight=np.zeros(3, np.float32))
        return self.folder / "other.npz"

    def npz_with_a_path(self):
        """A member that would leave the folder if archives were unpacked."""
        buffer = io.BytesIO()
        np.save(buffer, np.zeros(3, np.float32))
        return raw_npz(self.folder / "path.npz", buffer.getvalue(), "../../escaped.npy")


def rehash(content) -> None:
    """A forger can make the hash fit; shapes and the form of the card are checked all the same."""
    from remedis_jax.weights.artifact import artifact_hash

    content["sha256"] = artifact_hash(content["card"], content["tensors"])


CASES = [
    name
    for name, value in vars(Maker).items()
    if callable(value) and not name.startswith("_") and name != "file"
]


def test_there_are_twenty_and_the_page_lists_them():
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    assert len(CASES) >= 20
    assert re.findall(r"^- `(\w+)`:", page, re.MULTILINE) == CASES


@pytest.mark.parametrize("case", CASES)
def test_refused_without_running_anything(case, tmp_path, small_artifact, capsys, monkeypatch):
    canary = tmp_path / "canary"
    folder = tmp_path / "inner" / "folder"
    folder.mkdir(parents=True)
    path = getattr(Maker(folder, small_artifact, canary), case)()
    for reader in (load_artifact, load, read_bit_npz, import_state_dict):
        with pytest.raises(UserError) as caught:
            reader(path)
        assert path.name in str(caught.value), caught.value
        assert "\n" not in str(caught.value)
    # And through the front door: one line, exit code 2, no trace.
    arguments = ["remedis", "import", "bit", str(path), "--out", str(tmp_path / "o.safetensors")]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and "Traceback" not in error
    assert len([line for line in error.splitlines() if "remedis: error:" in line]) == 1
    assert not (tmp_path / "o.safetensors").exists()
    assert not canary.exists(), "the payload ran"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inner"], "something was written outside"


def test_the_payload_is_live(tmp_path):
    """The canary does appear when a pickle is opened: otherwise the test above could not fail."""
    canary = tmp_path / "canary"
    pickle.loads(pickle.dumps(Payload(canary)))
    assert canary.exists()


def test_weights_of_another_width_do_not_slip_in(tmp_path):
    """A .npz whose first layer claims one width and whose body has another."""
    params = random_params(BiTSpec(14, 0.5))
    params["encoder"]["root_block"] = random_params(SMALL)["encoder"]["root_block"]
    write_bit_npz(tmp_path / "mixed.npz", params)
    with pytest.raises(UserError, match="of another shape"):
        read_bit_npz(tmp_path / "mixed.npz")
