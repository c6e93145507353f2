"""What a sweep runs: every arm on every point of the grid, then the chosen points on every seed."""

import dataclasses
import itertools
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from remedis_jax.data.messages import did_you_mean
from remedis_jax.errors import UserError
from remedis_jax.evaluation.metrics import check_metric
from remedis_jax.sweeps.cells import CELLS, FINAL, GRID, Cell, axis_name
from remedis_jax.training.config import load_config

KIND = "grid"
LEVELS = ("group", "image")
_TEST_KEYS = ("where", "manifest", "columns")
_FIELDS = (
    "kind", "title", "base", "overrides", "arms", "axes", "seeds", "metric", "also", "level",
    "tests", "command", "notes",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Grid:
    """A sweep as its config has it.

    Attributes:
        title: Heading of the report.
        base: `FILE.py:ARGUMENTS` of every run.
        overrides: `dotted.key=value` pairs of every run.
        arms: (name, weights to start from) pairs; differences are to the first.
        axes: (dotted key, values) pairs; every arm gets every combination.
        seeds: The first one chooses, all of them are tested.
        metric: What chooses, on validation rows, and what is reported on test rows.
        also: Further metrics to report on test rows.
        level: "group" to score patients by the mean over their images, or "image".
        tests: (name, {"where", "manifest", "columns"}) pairs.
        command: For the report's provenance.
        notes: Sentences for the report.
    """

    title: str
    base: str
    overrides: tuple[str, ...]
    arms: tuple[tuple[str, str], ...]
    axes: tuple[tuple[str, tuple[Any, ...]], ...]
    seeds: tuple[int, ...]
    metric: str
    level: str
    tests: tuple[tuple[str, Mapping[str, Any]], ...]
    command: str = ""
    notes: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: ConfigDict, overrides: Sequence[str] = ()) -> "Grid":
        """Reads a config of kind "grid".

        Args:
            config: What `get_config` of the sweep's file gave.
            overrides: Further ones for every run, such as the command line's.

        Raises:
            UserError: A field is missing, misspelt or empty, or a run's config does not work out.
        """
        unknown = sorted(set(config.keys()) - set(_FIELDS))
        if unknown:
            raise UserError(
                f"A grid has no field {unknown[0]!r}.{did_you_mean(unknown[0], _FIELDS)}",
                f"Its fields are {', '.join(_FIELDS)}.",
            )
        missing = [name for name in ("base", "arms", "axes", "seeds", "tests")
                   if not config.get(name)]  # fmt: skip
        if missing:
            raise UserError(
                f"The grid's {missing[0]!r} is empty.", _EXAMPLES[missing[0]]
            )
        grid = cls(
            title=config.get("title", "Grid"),
            base=config.base,
            overrides=(*config.get("overrides", ()), *overrides),
            arms=tuple((str(name), str(weights)) for name, weights in config.arms),
            axes=tuple((key, tuple(values)) for key, values in config.axes),
            seeds=tuple(config.seeds),
            metric=config.get("metric", "auroc"),
            level=config.get("level", "group"),
            tests=tuple((name, _plain(test)) for name, test in config.tests),
            command=config.get("command", ""),
            notes=tuple(config.get("notes", ())),
            also=tuple(config.get("also", ())),
        )
        grid.check()
        return grid

    def check(self) -> None:
        """Raises UserError for what no run could work with; reads every cell's config."""
        for metric in (self.metric, *self.also):
            check_metric(metric)
        if self.level not in LEVELS:
            raise UserError(
                f"The grid's level {self.level!r} is unknown.", f"Use {' or '.join(LEVELS)}."
            )
        for name, test in self.tests:
            wrong = [key for key in test if key not in _TEST_KEYS]
            if wrong:
                raise UserError(
                    f"Test set {name!r} of the grid has no field {wrong[0]!r}.",
                    f"It has {', '.join(_TEST_KEYS)}.",
                )
        for what, names in (
            ("arm", [name for name, _ in self.arms]),
            ("axis", [key for key, _ in self.axes]),
            ("seed", list(self.seeds)),
            ("test set", [name for name, _ in self.tests]),
            ("cell", [cell.name for cell in self.cells()]),
        ):
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise UserError(
                    f"The grid has the {what} {twice[0]!r} twice.", "Give each another name."
                )
        for cell in self.cells():
            config = load_config(cell.config, cell.overrides)
            if config.stage != "supervised" or not config.data.validation:
                raise UserError(
                    f"{self.base} has no validation rows to choose by.",
                    "Use a config of experiments/finetune/, and name them in data.validation.",
                )

    def points(self) -> list[tuple[tuple[str, Any], ...]]:
        """Every combination of the axes' values, the last axis fastest."""
        keys = [key for key, _ in self.axes]
        return [
            tuple(zip(keys, values, strict=True))
            for values in itertools.product(*(values for _, values in self.axes))
        ]

    def cells(self) -> list[Cell]:
        """The grid itself: every arm on every point, with the first seed."""
        return [
            self.cell(GRID, arm, point, self.seeds[0])
            for arm, _ in self.arms
            for point in self.points()
        ]

    def final_cells(self, chosen: Mapping[str, Sequence[tuple[str, Any]]]) -> list[Cell]:
        """The chosen point of every arm with every seed."""
        return [
            self.cell(FINAL, arm, tuple(chosen[arm]), seed)
            for arm, _ in self.arms
            for seed in self.seeds
        ]

    def cell(self, phase: str, arm: str, point: Sequence[tuple[str, Any]], seed: int) -> Cell:
        """One cell; its name says all in which cells of a phase differ."""
        weights = dict(self.arms)[arm]
        name = "_".join(
            [_safe(arm), *(f"{axis_name(key)}={_safe(_text(value))}" for key, value in point),
             f"seed={seed}"]
        )  # fmt: skip
        # The seed that chose is trained already.
        of_run = GRID if seed == self.seeds[0] else phase
        run = f"{CELLS}/{of_run}/{name}/run"
        overrides = (
            *self.overrides,
            f"init={weights}",
            *(f"{key}={_text(value)}" for key, value in point),
            f"seed={seed}",
            f"data.fraction_seed={seed}",
        )
        parts = ["remedis", "train", "--config", self.base, "--workdir", run]
        parts += [part for override in overrides for part in ("--set", override)]
        return Cell(
            name=f"{CELLS}/{phase}/{name}",
            phase=phase,
            arm=arm,
            seed=seed,
            axes=tuple(point),
            config=self.base,
            overrides=overrides,
            run=run,
            metric=self.metric,
            tests=self.tests if phase == FINAL else (),
            command=shlex.join(parts),
        )


_EXAMPLES = {
    "base": "Name the config of the runs, e.g. experiments/finetune/t1.py:model=r50x1.",
    "arms": 'Name the weights to start from, e.g. arms="imagenet=bit-m-r50x1;simclr=runs/ssl".',
    "axes": 'Give what to try, e.g. (("optimizer.learning_rate", (0.001, 0.01)),).',
    "seeds": "Give one seed or more, e.g. (0, 1, 2).",
    "tests": 'Give the rows to test on, e.g. (("test", {"where": {"split": "test"}}),).',
}


def is_grid(config: ConfigDict) -> bool:
    """Whether a config is a grid, and not a data-efficiency experiment."""
    return config.get("kind", "") == KIND


def _text(value: Any) -> str:
    """A value as an override reads it."""
    return value if isinstance(value, str) else repr(value)


def _safe(text: str) -> str:
    """Text as a part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9.+=-]", "-", text)


def _plain(test: Any) -> dict[str, Any]:
    return test.to_dict() if isinstance(test, ConfigDict) else dict(test)


