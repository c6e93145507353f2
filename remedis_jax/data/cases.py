"""Cases: which images belong together, as one patient's photographs or the views of a breast."""

import dataclasses
import functools
import hashlib

import numpy as np
from ml_collections import ConfigDict

from remedis_jax.data.manifest import Manifest
from remedis_jax.data.messages import did_you_mean, first_few
from remedis_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Cases:
    """M cases of N images.

    Attributes:
        names: str [M], sorted.
        of_image: int64 [N] in [0, M), the case of each image.
        places: Images of a case that a training example has room for.
        views: int64 [N] in [0, places), the place of each image; None where images of a case have
            no places of their own.
    """

    names: np.ndarray
    of_image: np.ndarray
    places: int
    views: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    @functools.cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.of_image, kind="stable")
        return order, np.searchsorted(self.of_image[order], np.arange(len(self) + 1))

    def members(self, case: int) -> np.ndarray:
        """Positions of a case's images, int64, in the order of the manifest."""
        order, starts = self._sorted
        return order[starts[case] : starts[case + 1]]

    @functools.cached_property
    def first_image(self) -> np.ndarray:
        """int64 [M], the first image of each case."""
        order, starts = self._sorted
        return order[starts[:-1]]

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """int64 [M], images of each case."""
        return np.bincount(self.of_image, minlength=len(self))

    @functools.cached_property
    def digest(self) -> str:
        """Changes when an image belongs elsewhere."""
        content = hashlib.sha256("\0".join(self.names).encode())
        for part in (self.of_image, self.views):
            content.update(b"-" if part is None else part.astype("<i8").tobytes())
        content.update(str(self.places).encode())
        return content.hexdigest()


def case_names(data: ConfigDict, manifest: Manifest) -> list[str]:
    """The case of every row: the column `data.case`, or that of the group.

    Raises:
        UserError: Neither is named, or a cell is empty.
    """
    column = data.case or data.group
    if not column:
        raise UserError(
            "Cases of several images need a column that names them.",
            "Set data.case (or data.group) to the column that does.",
        )
    cases = [str(case) for case in manifest.column(column)]
    empty = [
        str(row) for row, case in zip(manifest.rows, cases, strict=True) if not case.strip()
    ]
    manifest.refuse(empty, f"column {column!r} is empty in", "Name the case of every image.")
    return cases


def cases_of(data: ConfigDict, manifest: Manifest) -> Cases | None:
    """The cases of a config's rows; None where every image is an example by itself.

    Raises:
        UserError: A row names no case or no known view, a case is in two groups, or the settings
            do not fit one another.
    """
    if not data.case_images:
        if data.view or data.views:
            raise UserError(
                "data.view is set and data.case_images is 0, so images are no part of a case.",
                "Set data.case_images to the number of views, or leave data.view out.",
            )
        return None
    names, of_image = np.unique(np.array(case_names(data, manifest), str), return_inverse=True)
    views = _views_of(data, manifest)
    cases = Cases(names, of_image.astype(np.int64), data.case_images, views)
    _refuse_divided(data, manifest, cases)
    return cases


def _views_of(data: ConfigDict, manifest: Manifest) -> np.ndarray | None:
    if bool(data.view) != bool(data.views):
        raise UserError(
            "data.view and data.views go together.",
            "Name the column of the views and its values in order, e.g. data.views=('CC','MLO').",
        )
    if not data.view:
        return None
    if data.case_images != len(data.views):
        raise UserError(
            f"data.case_images is {data.case_images} and there are {len(data.views)} views.",
            "A case has a place for each view: set it to their number.",
        )
    cells = [str(cell).strip() for cell in manifest.column(data.view)]
    place = {name: number for number, name in enumerate(data.views)}
    unknown = [
        f"{row} ({cell!r})"
        for row, cell in zip(manifest.rows, cells, strict=True)
        if cell not in place
    ]
    if unknown:
        near = did_you_mean(next(cell for cell in cells if cell not in place), list(place))
        manifest.refuse(
            unknown,
            f"column {data.view!r} names none of the views {', '.join(place)} in",
            f"Correct the cells or data.views.{near}",
        )
    return np.array([place[cell] for cell in cells], np.int64)


def _refuse_divided(data: ConfigDict, manifest: Manifest, cases: Cases) -> None:
    """Refuses a case whose images belong to two groups: it could stand on both sides of a split."""
    if not data.group:
        return
    groups = manifest.groups
    first = groups[cases.first_image]
    divided = np.unique(cases.of_image[groups != first[cases.of_image]])
    if len(divided):
        raise UserError(
            f"{manifest.path}: {len(divided):,} case(s) have images of several groups"
            f" ({data.group}): {first_few(list(cases.names[divided]))}.",
            "Give all images of a case the same group.",
        )


def require_one_label(labels: np.ndarray, cases: Cases, manifest: Manifest) -> None:
    """Refuses cases whose images are labelled differently.

    Args:
        labels: [N, ...] of the images, as `data.labels.encode_labels` gives them.
        cases: Of the same images.
        manifest: Their rows.

    Raises:
        UserError: There are such cases; they are counted and named.
    """
    first = labels[cases.first_image][cases.of_image]
    same = (labels == first) | (np.isnan(labels) & np.isnan(first))
    differing = np.unique(cases.of_image[~same.reshape(len(labels), -1).all(axis=1)])
    if len(differing):
        raise UserError(
            f"{manifest.path}: the images of {len(differing):,} case(s) have different labels:"
            f" {first_few(list(cases.names[differing]))}.",
            "Give all images of a case its label, or set data.case_images=0 to learn by image.",
        )
