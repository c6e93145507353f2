"""Every DICOM file with pixels that pydicom and pydicom-data ship: it loads or is refused."""

import re
from pathlib import Path

import data_store
import numpy as np
import pydicom
import pytest

from remedis_jax.data.decode import decode_pixels, depth_of
from remedis_jax.data.reading import Reading
from remedis_jax.errors import UserError

FOLDERS = (
    Path(pydicom.__file__).parent / "data/test_files",
    Path(data_store.__file__).parent / "data",
)
# Grey, since what is read is kept for all tests.
MIDDLE = Reading(1, to_grey=True, bits=16, frames="middle")
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

LOSSLESS = "JPEG Lossless.*no installed plugin"
JPEG_LS = "JPEG-LS.*no installed plugin"
EXTENDED = "JPEG Extended.*no installed plugin"
DEEPER = r"of 32 in 32 bits\) have no agreed reading"
SEGMENTED = "palette is segmented"
DAMAGED = r"damaged \(ValueError\)"
REFUSED = {
    # No plugin that the extra `dicom` installs reads these encodings.
    "JPEG-LL.dcm": LOSSLESS,
    "JPGLosslessP14SV1_1s_1f_8b.dcm": LOSSLESS,
    "SC_rgb_jpeg_gdcm.dcm": LOSSLESS,
    "bad_sequence.dcm": LOSSLESS,
    "JPEG-lossy.dcm": EXTENDED,
    "JPGExtended.dcm": EXTENDED,
    "JPEGLSNearLossless_08.dcm": JPEG_LS,
    "JPEGLSNearLossless_16.dcm": JPEG_LS,
    "MR_small_jpeg_ls_lossless.dcm": JPEG_LS,
    "SC_rgb_jls_lossy_line.dcm": JPEG_LS,
    "SC_rgb_jls_lossy_sample.dcm": JPEG_LS,
    "emri_small_jpeg_ls_lossless.dcm": JPEG_LS,
    # A JP2 file where a bare stream belongs.
    "GDCMJ2K_TextGBR.dcm": "JPEG 2000.*are damaged",
    # Its stream gives a size that the file does not.
    "JPEG2000-embedded-sequence-delimiter.dcm": "not of the size",
    # More than 16 bits.
    **{
        f"{kind}_32bit{frames}.dcm": DEEPER
        for kind in ("SC_rgb", "SC_rgb_expb", "SC_rgb_rle")
        for frames in ("", "_2frame")
    },
    **{
        f"rtdose{encoding}{frames}.dcm": DEEPER
        for encoding in ("", "_expb", "_rle")
        for frames in ("", "_1frame")
    },
    # Palettes in segments.
    "gdcm-US-ALOKA-16.dcm": SEGMENTED,
    "gdcm-US-ALOKA-16_big.dcm": SEGMENTED,
    # Made to be wrong.
    "MR_truncated.dcm": DAMAGED,
    "badVR.dcm": DAMAGED,
    "meta_missing_tsyntax.dcm": "no transfer syntax",
    "nested_priv_SQ.dcm": "does not state its Rows",
}
# All their pixels are beyond the window that they name.
SATURATED = ("CT2/17166", "CT2/17196")


@pytest.fixture(scope="module")
def read() -> dict[str, tuple[Path, np.ndarray | UserError]]:
    """By name, what comes of every DICOM file, whether it has pixels or not."""
    results = {}
    for path in sorted(p for folder in FOLDERS for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        if data[128:132] == b"DICM":
            try:
                results[path.name] = path, decode_pixels(data, MIDDLE, name="scan.dcm")
            except UserError as error:
                results[path.name] = path, error
    return results


@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
def test_every_shipped_file_with_pixels_loads_or_is_refused_for_its_reason(read):
    """One test for all of them: they are read once, which takes seconds."""
    wrong, refused, loaded = [], set(), 0
    for name, (path, result) in read.items():
        if isinstance(result, np.ndarray):
            loaded += 1
            saturated = path.as_posix().endswith(SATURATED)
            if result.dtype != np.uint16 or (result.min() == result.max()) != saturated:
                wrong.append(f"{name}: {result.dtype}, {result.min()} to {result.max()}")
            continue
        message = str(result)
        if "\n" in message or not message.startswith("scan.dcm: ") or not result.remedy:
            wrong.append(f"{name}: {message}")
        if "holds no pixels" in message and name not in REFUSED:
            if any(tag in pydicom.dcmread(path) for tag in PIXELS):
                wrong.append(f"{name}: {message}")
            continue
        refused.add(name)
        if not re.search(REFUSED.get(name, "$^"), message):
            wrong.append(f"{name}: {message}")
    assert not wrong, "\n".join(wrong)
    assert refused == set(REFUSED), refused ^ set(REFUSED)
    assert loaded == 129


@pytest.mark.parametrize("name", ["17166", "17196"])
def test_those_that_are_all_white_are_so_by_their_window(read, name):
    assert (read[name][1] == 65535).all()
    whole = decode_pixels(read[name][0].read_bytes(), Reading(window="full"))
    assert whole.min() == 0 and whole.max() == 255


TWINS = {
    "MR2_J2KR.dcm": "MR2_UNCR.dcm",
    "MR2_J2KI.dcm": "MR2_UNCI.dcm",
    "RG1_J2KR.dcm": "RG1_UNCR.dcm",
    "RG3_J2KR.dcm": "RG3_UNCR.dcm",
    "US1_J2KR.dcm": "US1_UNCR.dcm",
    "693_J2KR.dcm": "693_UNCR.dcm",
    "emri_small_RLE.dcm": "emri_small.dcm",
    "emri_small_big_endian.dcm": "emri_small.dcm",
    "emri_small_jpeg_2k_lossless.dcm": "emri_small.dcm",
    "SC_rgb_expb_16bit.dcm": "SC_rgb_16bit.dcm",
    "SC_rgb_rle_16bit_2frame.dcm": "SC_rgb_16bit_2frame.dcm",
    "OBXXXX1A_rle_2frame.dcm": "OBXXXX1A_2frame.dcm",
    "liver_expb_1frame.dcm": "liver_1frame.dcm",
    "color-pl.dcm": "color-px.dcm",
}


@pytest.mark.parametrize("name", TWINS)
def test_one_image_in_two_encodings_gives_equal_arrays(read, name):
    np.testing.assert_array_equal(read[name][1], read[TWINS[name]][1])


@pytest.mark.parametrize(
    "name, frames", [("emri_small.dcm", 10), ("color3d_jpeg_baseline.dcm", 120), ("liver.dcm", 3)]
)
def test_frames_are_those_of_pydicom(name, frames):
    path = next(p for folder in FOLDERS for p in folder.glob(name))
    data = path.read_bytes()
    chosen = {
        0: decode_pixels(data, Reading(frames="first")),
        frames // 2: decode_pixels(data, Reading(frames="middle")),
        frames - 1: decode_pixels(data, frame=frames - 1),
    }
    for frame, got in chosen.items():
        stored = pydicom.pixels.pixel_array(path, index=frame)
        if stored.ndim == 3:
            np.testing.assert_array_equal(got, stored)
        else:  # A window keeps the order of the values.
            order = np.argsort(stored, axis=None, kind="stable")
            assert (np.diff(got[:, :, 0].ravel()[order].astype(int)) >= 0).all()
    with pytest.raises(UserError, match=f"holds {frames} pages or frames"):
        decode_pixels(data)


def test_the_depth_of_a_file_is_known_from_its_beginning(read):
    """By as much of it as `data.depth` reads; two files of 8 bits have a longer header."""
    wrong = []
    for name, (path, result) in read.items():
        if isinstance(result, np.ndarray):
            header = pydicom.dcmread(path, specific_tags=["BitsStored"], stop_before_pixels=True)
            if depth_of(path.read_bytes()[:16384]) != (16 if header.BitsStored > 8 else 8):
                wrong.append(name)
    assert wrong == ["color3d_jpeg_baseline.dcm", "examples_ybr_color.dcm"]
