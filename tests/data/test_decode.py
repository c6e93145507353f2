"""Each rule of decoding on a file made for it; each unusable file is named with its reason."""

import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from remedis_jax.data import Reading, check_images, decode_image, inspect_images, read_manifest
from remedis_jax.data.decode import decode_pixels, depth_of, needs_header
from remedis_jax.errors import UserError

GREY = Reading(1)


def encode(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_lossless_formats_come_back_as_they_are(kind):
    pixels = noise(16, 16, 3)
    decoded = decode_image(encode(pixels, kind), size=16)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, pixels)


def test_path_and_bytes_are_the_same(tmp_path):
    data = encode(noise(20, 30, 3), "JPEG", quality=90)
    (tmp_path / "a.jpg").write_bytes(data)
    np.testing.assert_array_equal(
        decode_image(tmp_path / "a.jpg", size=8), decode_image(data, size=8)
    )


def test_grey_is_repeated_or_kept():
    pixels = noise(8, 8)
    assert decode_image(encode(pixels), size=8, reading=GREY).shape == (8, 8, 1)
    np.testing.assert_array_equal(
        decode_image(encode(pixels), size=8, reading=GREY)[..., 0], pixels
    )
    np.testing.assert_array_equal(
        decode_image(encode(pixels), size=8), np.repeat(pixels[..., None], 3, axis=2)
    )


def test_colour_becomes_grey_only_on_demand():
    colour = noise(8, 8, 3)
    with pytest.raises(UserError, match="x.png: the image has colour.*channels=3"):
        decode_image(encode(colour), size=8, reading=GREY, name="x.png")
    luma = decode_image(encode(colour), size=8, reading=Reading(1, True))[..., 0]
    exact = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(luma - exact).max() <= 1
    grey_as_colour = np.repeat(noise(8, 8, 1), 3, axis=2)
    np.testing.assert_array_equal(
        decode_image(encode(grey_as_colour), size=8, reading=GREY), grey_as_colour[..., :1]
    )


def test_16_bit_is_scaled_by_its_full_range():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for data in (encode(levels), encode(levels, "TIFF")):
        decoded = decode_image(data, size=256, reading=GREY)[..., 0]
        np.testing.assert_array_equal(decoded, np.round(levels / 257).astype(np.uint8))


def test_16_bit_colour_keeps_its_depth():
    levels = np.array([[0x12FF, 0x8000, 0xFE01]], ">u2")
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + levels.tobytes())), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    assert decode_image(data, size=1, reading=Reading(bits=16)).tolist() == [levels.tolist()]
    assert decode_image(data, size=1).tolist() == [np.round(levels / 257).tolist()]


def test_unscaled_12_bit_in_16_is_refused():
    levels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    with pytest.raises(UserError, match="up to 4095 of 65535"):
        decode_image(encode(levels), size=64)
    assert decode_image(encode(levels * 16), size=64).max() == 255
    assert decode_image(encode(levels * 0), size=64).max() == 0


def test_transparent_pixels_are_black_and_opaque_ones_stay():
    pixels = noise(4, 4, 4)
    pixels[..., 3] = 255
    pixels[0, 0, 3] = 0
    expected = pixels[..., :3].copy()
    expected[0, 0] = 0
    np.testing.assert_array_equal(decode_image(encode(pixels), size=4), expected)
    half = np.full((1, 1, 4), 200, np.uint8)
    half[..., 3] = 128
    assert decode_image(encode(half), size=1).tolist() == [[[100, 100, 100]]]
    grey_alpha = Image.merge("LA", [Image.new("L", (2, 2), 90), Image.new("L", (2, 2), 255)])
    assert np.unique(decode_image(encode(grey_alpha), size=2, reading=GREY)).tolist() == [90]
    grey_alpha.putalpha(Image.new("L", (2, 2), 0))
    assert np.unique(decode_image(encode(grey_alpha), size=2, reading=GREY)).tolist() == [0]


def test_palette_is_looked_up():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    decoded = decode_image(encode(image), size=2, fit="pad")
    assert [10, 20, 30] in decoded.reshape(-1, 3).tolist()
    assert [40, 50, 60] in decoded.reshape(-1, 3).tolist()


def test_one_bit_is_black_and_white():
    image = Image.fromarray(np.eye(4, dtype=bool))
    np.testing.assert_array_equal(
        decode_image(encode(image), size=4, reading=GREY)[..., 0], np.eye(4) * 255
    )


def test_exif_orientation_is_applied():
    pixels = noise(8, 8, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # The camera was turned: show rotated by 90 degrees clockwise.
    decoded = decode_image(encode(pixels, "PNG", exif=exif), size=8)
    np.testing.assert_array_equal(decoded, np.rot90(pixels, -1))


def test_fits():
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, :10], wide[:, 10:30], wide[:, 30:] = 50, 100, 200
    cropped = decode_image(encode(wide), size=20, fit="crop")
    assert np.unique(cropped).tolist() == [100]
    padded = decode_image(encode(wide), size=20, fit="pad")
    assert padded[:5].max() == 0 and padded[15:].max() == 0 and padded[5:15].min() > 0
    squashed = decode_image(encode(wide), size=20)
    assert (squashed[:, 0] == 50).all() and (squashed[:, -1] == 200).all()
    assert not np.array_equal(squashed, padded)


def test_the_photo_of_a_multi_picture_jpeg_is_used():
    photo, preview = Image.new("RGB", (8, 8), (9, 9, 9)), Image.new("RGB", (4, 4))
    data = encode(photo, "MPO", save_all=True, append_images=[preview])
    assert Image.open(io.BytesIO(data)).n_frames == 2
    assert np.unique(decode_image(data, size=8)).tolist() == [9]


@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
def test_a_thin_strip_keeps_its_content(fit):
    strip = np.full((10, 200, 3), 200, np.uint8)
    decoded = decode_image(encode(strip), size=32, fit=fit)
    assert decoded.shape == (32, 32, 3) and decoded.max() == 200
    with pytest.raises(UserError, match="201 x 10 pixels is more than 20 times as long"):
        decode_image(encode(np.full((10, 201, 3), 200, np.uint8)), size=32, fit=fit)


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    decoded = decode_image(encode(stripes), size=8, reading=GREY)[1:-1, 1:-1]
    assert decoded.min() >= 120 and decoded.max() <= 135


def test_impossible_formats_are_refused():
    data = encode(noise(4, 4))
    for wrong in ({"fit": "stretch"}, {"size": 0}):
        with pytest.raises(UserError, match="working format"):
            decode_image(data, **{"size": 4} | wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": 2},
        {"bits": 12},
        {"frames": "all"},
        {"window": (40, 0)},
        {"window": (float("nan"), 9)},
    ],
    ids=str,
)
def test_impossible_readings_are_refused(wrong):
    with pytest.raises(UserError, match="cannot be read with|not possible"):
        Reading(**wrong)


def test_an_8_bit_image_and_its_16_bit_twin_are_one():
    grey = noise(20, 30)
    twin = encode(grey.astype(np.uint16) * 257)
    deep, eight = Reading(bits=16), Reading()
    for reading in (deep, eight):
        np.testing.assert_array_equal(
            decode_pixels(encode(grey), reading), decode_pixels(twin, reading)
        )
    # Resampling in 16 bits agrees with Pillow's in 8 to its rounding.
    fine = decode_image(twin, size=9, reading=deep).astype(float) / 257
    assert np.abs(fine - decode_image(twin, size=9)).max() <= 1
    assert decode_image(twin, size=9, reading=deep).dtype == np.uint16


@pytest.mark.parametrize("shape", [(97, 75, 3), (64, 41)], ids=str)
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
def test_jpegs_come_out_as_pillow_has_them(shape, options):
    smooth = np.asarray(Image.fromarray(noise(9, 7, *shape[2:])).resize(shape[1::-1]))
    data = encode(smooth, "JPEG", quality=80, **options)
    whole = decode_pixels(data, Reading(3 if len(shape) == 3 else 1))
    expected = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(whole.squeeze(), expected)


def test_a_jpeg_is_reduced_as_far_as_the_working_size_allows():
    smooth = Image.fromarray(noise(9, 7, 3)).resize((512, 600), Image.Resampling.BICUBIC)
    data = encode(smooth, "JPEG", quality=95)
    reduced = Reading(reduced=True)
    shapes = {n: decode_pixels(data, reduced, at_least=n).shape[:2] for n in (512, 300, 256, 64)}
    assert shapes == {512: (600, 512), 300: (600, 512), 256: (300, 256), 64: (75, 64)}
    assert decode_pixels(data, Reading(), at_least=64).shape == (600, 512, 3)
    # Much the same picture as without, and upright.
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(smooth, "JPEG", quality=95, exif=exif)
    small = decode_image(turned, size=64, reading=reduced).astype(int)
    assert np.abs(small - decode_image(turned, size=64)).mean() < 2


def test_orientation_of_a_jpeg_is_that_of_pillow():
    smooth = np.asarray(Image.fromarray(noise(5, 3, 3)).resize((40, 24)))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encode(smooth, "JPEG", exif=exif)
        expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
        np.testing.assert_array_equal(decode_pixels(data), expected)


def test_pages_by_policy_and_by_number(tmp_path):
    pages = [Image.fromarray(np.full((4, 4), 10 * i, np.uint8)) for i in range(5)]
    data = encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(UserError, match="5 pages or frames.*#frame=N"):
        decode_pixels(data)
    assert decode_pixels(data, Reading(frames="first")).max() == 0
    assert decode_pixels(data, Reading(frames="middle")).max() == 20
    assert decode_pixels(data, frame=3).max() == 30
    (tmp_path / "a.tif").write_bytes(data)
    assert decode_pixels(f"{tmp_path}/a.tif#frame=3").max() == 30
    with pytest.raises(UserError, match="5 image\\(s\\) and no frame 5"):
        decode_pixels(data, frame=5)


def test_depth_is_known_from_the_beginning_of_a_file():
    deep = noise(4, 4).astype(np.uint16) * 257
    assert [depth_of(encode(deep, kind)) for kind in ("PNG", "TIFF")] == [16, 16]
    assert [depth_of(encode(noise(4, 4, 3), kind)) for kind in ("PNG", "TIFF", "BMP")] == [8, 8, 8]
    assert depth_of(b"nothing") == 8
    assert needs_header("a.png") and needs_header("scan") and not needs_header("a/B.JPG")


def truncated(kind: str) -> bytes:
    data = encode(noise(64, 64, 3), kind)
    return data[: len(data) // 2]


DOT = Image.new("L", (4, 4))
PHOTO = encode(noise(64, 64, 3), "JPEG")
BAD = {
    "empty": (b"", "empty \\(0 bytes\\)"),
    "html": (b"\n<!DOCTYPE html><html>404</html>", "web page"),
    "text": (b"patient,label\n", "not a JPEG, PNG, TIFF or BMP"),
    "gif": (encode(noise(4, 4), "GIF"), "not a JPEG, PNG, TIFF or BMP"),
    "png": (truncated("PNG"), "damaged"),
    "jpeg": (truncated("JPEG"), "damaged"),
    "jpeg's last byte": (PHOTO[:-1], "damaged"),
    "jpeg's codes": (PHOTO[:-400] + bytes(200) + PHOTO[-200:], "damaged"),
    "bmp": (truncated("BMP"), "damaged"),
    "tiff": (truncated("TIFF"), "damaged"),
    "head": (encode(noise(64, 64, 3))[:20], "damaged"),
    "float": (encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "mode F"),
    "cmyk": (encode(Image.new("CMYK", (4, 4)), "JPEG"), "mode CMYK"),
    "pages": (encode(DOT, "TIFF", save_all=True, append_images=[DOT]), "2 pages"),
}


@pytest.mark.parametrize("case", BAD)
def test_unusable_files_give_one_line(tmp_path, case):
    data, reason = BAD[case]
    path = tmp_path / "x.png"
    path.write_bytes(data)
    with pytest.raises(UserError, match=reason) as caught:
        decode_image(path, size=4)
    assert str(path) in caught.value.problem and "\n" not in str(caught.value)
    assert caught.value.remedy and caught.value.__suppress_context__


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read \\(no such file or directory\\)"):
        decode_image(tmp_path / "x.png", size=4)


@pytest.fixture
def manifest(tmp_path):
    """Ten images, of which rows 3, 5, 6, 7, 9, 11 cannot be used."""
    bad = {1: "empty", 3: "html", 4: "png", 5: "float", 7: "pages", 9: "text"}
    lines = ["image"]
    for i in range(10):
        data = BAD[bad[i]][0] if i in bad else encode(noise(8, 6 + i, 3, seed=i))
        (tmp_path / f"{i}.png").write_bytes(data)
        lines.append(f"{i}.png")
    (tmp_path / "m.csv").write_text("\n".join(lines))
    return read_manifest(tmp_path / "m.csv")


def test_a_check_lists_the_first_five_with_reasons(manifest):
    calls = []
    with pytest.raises(UserError) as caught:
        check_images(manifest, Reading(), progress=lambda done, total: calls.append((done, total)))
    message = str(caught.value)
    assert "6 of 10 image(s) cannot be used" in message
    assert "row 3 (1.png): the file is empty (0 bytes)" in message
    assert "row 5 (3.png): the file is a web page" in message
    assert "row 9 (7.png)" in message and "row 11" not in message and "and 1 more" in message
    assert calls == [(i, 10) for i in range(1, 11)]


def test_a_check_of_good_images_returns_their_digests(manifest):
    good = manifest.select([0, 2, 6, 8])
    facts = check_images(good, Reading())
    for found in facts:
        content = (manifest.path.parent / found.image).read_bytes()
        assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert [found.image for found in facts] == good.images


def test_inspection_says_what_every_image_is(manifest):
    facts = inspect_images(manifest, Reading())
    assert [f.row for f in facts] == list(range(2, 12))
    assert (facts[0].width, facts[0].height, facts[0].mode) == (6, 8, "RGB")
    assert [bool(f.problem) for f in facts] == [i in {1, 3, 4, 5, 7, 9} for i in range(10)]
    assert facts[5].mode == "F" and facts[5].sha256
    with pytest.raises(UserError, match="the image has colour"):
        check_images(manifest.select([0]), GREY)
    assert len(check_images(manifest.select([0]), Reading(1, True))) == 1
