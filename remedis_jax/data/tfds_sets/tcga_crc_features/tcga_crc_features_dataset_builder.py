"""Tile features of the colorectal slides of TCGA, with survival, as a TFDS data set."""

import re
import zipfile
from pathlib import PurePath
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from remedis_jax.data.messages import first_few
from remedis_jax.data.tfds_sets.files import by_name, find_files, only_file
from remedis_jax.data.tfds_sets.stand_in_builder import Record, StandInBuilder
from remedis_jax.data.tfds_sets.tables import Row, by_key, read_table, rows_of
from remedis_jax.errors import UserError

EVENTS = ("censored", "event", "missing")
STUDIES = ("COAD", "READ")
_TABLES = ("TCGA-CDR-SupplementalTableS1.xlsx", "TCGA-CDR.csv")
_SHEET = "TCGA-CDR"
_TEXT = {
    "patient": "bcr_patient_barcode",
    "study": "type",
    "stage": "ajcc_pathologic_tumor_stage",
    "redaction": "Redaction",
}
_ENDPOINTS = {"os": "OS", "dss": "DSS"}
_MISSING = ("", "#N/A", "[Not Available]")
_SLIDE = re.compile(r"(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})-")


class Builder(StandInBuilder):
    """One bag of tile features for each slide; a patient may have several slides."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    1. From https://portal.gdc.cancer.gov (open access) download the diagnostic slides of TCGA-COAD
       and TCGA-READ, and make features of their tiles with TRIDENT or CLAM.
    2. From https://gdc.cancer.gov/about-data/publications/pancanatlas download
       TCGA-CDR-SupplementalTableS1.xlsx. Reading it needs openpyxl; its sheet TCGA-CDR saved as
       TCGA-CDR.csv will do as well.

      manual_dir/TCGA-CDR-SupplementalTableS1.xlsx        or TCGA-CDR.csv
      manual_dir/features/TCGA-AA-3488-01Z-00-DX1.<uuid>.h5 ...

    The .h5 files are those of <job>/20x_256px_0px_overlap/features_<encoder>/ (TRIDENT) or
    <features>/h5_files/ (CLAM): 'features' [tiles, width] and 'coords' [tiles, 2]. All are of one
    encoder. Building needs pip install 'remedis_jax[h5]'.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        endpoints: dict[str, Any] = {}
        for name in _ENDPOINTS:
            endpoints[f"{name}_event"] = tfds.features.ClassLabel(names=EVENTS)
            endpoints[f"{name}_days"] = tfds.features.Scalar(
                dtype=np.float32, doc="to the event or the end of observation; nan where missing"
            )
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    # As bytes, since nothing says here how wide the features of the encoder are.
                    "features": tfds.features.Tensor(
                        shape=(None, None), dtype=np.float32, encoding="bytes"
                    ),
                    "coords": tfds.features.Tensor(
                        shape=(None, 2), dtype=np.int32, encoding="bytes"
                    ),
                    "slide": tfds.features.Text(),
                    "site": tfds.features.Text(doc="code of the hospital, part of the barcode"),
                    **endpoints,
                    **{name: tfds.features.Text() for name in _TEXT},
                }
            ),
            homepage="https://gdc.cancer.gov/about-data/publications/pancanatlas",
            license="NIH Genomic Data Sharing policy, open access",
        )

    @staticmethod
    def records(folder: epath.Path) -> dict[str, list[Record]]:
        table = only_file(folder, _TABLES)
        patients = by_key(_read_survival(table), "bcr_patient_barcode")
        place = folder / "features"
        files = by_name(find_files(place, (".h5",)))
        records, widths, seen = [], {}, set()
        for name, path in files.items():
            slide = name.removesuffix(".h5")
            patient = _SLIDE.match(slide)
            if patient is None or patient[1] not in patients:
                raise UserError(
                    f"{path}: {slide} is no slide of a patient in {table.name}.",
                    "The files are named as the slides are, TCGA-AA-3488-01Z-00-DX1.<uuid>.h5.",
                )
            row = patients[patient[1]]
            if row["type"] not in STUDIES:
                raise UserError(
                    f"{path}: the slide is of TCGA-{row['type']}, not {' or '.join(STUDIES)}.",
                    "Move it away.",
                )
            widths[_width(path)] = path
            if len(widths) > 1:
                (one, first), (two, second) = sorted(widths.items())[:2]
                raise UserError(
                    f"{second}: features are {two} wide, and {one} in {first}.",
                    "Make all of them with one encoder.",
                )
            seen.add(patient[1])
            features = {"features": path, "slide": slide, "site": slide[5:7], **_outcome(row)}
            features.update({name: row[column] for name, column in _TEXT.items()})
            records.append((slide, features))
        _say_who_is_absent(patients, seen)
        return {"train": records}

    @staticmethod
    def example(record: Record) -> Record:
        key, features = record
        values, coords = read_bag(features["features"])
        return key, {**features, "features": values, "coords": coords}


def read_bag(path: str) -> tuple[np.ndarray, np.ndarray]:
    """The features of a slide's tiles, as TRIDENT or CLAM write them.

    Args:
        path: The .h5 file.

    Returns:
        Features float32 [tiles, width], and the place of each tile int32 [tiles, 2]: x and y in
        pixels of the slide's full resolution.

    Raises:
        UserError: It cannot be read, or is not as expected.
    """
    with _open_h5(path) as file:
        values, coords = (
            # Some versions write a leading axis of length 1.
            np.asarray(file[name])[0] if file[name].ndim == 3 else np.asarray(file[name])
            for name in ("features", "coords")
        )
    if not np.isfinite(values).all():
        raise UserError(f"{path}: 'features' has values that are not finite.", "Make it again.")
    return values.astype(np.float32), coords.astype(np.int32)


def _open_h5(path: str) -> Any:
    """The opened file, its two arrays checked by their shapes."""
    try:
        import h5py
    except ImportError:
        raise UserError(
            f"{path}: h5py, which reads it, is not installed.", "pip install 'remedis_jax[h5]'."
        ) from None
    try:
        file = h5py.File(path, "r")
    except OSError:
        raise UserError(
            f"{path}: the file is damaged or no HDF5 file.", "Make the features again."
        ) from None
    shapes = [
        # As far as it goes: a group has no shape.
        tuple(getattr(file[name], "shape", ())) if name in file else None
        for name in ("features", "coords")
    ]
    values, coords = ((s[1:] if s and len(s) == 3 and s[0] == 1 else s) for s in shapes)
    if not (
        values and coords and len(values) == len(coords) == 2
        and values[0] == coords[0] > 0 and coords[1] == 2
    ):  # fmt: skip
        file.close()
        raise UserError(
            f"{path}: 'features' is {_shown(shapes[0])} and 'coords' {_shown(shapes[1])}, not"
            " [tiles, width] and [tiles, 2].",
            "Use the files with the features, not those with coordinates alone.",
        )
    return file


def _shown(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"of shape {list(shape)}"


def _width(path: str) -> int:
    with _open_h5(path) as file:
        return file["features"].shape[-1]


def _read_survival(path: epath.Path) -> list[Row]:
    columns = (*_TEXT.values(), *_ENDPOINTS.values(), *(f"{e}.time" for e in _ENDPOINTS.values()))
    if PurePath(path).suffix == ".csv":
        return read_table(path, columns, index=True)
    import pandas as pd

    try:
        sheet = pd.read_excel(
            path, sheet_name=_SHEET, header=None, dtype=object, keep_default_na=False,
            engine="openpyxl",
        )  # fmt: skip
    except ImportError:
        raise UserError(
            f"{path}: openpyxl, which reads it, is not installed.",
            f"pip install openpyxl, or save its sheet {_SHEET} as {_TABLES[1]}.",
        ) from None
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read ({error}).", "Download it again.") from None
    # A cell that holds the error #N/A is read as nan.
    lines = [
        ["" if pd.isna(cell) else str(cell).strip() for cell in cells]
        for cells in sheet.values.tolist()
    ]
    return rows_of(path, lines[0], list(enumerate(lines[1:], start=2)), columns, index=True)


def _outcome(row: Row) -> dict[str, Any]:
    """Events and times of a patient."""
    states = {"0": "censored", "0.0": "censored", "1": "event", "1.0": "event"}
    states.update(dict.fromkeys(_MISSING, "missing"))
    found: dict[str, Any] = {}
    for name, column in _ENDPOINTS.items():
        found[f"{name}_event"] = row.choose(column, states)
        text = row[f"{column}.time"]
        try:
            days = float("nan") if text in _MISSING else float(text)
        except ValueError:
            raise row.wrong(f"'{column}.time' is {text!r}, which is no number of days.") from None
        if days < 0:
            raise row.wrong(f"'{column}.time' is {text}, which is before the diagnosis.")
        found[f"{name}_days"] = days
    return found


def _say_who_is_absent(patients: dict[str, Row], seen: set[str]) -> None:
    """Not every patient has a diagnostic slide, so that this is no error; but it is said."""
    absent = [p for p, row in patients.items() if row["type"] in STUDIES and p not in seen]
    if absent:
        logging.warning(
            "%s of %s patients of TCGA-COAD and TCGA-READ have no slide here: %s",
            f"{len(absent):,}",
            f"{len(absent) + len(seen):,}",
            first_few(absent),
        )
