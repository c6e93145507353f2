"""Encoders that others trained, in the data-efficiency protocol: their features, probed.

1. C of the linear probe and k of the neighbours are chosen for each encoder on validation patients
   of the first site, or by cross-validation by patient within its training rows.
2. Probes on all training rows of the first site are tested there and, as they are, at the new site.
3. Probes on a few images of each class ('shots') are tested likewise; nothing is chosen for them.
4. Where there is a new site: probes on the training rows of the first site and nested shares of
   those of the new one. Where there is none: on nested shares of the training rows.

Test rows choose nothing.
"""

import dataclasses
import json
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from remedis_jax.data.labels import hard_labels
from remedis_jax.errors import UserError
from remedis_jax.evaluation.metrics import LOWER_IS_BETTER, NotDefined, score
from remedis_jax.evaluation.predictions import (
    Predictions,
    predictions_table,
    read_predictions,
    write_predictions,
)
from remedis_jax.evaluation.probe import (
    FEW_SHOT,
    LINEAR,
    NAMES,
    NotConverged,
    choose_setting,
    probabilities,
)
from remedis_jax.evaluation.probe_data import (
    TEST,
    TRAINING,
    VALIDATION,
    ProbeData,
    part_name,
)
from remedis_jax.evaluation.probe_draws import possible_shares, share_of, shots_of
from remedis_jax.evaluation.probe_protocol import (
    FRACTIONS,
    FULL,
    PROBES,
    SHARE,
    SHOTS,
    Fit,
    Protocol,
)

FOLDER = "fits"
TIES = "log_loss"  # of settings that the metric does not tell apart; a ranking often does not


class Probing:
    """Runs a protocol; see the module. `run` leaves the fits in `fits`."""

    def __init__(
        self,
        data: ProbeData,
        protocol: Protocol,
        out: Path,
        announce: Callable[[str], None],
        progress: Callable[[int, int], None] | None = None,
    ):
        self.data, self.protocol, self.out = data, protocol, out
        self.announce, self.progress = announce, progress or (lambda done, total: None)
        self.encoders = tuple(data.features)
        self.settings: dict[tuple[str, str], float] = {}
        self.fits: list[Fit] = []
        self.notes: list[str] = []
        self.fractions, note = self._fractions()
        self.notes += [note] if note else []
        self._kept: dict[tuple, np.ndarray] = {}
        self._seconds = 0.0  # of the fit before
        self._done = 0

    def run(self) -> None:
        """Does everything and writes predictions and `probes.jsonl`."""
        protocol, first = self.protocol, self.protocol.id_site
        tests = [part_name(site, TEST) for site in protocol.sites or ("",)]
        training = self.data.rows(part_name(first, TRAINING))
        validation = self.data.rows(part_name(first, VALIDATION))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", NotConverged)
            for encoder in self.encoders:
                for probe in PROBES:
                    self._choose(encoder, probe, training, validation)
                    self.announce(
                        f"{encoder}, {NAMES[probe]}: {self._setting_text(encoder, probe)}"
                    )
            for encoder in self.encoders:
                for probe in PROBES:
                    self._fit(encoder, probe, FULL, 1.0, protocol.seeds[0], training, tests)
                    for shots in protocol.shots:
                        for seed in protocol.seeds:
                            self._fit(encoder, probe, SHOTS, shots, seed, training, tests)
                for fraction in self.fractions:
                    for seed in protocol.seeds:
                        self._share(encoder, fraction, seed, training)
        self.notes += sorted({str(w.message) for w in caught if w.category is NotConverged})
        lines = "".join(json.dumps(dataclasses.asdict(fit)) + "\n" for fit in self.fits)
        (self.out / "probes.jsonl").write_text(lines, encoding="utf-8")

    def full_predictions(self) -> tuple[list[Path], list[Path]]:
        """Those of the chosen probe on all labels: a file for each encoder, and of validation."""
        tests, validation = [], []
        for fit in self.fits:
            if fit.probe == self.protocol.probe and fit.trained_on == FULL:
                folder = self.out / "predictions"
                tests.append(self._copy(fit.predictions, folder / f"{fit.encoder}.csv"))
                if fit.validation:
                    path = folder / "validation" / f"{fit.encoder}.csv"
                    validation.append(self._copy(fit.validation, path))
        return tests, validation

    def _copy(self, name: str, path: Path) -> Path:
        write_predictions(path, read_predictions(self.out / name))
        return path

    def _fractions(self) -> tuple[tuple[float, ...], str]:
        protocol, data = self.protocol, self.data
        if protocol.fractions is not None or not protocol.ood_site:
            return tuple(sorted(set(protocol.fractions or ()))), ""
        parts = [data.labelled(part_name(protocol.ood_site, r)) for r in (TRAINING, VALIDATION)]
        return possible_shares(
            data.manifest, data.labels, data.spec, [rows for rows in parts if len(rows)],
            FRACTIONS, protocol.seeds,
        )  # fmt: skip

    def _choose(
        self, encoder: str, probe: str, training: np.ndarray, validation: np.ndarray
    ) -> None:
        x = self.data.features[encoder]
        judged = validation if len(validation) else training

        def judge(rows: np.ndarray, p: np.ndarray) -> tuple[float, ...]:
            predictions, names = self.predictions(judged[rows], p), (self.protocol.metric, TIES)
            values = score(predictions, self.protocol.level, names)
            for name in names:
                if isinstance(values[name], NotDefined):
                    raise UserError(
                        f"{name} on the rows that choose {encoder}'s {NAMES[probe]} is not"
                        f" defined: {values[name].reason}.",
                        "Enlarge the validation rows, or leave them out of the split.",
                    )
            return tuple(
                -values[name] if name in LOWER_IS_BETTER else values[name] for name in names
            )

        held_out = (x[validation], np.arange(len(validation))) if len(validation) else None
        self.settings[encoder, probe], _ = choose_setting(
            probe, x[training], self.data.labels[training], self.data.manifest.groups[training],
            len(self.data.spec.classes), judge, held_out,
        )  # fmt: skip

    def _setting_text(self, encoder: str, probe: str) -> str:
        return f"{'C' if probe == LINEAR else 'k'} = {self.settings[encoder, probe]:g}"

    def _fit(
        self,
        encoder: str,
        probe: str,
        trained_on: str,
        amount: float,
        seed: int,
        training: np.ndarray,
        tests: Sequence[str],
    ) -> None:
        """A probe on the first site's rows, or a few of them, on every test set."""
        data = self.data
        rows, labels = training, data.labels[training]
        setting = self.settings[encoder, probe]
        if trained_on == SHOTS:
            rows, labels = shots_of(
                data.manifest, data.labels, data.spec, training, int(amount), seed
            )
            setting = FEW_SHOT[probe]
        validation = part_name(self.protocol.id_site, VALIDATION)
        names = [*tests, *([validation] if len(data.rows(validation)) else [])]
        found = self._predict(encoder, probe, setting, rows, labels, [data.rows(n) for n in names])
        folder = Path(FOLDER) / encoder / probe / f"{trained_on}_{amount:g}" / f"seed{seed}"
        files = dict(zip(tests, ("test.csv", "new_site_test.csv"), strict=False))
        files[validation] = "validation.csv"
        paths = {
            name: self._write(folder / files[name], data.rows(name), p)
            for name, p in zip(names, found, strict=True)
        }
        for name in tests:
            self._note(encoder, probe, trained_on, amount, seed, name, paths[name],
                       paths.get(validation), setting, rows)  # fmt: skip
        self._report_progress()

    def _share(self, encoder: str, fraction: float, seed: int, training: np.ndarray) -> None:
        """A probe on a share of the new site's labels, or of the only site's."""
        protocol, data = self.protocol, self.data
        site = protocol.ood_site or protocol.id_site
        draw = (data.manifest, data.labels, data.spec)
        drawn = share_of(*draw, data.labelled(part_name(site, TRAINING)), fraction, seed)
        drawn = drawn[data.usable[drawn]]  # Last, so that what is missing draws nobody else.
        together = bool(protocol.ood_site) and not protocol.new_site_only
        rows = np.concatenate([training, drawn]) if together else drawn
        chooses = data.labelled(part_name(site, VALIDATION))
        if len(chooses) and protocol.ood_site:
            # Labels of the new site that choose cost as much as those that train.
            chooses = share_of(*draw, chooses, fraction, seed)
        elif not len(chooses):
            chooses = data.rows(part_name(protocol.id_site, VALIDATION))
        chooses = chooses[data.usable[chooses]]
        test = part_name(site, TEST)
        queries = [data.rows(test), *([chooses] if len(chooses) else [])]
        probe, setting = protocol.probe, self.settings[encoder, protocol.probe]
        found = self._predict(encoder, probe, setting, rows, data.labels[rows], queries)
        folder = Path(FOLDER) / encoder / probe / f"{SHARE}_{fraction:g}" / f"seed{seed}"
        path = self._write(folder / "test.csv", queries[0], found[0])
        validation = None
        if len(chooses):
            validation = self._write(folder / "validation.csv", chooses, found[1])
        self._note(encoder, probe, SHARE, fraction, seed, test, path, validation, setting, drawn)
        self._report_progress()

    def _predict(
        self,
        encoder: str,
        probe: str,
        setting: float,
        rows: np.ndarray,
        labels: np.ndarray,
        queries: Sequence[np.ndarray],
    ) -> list[np.ndarray]:
        """Probabilities of several sets of rows; equal fits, as of all labels, are made once."""
        asked = np.concatenate(queries)
        key = (encoder, probe, setting, rows.tobytes(), labels.tobytes(), asked.tobytes())
        begun = time.perf_counter()
        if key not in self._kept:
            x = self.data.features[encoder]
            (self._kept[key],) = probabilities(
                probe, [setting], x[rows], labels, x[asked], len(self.data.spec.classes)
            )
        self._seconds = time.perf_counter() - begun
        ends = np.cumsum([len(query) for query in queries])[:-1]
        return np.split(self._kept[key], ends)

    def predictions(self, rows: np.ndarray, p: np.ndarray) -> Predictions:
        """Predictions of some rows."""
        return Predictions.from_table(self._table(rows, p))

    def _table(self, rows: np.ndarray, p: np.ndarray) -> Any:
        data, columns = self.data, self.data.manifest.columns
        chosen = data.manifest.select(rows)
        return predictions_table(
            data.spec.kind, data.spec.classes, chosen.images, p,
            hard_labels(data.labels[rows], data.spec), groups=chosen.groups,
            site=chosen.column(columns.site) if columns.site else "",
            split=chosen.column(columns.split),
        )  # fmt: skip

    def _write(self, path: Path, rows: np.ndarray, p: np.ndarray) -> str:
        write_predictions(self.out / path, self._table(rows, p))
        return str(path)

    def _note(
        self, encoder: str, probe: str, trained_on: str, amount: float, seed: int, test: str,
        predictions: str, validation: str | None, setting: float, rows: np.ndarray,
    ) -> None:  # fmt: skip
        patients = len(set(self.data.manifest.groups[rows]))
        self.fits.append(
            Fit(encoder, probe, trained_on, float(amount), seed, test, predictions, validation,
                float(setting), patients, len(rows), self._seconds)
        )  # fmt: skip

    def _report_progress(self) -> None:
        self._done += 1
        seeds = len(self.protocol.seeds)
        by_encoder = len(PROBES) * (1 + seeds * len(self.protocol.shots))
        self.progress(
            self._done, len(self.encoders) * (by_encoder + seeds * len(self.fractions))
        )
