"""Weights as one safetensors file that carries its card and checks itself.

Tensors are named by their parameter paths joined with "/". The file's one metadata entry holds the
card (architecture, preprocessing contract, lineage, licence, config, versions), the SHA-256 of
every tensor, and the artefact's hash: the SHA-256 of card and tensor digests together. A flipped
bit, a changed card or a swapped tensor is therefore found at loading, and named; and the hash stays
the same when the file is copied, renamed or written by another version of safetensors. Nothing is
unpickled and nothing in the file is executed.

What the weights have seen (`remedis_jax.data.seen_stages`) travels along: its hashes as uint8
tensors named `seen/STAGE/KIND`, which are no parameters, and the rest in the card under "seen".
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from remedis_jax.data.seen_stages import Seen
from remedis_jax.errors import UserError
from remedis_jax.models.case_head import case_head_shapes, head_spec
from remedis_jax.weights.architecture import (
    check_shapes,
    encoder_shapes,
    encoder_spec,
)
from remedis_jax.weights.contract import Contract
from remedis_jax.weights.file_kinds import refuse_other_kinds

# The one metadata key: safetensors writes several in an order that changes from run to run.
METADATA_KEY = "remedis_jax artefact 2"
FILE_NAME = "weights.safetensors"
# Tensors so named are no parameters, and no parameter may be named so.
SEEN_PREFIX = "seen/"
# Cards are some kilobytes, and a hundred bytes for every tensor.
_MAX_METADATA = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class Artifact:
    """What a weights file holds.

    Attributes:
        params: Nested dict of float32 arrays; the encoder is under "encoder".
        card: The JSON card.
        sha256: The artefact's hash: of its card and of every tensor, not of the file.
        path: Where it was read from.
        seen: Hashes of what the weights have seen; None where they do not say.
    """

    params: dict[str, Any]
    card: dict[str, Any]
    sha256: str
    path: Path
    seen: Seen | None = None


def flatten(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Nested dict -> {"a/b/c": array}."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(entry.key for entry in path): np.asarray(leaf) for path, leaf in leaves}


def unflatten(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """{"a/b/c": array} -> nested dict."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split("/")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return nested


def tensor_digest(values: np.ndarray) -> str:
    """SHA-256 (hex) of a tensor's dtype, shape and little-endian bytes in C order."""
    digest = hashlib.sha256(f"{values.dtype.str} {list(values.shape)} ".encode())
    digest.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def artifact_hash(card: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    """The artefact's hash: SHA-256 (hex) of card and tensor digests as canonical JSON."""
    return hashlib.sha256(_canonical({"card": card, "tensors": digests}).encode()).hexdigest()


def save_artifact(
    path: Path,
    params: Mapping[str, Any],
    card: Mapping[str, Any],
    seen: Seen | None = None,
) -> str:
    """Writes a weights file; it appears complete or not at all.

    Args:
        path: Ends in .safetensors.
        params: Nested dict of float32 arrays, "encoder" and "head" as the card describes them.
        card: JSON values.
        seen: What the weights have seen; None for weights that do not say. The card's "seen" is
            made from it.

    Returns:
        The artefact's hash. The same parameters, card and `seen` give the same bytes.

    Raises:
        UserError: Parameters and card do not fit together.
        ValueError: The card is of weights that say what they have seen, and `seen` is None. It is
            left out only on purpose, with `forget`.
        OSError: It cannot be written.
    """
    path = Path(path)
    flat = flatten(params)
    _check_against_card(flat, card, path, allowed=None)
    if seen is not None:
        card = {**card, "seen": seen.records()}
        flat |= {SEEN_PREFIX + name: values for name, values in seen.arrays().items()}
    elif "seen" in card:
        raise ValueError("the card says what the weights have seen; hand `seen` on, or `forget` it")
    with _pool() as pool:
        digests = dict(zip(flat, pool.map(tensor_digest, flat.values()), strict=True))
    digest = artifact_hash(card, digests)
    content = {"card": card, "sha256": digest, "tensors": digests}
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        save_file(flat, temporary, metadata={METADATA_KEY: _canonical(content)})
        # safetensors writes for its owner's eyes only; folders of models are shared.
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except SafetensorError as error:
        # What safetensors makes of a full disk.
        raise OSError(str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return digest


def forget(artifact: Artifact) -> Artifact:
    """The artefact without what it has seen, for those who must not hand on hashes of patients.

    Its hash stays that of the artefact until it is saved.
    """
    card = {name: value for name, value in artifact.card.items() if name != "seen"}
    return dataclasses.replace(artifact, card=card, seen=None)


def load_artifact(
    path: Path, *, dont_load: Sequence[str] = (), sha256: str | None = None
) -> Artifact:
    """Reads and verifies a weights file, or the one in a run's folder.

    Args:
        path: A file, or a folder that holds `weights.safetensors`.
        dont_load: Regular expressions; parameters with a name that one of them matches (from its
            start, as in "head/" or "encoder/block4/") are left out, and may be missing.
        sha256: The artefact's hash, where it is known beforehand.

    Raises:
        UserError: It does not exist, is damaged, was not written by this project, is not the one
            with that hash, or its tensors do not fit the network that its card describes.
    """
    path = artifact_path(path)
    patterns = _patterns(dont_load)
    try:
        with safe_open(path, framework="numpy") as file:
            content = _content(file.metadata(), path)
            card, digests = content["card"], content["tensors"]
            names = list(file.keys())
            if sorted(names) != sorted(digests):
                raise _damaged(path, "the tensors are not those that its card lists")
            wanted = [
                name
                for name in names
                if name.startswith(SEEN_PREFIX) or not _matches(patterns, name)
            ]
        flat = _read_tensors(path, wanted, digests)
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a readable safetensors file ({error}).", "Make or copy it again."
        ) from error
    if artifact_hash(card, digests) != content["sha256"]:
        raise _damaged(path, "its card has been changed since it was written")
    if sha256 is not None and sha256.lower() != content["sha256"]:
        raise UserError(
            f"{path} has the hash {content['sha256']} and not {sha256}.",
            "These are other weights; get the ones that are meant.",
        )
    seen = _take_seen(flat, card, path)
    _check_against_card(flat, card, path, allowed=patterns)
    return Artifact(unflatten(flat), card, content["sha256"], path, seen)


def artifact_path(path: Path) -> Path:
    """The weights file that a path means: itself, or the one in a run's folder.

    Raises:
        UserError: There is none, or it is a file of another kind.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / FILE_NAME).is_file():
            raise UserError(
                f"{path} holds no {FILE_NAME}.",
                "The run has not finished; repeat its command, or give a weights file.",
            )
        path = path / FILE_NAME
    if not path.is_file():
        raise UserError(f"Weights {path} do not exist.", "Check --weights or config.init.")
    refuse_other_kinds(path)
    return path


def read_card(path: Path) -> tuple[dict[str, Any], str]:
    """Card and hash of a weights file without reading its tensors, which stay unverified.

    Raises:
        UserError: As `load_artifact`, as far as the header shows it.
    """
    path = artifact_path(path)
    try:
        with safe_open(path, framework="numpy") as file:
            content = _content(file.metadata(), path)
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a readable safetensors file ({error}).", "Make or copy it again."
        ) from error
    if artifact_hash(content["card"], content["tensors"]) != content["sha256"]:
        raise _damaged(path, "its card has been changed since it was written")
    return content["card"], content["sha256"]


def replace_parts(
    params: dict[str, Any],
    artifact: Artifact,
    parts: tuple[str, ...],
    dont_load: Sequence[str] = (),
) -> dict[str, Any]:
    """`params` with parts of the artefact in place of its own.

    Args:
        params: Nested dict with the parts as top-level keys.
        artifact: Where to take them from.
        parts: E.g. ("encoder",) or ("encoder", "head").
        dont_load: Regular expressions of parameters that keep their own values; see
            `load_artifact`.

    Raises:
        UserError: Names or shapes differ.
    """
    patterns = _patterns(dont_load)
    for part in parts:
        own, loaded = (flatten({part: side.get(part, {})}) for side in (params, artifact.params))
        for name in sorted(own.keys() | loaded.keys()):
            if _matches(patterns, name):
                continue
            shapes = [side[name].shape if name in side else "absent" for side in (own, loaded)]
            if shapes[0] != shapes[1]:
                encoder = artifact.card["encoder"]
                raise UserError(
                    f"{name} is {shapes[1]} in {artifact.path} and {shapes[0]} in the "
                    "config's model.",
                    f"Those weights are of model {encoder['name']} with stem {encoder['stem']}"
                    f"{'' if part == 'encoder' else ' and other classes'}; make the config agree, "
                    "or name in dont_load what is to start at random.",
                )
        merged = {
            name: values if _matches(patterns, name) else loaded[name]
            for name, values in own.items()
        }
        params = params | unflatten(merged)
    return params


def _read_tensors(
    path: Path, names: Sequence[str], digests: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Tensors of a file whose header safetensors has accepted, each compared with its digest.

    Read here and not by safetensors, which copies while it holds the interpreter lock: each thread
    reads a tensor straight into its memory and hashes it while it is still in the cache.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))

        def read(name: str) -> np.ndarray:
            entry = header[name]
            wanted, dtype = ("U8", "u1") if name.startswith(SEEN_PREFIX) else ("F32", "<f4")
            if entry["dtype"] != wanted:
                raise UserError(
                    f"{path}: {name} has dtype {entry['dtype']} and not {wanted}.",
                    "Weights are kept in float32; convert and save them again."
                    if wanted == "F32"
                    else "Make the artefact again.",
                )
            values = np.empty(entry["shape"], dtype)
            view = memoryview(values.reshape(-1).view(np.uint8))
            at = 8 + length + entry["data_offsets"][0]
            while view:
                count = os.preadv(file.fileno(), [view], at)
                if not count:
                    raise _damaged(path, f"{name} is cut off")
                view, at = view[count:], at + count
            if tensor_digest(values) != digests[name]:
                raise _damaged(path, f"{name} has another SHA-256 than when it was written")
            return values

        with _pool() as pool:
            return dict(zip(names, pool.map(read, names), strict=True))


def _take_seen(
    flat: dict[str, np.ndarray], card: Mapping[str, Any], path: Path
) -> Seen | None:
    """Takes what was seen from among the tensors."""
    arrays = {
        name.removeprefix(SEEN_PREFIX): flat.pop(name)
        for name in list(flat)
        if name.startswith(SEEN_PREFIX)
    }
    if "seen" not in card and not arrays:
        return None
    try:
        return Seen.from_parts(card.get("seen"), arrays)
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _content(metadata: Mapping[str, str] | None, path: Path) -> dict[str, Any]:
    """The checked form of the metadata entry."""
    text = (metadata or {}).get(METADATA_KEY)
    if text is None:
        old = any(key.startswith("remedis_jax artefact") for key in metadata or {})
        what = "a card of another version" if old else "no card of this project"
        raise UserError(
            f"{path} carries {what}.",
            "Give a weights.safetensors that `remedis train` or `remedis import` wrote"
            + (" with this version." if old else "; state dicts come in by `remedis import`."),
        )
    if len(text) > _MAX_METADATA:
        raise _damaged(path, f"its card is {len(text):,} characters long")
    try:
        content = json.loads(text)
        shaped = (
            isinstance(content["card"], dict)
            and isinstance(content["sha256"], str)
            and isinstance(content["tensors"], dict)
            and all(isinstance(digest, str) for digest in content["tensors"].values())
        )
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise _damaged(path, f"its card cannot be read: {error!r}") from error
    if not shaped:
        raise _damaged(path, "its card has not the form of a card")
    return content


def _check_against_card(
    flat: Mapping[str, np.ndarray],
    card: Mapping[str, Any],
    path: Path,
    allowed: Sequence[re.Pattern] | None,
) -> None:
    """Raises UserError unless the tensors are those of the card's network, all float32."""
    for name, values in flat.items():
        if name.startswith(SEEN_PREFIX):
            raise UserError(
                f"{path}: a parameter is named {name}.",
                f"Names that begin with {SEEN_PREFIX} are kept for what weights have seen.",
            )
        if values.dtype != np.float32:
            raise UserError(
                f"{path}: {name} has dtype {values.dtype} and not float32.",
                "Weights are kept in float32; convert and save them again.",
            )
    try:
        spec = encoder_spec(card)
        expected = {"encoder": encoder_shapes(spec)}
        contract = Contract.from_json(card["preprocessing"])
        head = card["head"]
        if head is not None:
            expected["head"] = case_head_shapes(head_spec(head), spec.output_dim)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: the card is incomplete ({error!r}).", "Make the artefact again."
        ) from error
    except UserError as error:
        raise UserError(f"{path}: {error.problem}", error.remedy) from error
    if contract.output_dim != spec.output_dim:
        raise UserError(
            f"{path}: the contract promises {contract.output_dim} features, the network has "
            f"{spec.output_dim}.",
            "Make the artefact again.",
        )
    for part, shapes in expected.items():
        found = {
            name.removeprefix(f"{part}/"): values.shape
            for name, values in flat.items()
            if name.startswith(f"{part}/")
        }
        wanted = {
            name: shape
            for name, shape in shapes.items()
            if name in found or not _matches(allowed or (), f"{part}/{name}")
        }
        check_shapes(wanted, found, f"{path}, {part}")


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is damaged: {reason}.", "Copy or make it again.")


def _patterns(expressions: Sequence[str]) -> list[re.Pattern]:
    try:
        return [re.compile(expression) for expression in expressions]
    except re.error as error:
        raise UserError(
            f"dont_load: {error.pattern!r} is no regular expression ({error}).",
            "Write the beginning of parameter names, e.g. head/.",
        ) from error


def _matches(patterns: Sequence[re.Pattern], name: str) -> bool:
    return any(pattern.match(name) for pattern in patterns)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1)
