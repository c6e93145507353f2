"""The .npz files in which BiT was published, in and out.

Layout (google-research/big_transfer): `resnet/` before our encoder names, the head under
`resnet/head/conv2d/` as a 1x1 convolution. Some files number their layers
(`standardized_conv2d_3`) and some hold GroupNorm parameters as (1, 1, 1, C); both are undone.
"""

import io
import math
import os
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from remedis_jax.errors import UserError
from remedis_jax.models.bit import BiTSpec
from remedis_jax.weights.architecture import HEAD_BIAS, HEAD_KERNEL, infer_spec
from remedis_jax.weights.artifact import flatten, unflatten
from remedis_jax.weights.file_kinds import refuse_other_kinds

PREFIX = "resnet/"
_HEAD = {"head/conv2d/kernel": HEAD_KERNEL, "head/conv2d/bias": HEAD_BIAS}
# Layer numbers that TensorFlow appends to a second layer of one name.
_NUMBER = re.compile(r"(standardized_conv2d|group_norm|conv2d)_\d+(?=/)")
# The largest published file, R152x4 with its head, has 936 million parameters.
_MAX_BYTES = 16 * 2**30
_MAX_HEADER = 4096
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
# The name of a published file says what must be in it.
_NAMED = re.compile(r"[Rr](50|101|152)x(\d)")


def read_bit_npz(path: Path) -> tuple[dict[str, Any], BiTSpec]:
    """Reads a BiT .npz.

    Args:
        path: The file; a name such as BiT-M-R50x1.npz has to agree with what is in it.

    Returns:
        Nested parameters, "encoder" and, where the file has one, "head"; and the network.

    Raises:
        UserError: It is no BiT .npz, is damaged, holds objects instead of numbers, or its arrays
            do not fit the network.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist.", "Give the path of a BiT .npz.")
    refuse_other_kinds(path, "npz")
    encoder, head = {}, {}
    for stored, values in _arrays(path):
        name = _NUMBER.sub(r"\1", stored.removeprefix(PREFIX))
        if name in _HEAD:
            if values.ndim == 4:
                values = values.reshape(values.shape[2:])
            target, name = head, _HEAD[name]
        else:
            if name.endswith(("gamma", "beta")) and values.shape[:-1] == (1, 1, 1):
                values = values.reshape(-1)
            target = encoder
        if name in target:
            raise UserError(
                f"{path}: two arrays are {name} once layer numbers are taken off.",
                "Give the published file.",
            )
        target[name] = values
    spec = infer_spec({name: values.shape for name, values in encoder.items()}, str(path))
    named = _NAMED.search(path.name)
    if named and spec.name != f"r{named[1]}x{named[2]}":
        raise UserError(
            f"{path} holds a {spec.name}, which its name denies.",
            "The file was renamed or mixed up; download it again, or give it a name without a "
            "network in it.",
        )
    params = {"encoder": unflatten(encoder)}
    if head:
        _check_head(head, spec, path)
        params["head"] = unflatten(head)
    return params, spec


def write_bit_npz(path: Path, params: Mapping[str, Any]) -> None:
    """Writes parameters in the published layout, uncompressed; complete or not at all.

    Args:
        path: Ends in .npz.
        params: Nested, "encoder" of stem "bit" and perhaps "head".

    Raises:
        OSError: It cannot be written.
    """
    path = Path(path)
    arrays = {f"{PREFIX}{name}": array for name, array in flatten(params["encoder"]).items()}
    if "head" in params:
        head = flatten(params["head"])
        for theirs, ours in _HEAD.items():
            array = head[ours]
            arrays[f"{PREFIX}{theirs}"] = array[None, None] if array.ndim == 2 else array
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        np.savez(temporary, **arrays)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _check_head(head: Mapping[str, np.ndarray], spec: BiTSpec, path: Path) -> None:
    kernel, bias = head.get(HEAD_KERNEL), head.get(HEAD_BIAS)
    shapes = [None if array is None else array.shape for array in (kernel, bias)]
    if None in shapes or shapes != [(spec.output_dim, bias.size), (bias.size,)]:
        raise UserError(
            f"{path}: kernel and bias of its head have shapes {shapes[0]} and {shapes[1]}, which "
            f"is no head on {spec.output_dim} features.",
            "Give the published file.",
        )


def _arrays(path: Path):
    """(name, float32 array) of each member, refusing what no BiT file holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > _MAX_BYTES:
                raise UserError(
                    f"{path} would unpack to {total / 2**30:,.0f} GiB.", "That is no BiT file."
                )
            for member in members:
                yield member.filename.removesuffix(".npy"), _array(archive, member, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise UserError(f"{path} is damaged ({error}).", "Copy or download it again.") from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """One array, its header checked before its numbers are given memory."""
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as file:
        try:
            shape, columns_first, kind = _HEADERS[npy.read_magic(file)](file, _MAX_HEADER)
        except (ValueError, KeyError) as error:
            raise UserError(
                f"{path}: the header of {name} cannot be read ({str(error).splitlines()[0]}).",
                "Download the file again.",
            ) from error
        if kind.hasobject:
            raise UserError(
                f"{path}: {name} holds Python objects, which are pickles, instead of numbers.",
                "Such a file can run any program; ask for one with numbers alone.",
            )
        if kind != np.dtype("<f4"):
            raise UserError(
                f"{path}: {name} has dtype {kind} and the published files are float32.",
                "Convert it to float32 if that loss is meant, and import again.",
            )
        expected = math.prod(shape) * kind.itemsize
        if member.file_size != expected + file.tell():
            raise UserError(
                f"{path}: {name} has {member.file_size:,} bytes where its shape {shape} needs "
                f"{expected:,}.",
                "It is damaged; download it again.",
            )
        values = np.frombuffer(_exactly(file, expected, path, name), kind)
    return values.reshape(shape, order="F" if columns_first else "C")


def _exactly(file: io.BufferedIOBase, count: int, path: Path, name: str) -> bytearray:
    """`count` bytes, read into memory once."""
    buffer = bytearray(count)
    view, at = memoryview(buffer), 0
    while at < count:
        got = file.readinto(view[at:])
        if not got:
            raise UserError(f"{path}: {name} is cut off.", "Download the file again.")
        at += got
    return buffer
