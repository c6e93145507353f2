"""How well a model does in parts of the patients: age bands, sex, site, skin type, any column.

A number of few events says little and looks like much, so groups with fewer than `MINIMUM` events
or non-events have none. Images of which a characteristic is unknown are a group of their own. All
patients are drawn together, so a group and the rest are judged on the same resample, and their gap
is a paired one even where a patient has images in both.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from remedis_jax.evaluation.binary_problems import binary_problems
from remedis_jax.evaluation.bootstrap import RESAMPLES, Interval, percentile_interval
from remedis_jax.evaluation.drawn_runs import (
    Statistic,
    aligned,
    draw_means,
)
from remedis_jax.evaluation.metrics import parts, value_of
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.predictions import Predictions
from remedis_jax.evaluation.resampled import resampler

MINIMUM = 10  # events, and images without the event, of a group that is scored; ours
_ONE_PATIENT = "one patient only, so there is no interval"


@dataclasses.dataclass(frozen=True, eq=False)
class Subgroup:
    """One group of images.

    Attributes:
        name: Of the group.
        images: How many there are.
        patients: How many patients they are of.
        events: Images with the event; of several classes or findings, of the rarest that is scored
            (of all of them if none is); of survival, events at any time.
        scored: Of several classes or findings, those with enough events; they make the mean.
        values: Metric -> mean over the runs and its interval; or why there is none.
        gap: The first metric minus that of all other images, over what is scored in both.
    """

    name: str
    images: int
    patients: int
    events: int
    scored: tuple[str, ...]
    values: dict[str, Interval | NotDefined]
    gap: Interval | NotDefined


def subgroups(
    runs: Sequence[Predictions],
    groups: pd.Series,
    metrics: Sequence[str],
    *,
    minimum: int = MINIMUM,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Subgroup]:
    """Scores every group of images.

    Args:
        runs: One per seed, on the same images, at their operating points.
        groups: Name of the group of each image, indexed by image; see `characteristics.banded`.
        metrics: The first one is that of the gaps; as in `metrics.score`.
        minimum: Events, and images without, that a group must have; at least 1.
        resamples: Of patients and runs.
        seed: Of the resamples.

    Returns:
        The groups in the order of the categories of `groups`, or of the alphabet.
    """
    runs = aligned(runs)
    of_image = groups.reindex(runs[0].images)
    if isinstance(of_image.dtype, pd.CategoricalDtype):
        names = [name for name in of_image.cat.categories if (of_image == name).any()]
    else:
        names = sorted(set(of_image.dropna()))
    parts_of = [_Group.of(name, (of_image == name).to_numpy(), runs, minimum) for name in names]
    patients = np.unique(runs[0].groups)
    wanted = [(group, column) for group in parts_of for column in group.columns(metrics)]
    draws = np.zeros((resamples, 0))
    if wanted and len(patients) > 1:
        # One pass for all groups, so that the patients are drawn once.
        statistics = [_statistic(wanted, run, patients) for run in range(len(runs))]
        images = len(runs[0].images)
        draws = draw_means(statistics, len(patients), images, resamples, seed)
    intervals = {
        (group.name, column): percentile_interval(group.value(column), draws[:, place])
        if len(patients) > 1
        else NotDefined(f"{_ONE_PATIENT}; the value is {group.value(column):.3f}")
        for place, (group, column) in enumerate(wanted)
    }
    return [group.judged(metrics, intervals) for group in parts_of]


def support(predictions: Predictions) -> dict[str | None, tuple[int, int]]:
    """What can be scored by itself -> (events, images without): of each class or finding; None of
    two classes, and of survival, where those without are all the others.
    """
    if predictions.kind == "survival":
        events = int(predictions.y[:, 1].sum())
        return {None: (events, len(predictions.y) - events)}
    return {
        problem.name: (int(problem.y.sum()), int(len(problem.y) - problem.y.sum()))
        for problem in binary_problems(predictions)
    }


def _enough(predictions: Predictions, minimum: int) -> list[str | None]:
    """What has enough events and non-events; of survival, those censored may be few."""
    least = 0 if predictions.kind == "survival" else minimum
    return [part for part, (events, others) in support(predictions).items()
            if events >= minimum and others >= least]  # fmt: skip


def _entries(
    predictions: Predictions, metric: str, chosen: Sequence[str | None]
) -> tuple[str, ...]:
    """What is averaged: the metric of every chosen class or finding, or the metric itself."""
    if not parts(predictions, metric):
        return (metric,)
    return tuple(f"{metric}/{part}" for part in chosen)


_GAP = "gap: "  # and the metric
_SIGNS = (1, -1)  # of a gap's two terms


@dataclasses.dataclass(frozen=True, eq=False)
class _Group:
    """A group's images and all others, per run, and what of them can be scored."""

    name: str
    inside: tuple[Predictions, ...]
    outside: tuple[Predictions, ...]
    enough: tuple[str | None, ...]
    shared: tuple[str | None, ...]
    minimum: int
    known: dict[tuple[int, int, str], float | NotDefined] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls, name: str, mask: np.ndarray, runs: Sequence[Predictions], minimum: int
    ) -> "_Group":
        inside, outside = (tuple(run.select(rows) for run in runs) for rows in (mask, ~mask))
        enough = _enough(inside[0], minimum)
        others = _enough(outside[0], minimum)
        shared = tuple(part for part in enough if part in others)
        return cls(name, inside, outside, tuple(enough), shared, minimum)

    def columns(self, metrics: Sequence[str]) -> list[str]:
        """Metrics and the gap, as far as they have a value; others have a reason, `refusal`."""
        wanted = [*metrics, _GAP + metrics[0]]
        return [column for column in wanted if self.refusal(column) is None]

    def refusal(self, column: str) -> NotDefined | None:
        """Why there is no such number."""
        gap = column.startswith(_GAP)
        if not self.enough:
            return self._too_few()
        if gap and not len(self.outside[0].images):
            return NotDefined("there are no other images")
        if gap and not self.shared:
            return NotDefined(f"the others have fewer than {self.minimum} events or images without")
        for value in itertools.chain(*self._values(column)):
            if isinstance(value, NotDefined):
                return value
        return None

    def terms(self, column: str) -> list[tuple[Sequence[Predictions], tuple[str, ...]]]:
        """(runs, entries): the mean over the entries, the first minus the second if there is one.
        """
        first = self.inside[0]
        if not column.startswith(_GAP):
            return [(self.inside, _entries(first, column, self.enough))]
        entries = _entries(first, column.removeprefix(_GAP), self.shared)
        return [(self.inside, entries), (self.outside, entries)]

    def value(self, column: str) -> float:
        means = [float(np.mean(values)) for values in self._values(column)]
        return means[0] - sum(means[1:])

    def _values(self, column: str) -> list[list[float | NotDefined]]:
        """Of each term, by run and entry; computed once."""
        found = []
        for sign, (runs, entries) in zip(_SIGNS, self.terms(column), strict=False):
            for run, entry in itertools.product(range(len(runs)), entries):
                if (key := (sign, run, entry)) not in self.known:
                    self.known[key] = value_of(runs[run], entry)
            keys = itertools.product([sign], range(len(runs)), entries)
            found.append([self.known[key] for key in keys])
        return found

    def judged(
        self,
        metrics: Sequence[str],
        intervals: Mapping[tuple[str, str], Interval | NotDefined],
    ) -> Subgroup:
        def found(column: str) -> Interval | NotDefined:
            return self.refusal(column) or intervals[self.name, column]

        counts = support(self.inside[0])
        return Subgroup(
            name=self.name,
            images=len(self.inside[0].images),
            patients=len(np.unique(self.inside[0].groups)),
            events=min(counts[part][0] for part in self.enough or counts),
            scored=tuple(part for part in self.enough if part is not None),
            values={metric: found(metric) for metric in metrics},
            gap=found(_GAP + metrics[0]),
        )

    def _too_few(self) -> NotDefined:
        counts = support(self.inside[0])
        if len(counts) > 1:
            return NotDefined(f"fewer than {self.minimum} events or images without, of every class")
        ((events, others),) = counts.values()
        if events < self.minimum:
            return NotDefined(f"fewer than {self.minimum} events, here {events:,}")
        return NotDefined(f"fewer than {self.minimum} images without the event, here {others:,}")


def _statistic(
    wanted: Sequence[tuple[_Group, str]], run: int, patients: np.ndarray
) -> Statistic:
    """All columns of one run, float64 [R, columns]; what several of them need is computed once."""
    columns = []
    prepared: dict[tuple, tuple[Statistic, np.ndarray]] = {}
    for group, column in wanted:
        signed = []
        for sign, (runs, entries) in zip(_SIGNS, group.terms(column), strict=False):
            for entry in entries:
                key = (group.name, sign, entry)
                if key not in prepared:
                    own = np.searchsorted(patients, np.unique(runs[run].groups))
                    prepared[key] = resampler(runs[run], entry), own
                signed.append((sign / len(entries), key))
        columns.append(signed)

    def values(counts: np.ndarray) -> np.ndarray:
        found = {key: of(counts[:, own]) for key, (of, own) in prepared.items()}
        return np.stack(
            [sum(share * found[key] for share, key in signed) for signed in columns], axis=1
        )

    return values
