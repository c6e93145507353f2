"""DICOM in: polarity, windows, tables and padding by the written rule; hostile files refused."""

import io
import sys
import warnings
import zlib

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from remedis_jax.data import decode_image, inspect_images, read_manifest
from remedis_jax.data.decode import decode_pixels, depth_of, inspect
from remedis_jax.data.reading import Reading
from remedis_jax.errors import UserError

PATIENT = "DOE^JANE"


def dataset(pixels: np.ndarray, **tags) -> Dataset:
    """A grey image of 12 bits in 16 (or 8 in 8), or RGB, of a patient; `tags` override."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = tags.pop("syntax", ExplicitVRLittleEndian)
    made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    made.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    made.PatientName, made.PatientID = PATIENT, "MRN-4711"
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    made.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    made.PlanarConfiguration = 0
    made.BitsAllocated = 8 * pixels.dtype.itemsize
    made.BitsStored = 12 if made.BitsAllocated == 16 else 8
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.PixelData = pixels.tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    return made


GREY = Reading(1)


def encode(made: Dataset) -> bytes:
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, made, enforce_file_format=True)
    return stream.getvalue()


def grey(pixels: np.ndarray, **tags) -> np.ndarray:
    return decode_pixels(encode(dataset(pixels, **tags)), GREY)[:, :, 0]


def table(first: int, bits: int, entries: list[int], vr: str = "OW") -> list[Dataset]:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.add_new("LUTData", vr, entries if vr == "US" else np.array(entries, "<u2").tobytes())
    return [item]


NOISE = np.random.default_rng(0).integers(0, 4096, (33, 41)).astype(np.uint16)


def test_without_a_window_the_range_of_the_image_is_black_to_white():
    low, high = int(NOISE.min()), int(NOISE.max())
    exact = 255 * (NOISE.astype(float) - low) / (high - low)
    expected = np.rint(np.round(exact, 6)).astype(np.uint8)
    np.testing.assert_array_equal(grey(NOISE), expected)
    assert expected.min() == 0 and expected.max() == 255
    np.testing.assert_array_equal(grey(NOISE, RescaleSlope=2, RescaleIntercept=-1024), expected)
    np.testing.assert_array_equal(grey(NOISE, RescaleSlope=-1), grey(4095 - NOISE))
    assert not grey(np.full((4, 4), 7, np.uint16)).any()
    signed = NOISE.astype(np.int16) - 2048
    np.testing.assert_array_equal(grey(signed), expected)


WINDOW = {"WindowCenter": 1200, "WindowWidth": 511, "VOILUTFunction": "LINEAR"}


@pytest.mark.parametrize(
    "tags",
    [
        {},
        WINDOW,
        WINDOW | {"VOILUTFunction": "LINEAR_EXACT", "WindowWidth": 510},
        WINDOW | {"VOILUTFunction": "SIGMOID"},
        {"PixelPaddingValue": 100},
    ],
    ids=str,
)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("window", ["file", "full", (1000.0, 700.0)], ids=str)
def test_monochrome1_and_its_inverted_twin_are_equal(tags, bits, window):
    pixels = np.where(NOISE < 400, 100, NOISE).astype(np.uint16)
    mirrored = dict(tags)
    if "WindowCenter" in tags:
        # PS3.3 C.11.2.1.2: a linear window of centre c lies around c - 1/2.
        centre = 4095 - tags["WindowCenter"] + (tags["VOILUTFunction"] == "LINEAR")
        mirrored["WindowCenter"] = centre
    if "PixelPaddingValue" in tags:
        mirrored["PixelPaddingValue"] = 4095 - tags["PixelPaddingValue"]
    stated = isinstance(window, tuple)
    made = encode(dataset(pixels, PhotometricInterpretation="MONOCHROME1", **tags))
    one = decode_pixels(made, Reading(1, bits=bits, window=window))
    window = (4096 - window[0], window[1]) if stated else window
    twin = encode(dataset(4095 - pixels, **mirrored))
    other = decode_pixels(twin, Reading(1, bits=bits, window=window))
    assert one.dtype == (np.uint8 if bits == 8 else np.uint16)
    np.testing.assert_array_equal(one, other)
    assert len(np.unique(one)) > 100
    if "PixelPaddingValue" in tags:
        assert not one[pixels == 100].any()


def test_16_bits_keep_what_8_bits_round_away():
    """The same window mathematics; 4096 levels are all told apart."""
    levels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    made = encode(dataset(levels))
    deep = decode_pixels(made, Reading(1, bits=16))[:, :, 0]
    np.testing.assert_array_equal(deep, np.rint(levels * (65535 / 4095)).astype(np.uint16))
    np.testing.assert_array_equal((deep / 257).round(), decode_pixels(made, GREY)[:, :, 0])
    assert depth_of(made) == depth_of(made[:4096]) == 16
    assert depth_of(encode(dataset(SMALL))) == 8


def test_a_dark_window_is_no_sign_of_unscaled_pixels():
    """Of a 16-bit PNG file it would be; here the file says what white is."""
    reading = Reading(1, bits=16, window=(50_000.0, 100_000.0))
    dark = decode_pixels(encode(dataset(NOISE)), reading)
    assert 0 < dark.max() < 4096


def test_a_stated_window_goes_before_that_of_the_file():
    levels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    ct = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 500, "WindowWidth": 9}
    made = encode(dataset(levels, **ct, VOILUTFunction="SIGMOID"))
    shown = decode_pixels(made, Reading(1, window=(40, 400)))[:, :, 0]
    exact = (levels - 1024.0 - 39.5) / 399 + 0.5
    assert np.abs(shown - 255 * exact.clip(0, 1)).max() <= 0.5 + 1e-6
    np.testing.assert_array_equal(
        decode_pixels(made, Reading(1, window="full"))[:, :, 0], grey(levels)
    )
    stairs = encode(dataset(levels, VOILUTSequence=table(0, 8, [0, 255], "US")))
    np.testing.assert_array_equal(
        decode_pixels(stairs, Reading(1, window="full"))[:, :, 0], grey(levels)
    )


def functional(**groups) -> Dataset:
    """One item of functional groups; each macro is a sequence of one item."""
    item = Dataset()
    for name, tags in groups.items():
        macro = Dataset()
        for tag, value in tags.items():
            setattr(macro, tag, value)
        setattr(item, name, [macro])
    return item


def enhanced() -> Dataset:
    """Three frames: a window each, but for the last; one rescaling for all, but for the first."""
    frames = np.stack([NOISE, NOISE[::-1], NOISE[:, ::-1]])
    made = dataset(NOISE, NumberOfFrames=3, WindowCenter=9, WindowWidth=2, RescaleSlope=7)
    made.PixelData = frames.tobytes()
    window = {"WindowCenter": 300, "WindowWidth": 1000}
    other = {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"}
    rescale = {"RescaleSlope": 2, "RescaleIntercept": -100}
    own = {"RescaleSlope": 1, "RescaleIntercept": 0}
    made.SharedFunctionalGroupsSequence = [
        functional(FrameVOILUTSequence=window, PixelValueTransformationSequence=rescale)
    ]
    made.PerFrameFunctionalGroupsSequence = [
        functional(FrameVOILUTSequence=other, PixelValueTransformationSequence=own),
        functional(FrameVOILUTSequence={"VOILUTSequence": table(0, 8, [0] * 3000 + [255])}),
        functional(),
    ]
    return made


def test_each_frame_has_its_own_window_or_that_of_all():
    made = encode(enhanced())
    frames = [decode_pixels(made, GREY, frame=i)[:, :, 0] for i in range(3)]
    sigmoid = {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"}
    np.testing.assert_array_equal(frames[0], grey(NOISE, **sigmoid))
    np.testing.assert_array_equal(frames[1], np.where(2.0 * NOISE[::-1] - 100 >= 3000, 255, 0))
    shared = {"WindowCenter": 300, "WindowWidth": 1000}
    rescale = {"RescaleSlope": 2, "RescaleIntercept": -100}
    np.testing.assert_array_equal(frames[2], grey(NOISE[:, ::-1], **shared, **rescale))
    assert len({frame.tobytes() for frame in frames}) == 3


def test_frames_by_policy_and_by_number():
    made = encode(enhanced())
    with pytest.raises(UserError, match="3 pages or frames.*#frame=N"):
        decode_pixels(made, GREY)
    for policy, frame in (("first", 0), ("middle", 1)):
        np.testing.assert_array_equal(
            decode_pixels(made, Reading(1, frames=policy)), decode_pixels(made, GREY, frame=frame)
        )
    with pytest.raises(UserError, match="3 image\\(s\\) and no frame 3"):
        decode_pixels(made, Reading(1, frames="first"), frame=3)
    made = enhanced()
    made.NumberOfFrames = 2**31 - 1
    with pytest.raises(UserError, match="damaged"):
        decode_pixels(encode(made), Reading(1, frames="middle"))


@pytest.mark.parametrize("value, expected", [("YES", True), ("NO", False), (None, None)])
def test_a_look_into_a_file_says_what_it_is(value, expected):
    made = dataset(NOISE, PhotometricInterpretation="MONOCHROME1")
    if value is not None:
        made.BurnedInAnnotation = value
    seen = inspect(encode(made), Reading(1))
    assert (seen.width, seen.height, seen.channels, seen.bits) == (41, 33, 1, 12)
    assert (seen.mode, seen.frames, seen.burned_in) == ("MONOCHROME1", 1, expected)
    assert not seen.problem
    np.testing.assert_array_equal(seen.pixels, decode_pixels(encode(made), GREY)[:, :, 0])


def test_a_look_into_a_file_that_is_refused_says_why():
    seen = inspect(encode(enhanced()), Reading())
    assert seen.frames == 3 and seen.pixels is None and "3 pages or frames" in seen.problem
    assert inspect(b"nothing", Reading()).problem.startswith("the file is not a JPEG")


def test_a_window_is_that_of_the_standard():
    levels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    # PS3.3 C.11.2.1.2.1 with the output from 0 to 255, after the rescaling.
    values = levels * 1.0 - 1024
    centre, width = 40.0, 400.0
    expected = ((values - (centre - 0.5)) / (width - 1) + 0.5).clip(0, 1) * 255
    made = grey(
        levels, RescaleSlope=1, RescaleIntercept=-1024,
        WindowCenter=[40, 500], WindowWidth=[400, 2000],
    )  # fmt: skip
    assert np.abs(made - expected).max() <= 0.5 + 1e-6
    flipped = grey(
        levels, RescaleSlope=-1, RescaleIntercept=0, WindowCenter=-2000, WindowWidth=1000
    )
    assert flipped.flat[0] == 255 and flipped.flat[-1] == 0


def test_tables_come_before_windows():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    stairs = [0] * 128 + [255] * 128
    np.testing.assert_array_equal(
        grey(levels, VOILUTSequence=table(0, 8, stairs, "US"), **WINDOW),
        np.array(stairs).reshape(16, 16),
    )
    # 8-bit entries of a table longer than 256.
    long = (np.arange(4096) >> 4).tolist()
    np.testing.assert_array_equal(
        grey(NOISE, VOILUTSequence=table(0, 8, long)), (NOISE >> 4).astype(np.uint8)
    )
    reversing = (4095 - np.arange(4096)).tolist()
    np.testing.assert_array_equal(
        grey(NOISE, ModalityLUTSequence=table(0, 16, reversing)),
        grey(NOISE, PhotometricInterpretation="MONOCHROME1"),
    )


def test_padding_is_black_and_not_part_of_the_range():
    pixels = (1000 + NOISE % 1000).astype(np.int16)
    padded = pixels.copy()
    padded[:, :5] = -2000
    plain = grey(pixels).copy()
    plain[:, :5] = 0
    for value in (-2000, 63536):
        made = dataset(padded, BitsStored=16, HighBit=15)
        made.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
        shown = decode_pixels(encode(made), GREY)[:, :, 0]
        assert not shown[:, :5].any()
        assert np.abs(shown.astype(int) - plain).max() <= 1  # the range lost some columns
        assert shown.max() == 255


def test_colour_is_rgb_and_grey_of_three_channels_is_repeated():
    colour = np.random.default_rng(1).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    made = encode(dataset(colour))
    np.testing.assert_array_equal(decode_pixels(made), colour)
    planar = dataset(colour, PlanarConfiguration=1)
    planar.PixelData = colour.transpose(2, 0, 1).tobytes() + b"\0"
    np.testing.assert_array_equal(decode_pixels(encode(planar)), colour)
    with pytest.raises(UserError, match="has colour and one channel"):
        decode_pixels(made, GREY)
    assert decode_image(encode(dataset(NOISE)), size=8).shape == (8, 8, 3)


def test_deep_colour_keeps_its_depth():
    deep = np.random.default_rng(1).integers(0, 65536, (9, 7, 3)).astype(np.uint16)
    made = encode(dataset(deep, BitsStored=16, HighBit=15))
    np.testing.assert_array_equal(decode_pixels(made, Reading(bits=16)), deep)
    np.testing.assert_array_equal(decode_pixels(made), (deep / 257).round())


def test_a_palette_is_looked_up_by_its_high_byte():
    made = dataset(np.array([[0, 1], [2, 9]], np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for shift, colour in enumerate(("Red", "Green", "Blue")):
        name = f"{colour}PaletteColorLookupTable"
        setattr(made, f"{name}Descriptor", [3, 0, 16])
        entries = (np.array([10, 20, 30 + shift]) << 8).astype("<u2")
        setattr(made, f"{name}Data", entries.tobytes())
    pixels = decode_pixels(encode(made))
    assert pixels[0].tolist() == [[10] * 3, [20] * 3] and pixels[1, 0].tolist() == [30, 31, 32]
    np.testing.assert_array_equal(pixels[1, 1], pixels[1, 0])


def test_every_encoding_of_one_image_gives_the_same_pixels():
    plain = decode_pixels(get_testdata_file("MR_small.dcm", read=False), GREY)[:, :, 0]
    names = ("RLE", "jp2klossless", "implicit", "bigendian", "padded")
    for name in names:
        other = get_testdata_file(f"MR_small_{name}.dcm", read=False)
        np.testing.assert_array_equal(decode_pixels(other, GREY)[:, :, 0], plain)

    def colour(name: str) -> np.ndarray:
        path = get_testdata_file(f"SC_rgb_{name}.dcm", read=False)
        return decode_pixels(path).astype(int)

    as_rgb = colour("dcmtk_+eb+cr")
    # The lossy ones have half the resolution in colour.
    worst_of = {"dcmtk_+eb+cy+n1": 80, "jpeg_lossy_gdcm": 80, "gdcm_KY": 3, "rle": 3}
    for name, worst in worst_of.items():
        difference = np.abs(colour(name) - as_rgb)
        assert difference.max() <= worst and difference.mean() < 3, name
    deflated = encode(dataset(NOISE, syntax=DeflatedExplicitVRLittleEndian))
    assert len(deflated) < NOISE.nbytes + 2000
    np.testing.assert_array_equal(decode_pixels(deflated, GREY)[:, :, 0], grey(NOISE))


def test_pydicom_stays_silent(capfd, caplog):
    padded = get_testdata_file("MR_small_padded.dcm", read=False)
    with pytest.warns(UserWarning, match="excess padding"):
        _ = pydicom.dcmread(padded).pixel_array
    caplog.clear()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        decode_pixels(padded)
    assert not heard and capfd.readouterr() == ("", "")


def test_a_manifest_may_mix_dicom_with_other_files(tmp_path):
    (tmp_path / "a.dcm").write_bytes(encode(dataset(NOISE)))
    (tmp_path / "b").write_bytes(encode(dataset(NOISE[:, :, None].repeat(3, 2).astype(np.uint8))))
    (tmp_path / "m.csv").write_text("image\na.dcm\nb\n")
    facts = inspect_images(read_manifest(tmp_path / "m.csv"), Reading())
    assert [(f.width, f.height, f.mode, f.problem) for f in facts] == [
        (41, 33, "MONOCHROME2", ""),
        (41, 33, "RGB", ""),
    ]


def raw(syntax, frame: bytes, **tags) -> bytes:
    made = dataset(np.zeros((8, 8), np.uint8), **tags)
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = encapsulate([frame])
    made["PixelData"].is_undefined_length = True
    return encode(made)


def j2k_header(side: int, components: int = 1) -> bytes:
    """The start of a codestream that claims side x side pixels."""
    size = b"".join(n.to_bytes(4, "big") for n in (side, side, 0, 0, side, side, 0, 0))
    body = b"\0\0" + size + components.to_bytes(2, "big") + b"\x07\x01\x01" * components
    length = (len(body) + 2).to_bytes(2, "big")
    return b"\xff\x4f\xff\x51" + length + body + b"\xff\x90" + bytes(20)


def deflate_bomb() -> bytes:
    plain = encode(dataset(np.zeros((8, 8), np.uint8), syntax=DeflatedExplicitVRLittleEndian))
    meta = 132 + 12 + int.from_bytes(plain[140:144], "little")
    packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    zeros = bytes(2**24)
    return plain[:meta] + b"".join(packer.compress(zeros) for _ in range(9)) + packer.flush()


def nested(depth: int) -> bytes:
    """Sequences in one another, of undefined length and never closed, before the pixels."""
    item = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    plain = encode(dataset(NOISE))
    start = 132 + 12 + int.from_bytes(plain[140:144], "little")
    return plain[:start] + item * depth + plain[start:]


SMALL = np.zeros((8, 8), np.uint8)
BAD = {
    "no pixels": (lambda: encode(dataset(SMALL, PixelData=None)), "holds no pixels"),
    "no rows": (lambda: encode(dataset(SMALL, Rows=None)), "does not state its Rows"),
    "zero rows": (lambda: encode(dataset(SMALL, Rows=0)), "8 x 0 pixels"),
    "absurd size": (lambda: encode(dataset(SMALL, Rows=65535, Columns=65535)), "too many pixels"),
    "short": (lambda: encode(dataset(SMALL, Rows=4000, Columns=4000)), "damaged"),
    "cut in pixels": (lambda: encode(dataset(NOISE))[:-1000], "damaged"),
    "cut in header": (lambda: encode(dataset(NOISE))[:300], "holds no pixels|damaged"),
    "only a preamble": (lambda: bytes(128) + b"DICM", "how it is encoded"),
    "frames": (lambda: encode(dataset(SMALL, NumberOfFrames=4, Rows=2)), "4 pages or frames"),
    "absurd frames": (lambda: encode(dataset(SMALL, NumberOfFrames=2**31 - 1)), "frames"),
    "32 bits": (lambda: encode(dataset(SMALL.astype(np.uint32))), "8 in 32 bits"),
    "12-bit colour": (
        lambda: encode(dataset(np.zeros((4, 4, 3), np.uint16))), "RGB, 3 sample.*no agreed",
    ),
    "no frame": (lambda: encode(dataset(SMALL, NumberOfFrames=-1)), "no frame"),
    "samples": (lambda: encode(dataset(SMALL, SamplesPerPixel=7)), "7 sample"),
    "kind": (
        lambda: encode(dataset(SMALL, PhotometricInterpretation=PATIENT)), "another kind",
    ),
    "window": (lambda: encode(dataset(NOISE, WindowCenter=3, WindowWidth=0)), "width 0"),
    "slope": (lambda: encode(dataset(NOISE, RescaleSlope=0)), "rescales by 0"),
    "table": (lambda: encode(dataset(NOISE, VOILUTSequence=table(0, 8, [300]))), "table"),
    "padding": (lambda: encode(dataset(SMALL, PixelPaddingValue=0)), "is padding"),
    "text number": (
        lambda: encode(dataset(NOISE, WindowCenter="3.25", WindowWidth="9")).replace(
            b"3.25", b"DOE^"
        ),
        "damaged",
    ),
    "deflate bomb": (deflate_bomb, "more than 128 MiB"),
    "nested": (lambda: nested(20_000), "damaged"),
    "j2k bomb": (lambda: raw(JPEG2000Lossless, j2k_header(9_000)), "not of the size"),
    "j2k huge": (lambda: raw(JPEG2000Lossless, j2k_header(10**6)), "not of the size"),
    "j2k components": (lambda: raw(JPEG2000Lossless, j2k_header(8, 16384)), "not of the size"),
    "j2k cut": (lambda: raw(JPEG2000Lossless, j2k_header(8)), "damaged, or"),
    "rle bomb": (lambda: raw(RLELossless, b"\x81\0" * 10**6), "not of the size"),
    "syntax": (lambda: raw(JPEGLSLossless, b"\xff\xd8\xff"), "JPEG-LS.*no installed plugin"),
    "unknown syntax": (
        lambda: encode(dataset(SMALL)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.77"),
        "unknown transfer syntax",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_hostile_files_give_one_line_without_a_tag(tmp_path, case, capfd):
    make, reason = BAD[case]
    path = tmp_path / "scan.dcm"
    path.write_bytes(make())
    with pytest.raises(UserError, match=reason) as caught:
        decode_image(path, size=4)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and caught.value.remedy
    assert not any(word in message for word in ("DOE", "JANE", "MRN", "4711", "1.2.840"))
    assert caught.value.__suppress_context__ and capfd.readouterr() == ("", "")


def test_without_pydicom_the_extra_is_named(monkeypatch):
    data = encode(dataset(NOISE))
    monkeypatch.setitem(sys.modules, "pydicom.pixels", None)
    with pytest.raises(UserError, match=r"pydicom 3 is not installed.*remedis_jax\[dicom\]"):
        decode_pixels(data, name="scan.dcm")
