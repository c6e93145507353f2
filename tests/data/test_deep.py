"""Pictures of 16 bits a channel keep them: PNG and TIFF files written here, byte by byte."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from remedis_jax.data.decode import decode_pixels, depth_of, inspect
from remedis_jax.data.reading import Reading
from remedis_jax.errors import UserError

DEEP = Reading(bits=16)
RGB, GREY, WHITE_IS_ZERO, CMYK, LAB = 2, 1, 0, 5, 8


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)


def png(pixels: np.ndarray, colour: int, *extra: tuple[bytes, bytes]) -> bytes:
    """`extra` chunks stand behind the pixels if their names begin with ' ', else before."""
    height, width = pixels.shape[:2]
    lines = b"".join(b"\0" + line.tobytes() for line in pixels.astype(">u2"))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)),
        *(chunk for chunk in extra if not chunk[0].startswith(b" ")),
        (b"IDAT", zlib.compress(lines)),
        *((kind[1:], body) for kind, body in extra if kind.startswith(b" ")),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def tiff(*pages: np.ndarray, kind: int = RGB, order: str = "<", **tags: int) -> bytes:
    """Uncompressed pages of one strip; `tags` are planar, format, extra and orientation."""
    numbers = {"planar": 284, "format": 339, "extra": 338, "orientation": 274}
    file = bytearray((b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8))
    for number, pixels in enumerate(pages, 1):
        height, width = pixels.shape[:2]
        samples = pixels.shape[2] if pixels.ndim == 3 else 1
        body = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
        bits = [8 * pixels.dtype.itemsize] * samples
        fields = {
            256: [width], 257: [height], 258: bits, 259: [1], 262: [kind], 277: [samples],
            278: [height], 279: [len(body)],
        }  # fmt: skip
        fields |= {numbers[name]: [value] for name, value in tags.items()}
        fields[339] = fields.get(339, [1]) * samples
        # Behind the directory: the bits, the formats, then the pixels.
        behind = len(file) + 2 + 12 * (len(fields) + 1) + 4
        fields[273] = [behind + 4 * samples]
        file += struct.pack(order + "H", len(fields))
        for tag, content in sorted(fields.items()):
            if len(content) > 2:
                file += struct.pack(order + "HHII", tag, 3, len(content), behind)
                behind += 2 * len(content)
            elif tag in (273, 279):
                file += struct.pack(order + "HHII", tag, 4, 1, content[0])
            else:
                packed = struct.pack(f"{order}{len(content)}H", *content)
                file += struct.pack(order + "HHI", tag, 3, len(content)) + packed.ljust(4, b"\0")
        two = [*fields[258], *fields[339]] if samples > 2 else [0] * (2 * samples)
        lengths = struct.pack(f"{order}{len(two)}H", *two)
        after = 0 if number == len(pages) else len(file) + 4 + len(lengths) + len(body)
        file += struct.pack(order + "I", after) + lengths + body
    return bytes(file)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [GREY, RGB])
def test_every_bit_of_a_tiff_is_kept(kind, order):
    pixels = values(8, 6) if kind == GREY else values(8, 6, 3)
    data = tiff(pixels, kind=kind, order=order)
    expected = pixels if kind == RGB else np.repeat(pixels[..., None], 3, axis=2)
    np.testing.assert_array_equal(decode_pixels(data, DEEP), expected)
    np.testing.assert_array_equal(decode_pixels(data), (expected / 257).round())
    assert depth_of(data) == 16
    seen = inspect(data)
    assert (seen.bits, seen.channels, seen.problem) == (16, 1 if kind == GREY else 3, "")


def test_every_bit_of_a_png_is_kept():
    colour, grey = values(8, 6, 3), values(8, 6)
    np.testing.assert_array_equal(decode_pixels(png(colour, 2), DEEP), colour)
    np.testing.assert_array_equal(decode_pixels(png(grey, 0), Reading(1, bits=16))[..., 0], grey)
    assert depth_of(png(colour, 2)[:64]) == depth_of(png(grey, 0)[:64]) == 16
    assert inspect(png(colour, 2)).mode == "RGB;16"


def over_black(pixels: np.ndarray) -> np.ndarray:
    shown = pixels[..., :-1].astype(float) * pixels[..., -1:] / 65535
    return np.floor(shown + 0.5).astype(np.uint16)


def test_transparent_pixels_are_black():
    colour, grey = values(8, 6, 4), values(8, 6, 2)
    colour[0, 0, 3], colour[1, 1, 3], grey[0, 0, 1] = 0, 65535, 0
    for data in (png(colour, 6), tiff(colour, extra=2)):
        np.testing.assert_array_equal(decode_pixels(data, DEEP), over_black(colour))
    shown = decode_pixels(png(grey, 4), Reading(1, bits=16))
    np.testing.assert_array_equal(shown, over_black(grey))
    one = colour[0, 1, :3]
    keyed = decode_pixels(png(colour[..., :3], 2, (b"tRNS", one.astype(">u2").tobytes())), DEEP)
    assert not keyed[0, 1].any() and (keyed[1, 1] == colour[1, 1, :3]).all()


def test_a_fourth_channel_that_is_no_transparency_is_left_out():
    pixels = values(8, 6, 4)
    for extra in (0, 1):  # Unknown; colours over black already.
        np.testing.assert_array_equal(
            decode_pixels(tiff(pixels, extra=extra), DEEP), pixels[..., :3]
        )


def test_white_is_zero_is_turned_at_every_depth():
    """Pillow turns 8 bits only: the others would be inverted."""
    deep = values(8, 6)
    shallow = (deep >> 8).astype(np.uint8)
    for pixels, reading in ((deep, Reading(1, bits=16)), (shallow, Reading(1))):
        plain = decode_pixels(tiff(pixels, kind=GREY), reading)
        turned = decode_pixels(tiff(pixels, kind=WHITE_IS_ZERO), reading)
        np.testing.assert_array_equal(turned, np.iinfo(pixels.dtype).max - plain)
    with pytest.raises(UserError, match="likely 12-bit"):
        decode_pixels(tiff(deep >> 4, kind=WHITE_IS_ZERO))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied(orientation):
    pixels = values(8, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    tag = exif.tobytes().removeprefix(b"Exif\0\0")
    high = Image.fromarray((pixels >> 8).astype(np.uint8))
    high.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(high))
    files = [
        png(pixels, 2, (b"eXIf", tag)),
        png(pixels, 2, (b" eXIf", tag)),
        tiff(pixels, orientation=orientation),
    ]
    for data in files:
        got = decode_pixels(data, DEEP)
        np.testing.assert_array_equal(got >> 8, expected)
        seen = inspect(data)
        assert (seen.height, seen.width) == got.shape[:2]
    grey = decode_pixels(tiff(pixels[..., 0], kind=GREY, orientation=orientation), DEEP)
    np.testing.assert_array_equal(grey[..., 0] >> 8, expected[..., 0])


def test_pages_are_chosen_by_policy_and_by_number():
    pages = [values(4, 5, 3), values(6, 5, 3)[::-1], values(7, 4, 3)]
    data = tiff(*pages)
    with pytest.raises(UserError, match="3 pages or frames"):
        decode_pixels(data, DEEP)
    for number, page in enumerate(pages):
        np.testing.assert_array_equal(decode_pixels(data, DEEP, frame=number), page)
    middle = Reading(bits=16, frames="middle")
    np.testing.assert_array_equal(decode_pixels(data, middle), pages[1])


PICTURE = values(40, 30, 3)
BAD = {
    "planes": (tiff(PICTURE, planar=2), "interleaved RGB"),
    "signed": (tiff(PICTURE.astype(np.int16), format=2), "no agreed reading"),
    "signed grey": (tiff(PICTURE[..., 0].astype(np.int16), kind=GREY, format=2), "mode I "),
    "floats": (tiff(PICTURE.astype(np.float32), format=3), "no agreed reading"),
    "32 bits": (tiff(PICTURE.astype(np.uint32)), "no agreed reading"),
    "lab": (tiff(PICTURE, kind=LAB), "no agreed reading"),
    "cmyk": (tiff(values(4, 4, 4), kind=CMYK), "mode CMYK.*interleaved RGB"),
    "dark png": (png(PICTURE >> 4, 2), "likely 12-bit"),
    "dark tiff": (tiff(PICTURE >> 4), "likely 12-bit"),
    "cut png": (png(PICTURE, 2)[:-2000], "damaged"),
    "cut tiff": (tiff(PICTURE)[:-2000], "damaged"),
    "broken png": (png(PICTURE, 2).replace(b"IDAT", b"IDAT\x01"), "damaged"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_refused_in_one_line(case, capfd):
    data, reason = BAD[case]
    with pytest.raises(UserError, match=reason) as caught:
        decode_pixels(data, DEEP, name="x")
    assert "\n" not in str(caught.value) and caught.value.remedy
    assert inspect(data).problem and capfd.readouterr() == ("", "")
