"""What was made elsewhere, in the same protocol: predictions compared, encoders probed."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def compare(
    predictions: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    group: str | None = None,
    columns: Mapping[str, str] | None = None,
    positive: str | None = None,
    metrics: Sequence[str] = (),
    common: bool = False,
    resamples: int | None = None,
    seed: int = 0,
    show: bool = False,
) -> Path:
    """Compares predictions files, of whatever tool, paired by patient, and writes their report.

    Args:
        predictions: Two files or more; each is put beside the first.
        out: Folder of the report; `comparison` beside the first file if None.
        group: Column of the patient; 'image' for every image by itself.
        columns: Role -> column, where the names of the columns do not say it.
        positive: Positive class where there are two; the last one if None.
        metrics: Names such as 'auroc' or 'auroc/CLASS'; all of the kind of predictions if none.
        common: Compare on the images that all files have, where they differ.
        resamples: Of the bootstrap; 1,000 if None.
        seed: Of the bootstrap.
        show: Also print the table.

    Returns:
        The HTML page.

    Raises:
        UserError: A file cannot be read, or the files cannot be compared.
    """
    from remedis_jax.evaluation.predictions import write_predictions
    from remedis_jax.evaluation.resampling import RESAMPLES
    from remedis_jax.report.compared_files import by_pair, compare_files
    from remedis_jax.report.document import write_text
    from remedis_jax.report.page import print_tables, report_from_predictions

    paths = [Path(path) for path in predictions]
    drawn = {"resamples": resamples or RESAMPLES, "seed": seed}
    compared = compare_files(
        paths, group=group, columns=columns, positive=positive, metrics=metrics, common=common,
        **drawn,
    )  # fmt: skip
    if show:
        print_tables(by_pair(compared))
        for note in compared.notes:
            print(note)
    out = paths[0].parent / "comparison" if out is None else Path(out)
    write_text(out / "comparison.csv", compared.results.to_csv(index=False))
    if columns or common:
        # The report reads files by their own columns, and all their rows.
        paths = [
            out / "compared" / f"{i}_{path.stem}.csv" for i, path in enumerate(paths, start=1)
        ]
        for path, table in zip(paths, compared.tables, strict=True):
            write_predictions(path, table)
        group = None
    named = {} if group is None else {"group": group}
    return report_from_predictions(paths, out, positive=positive, **named, **drawn)


def probe(
    embeddings: Mapping[str, str | Path] | Sequence[str | Path],
    manifest: str | Path,
    out: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    splits: Mapping[str, str] | None = None,
    match: str = "path",
    common: bool = False,
    redact: bool = False,
    characteristics: Sequence[str] | None = None,
    margin: float | None = None,
    minutes_per_label: float | None = None,
    minutes_source: str = "",
    resamples: int | None = None,
    command: str = "",
    announce: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] | None = None,
    show: bool = False,
    **protocol: Any,
) -> Path:
    """Probes the features of one or more encoders, of whatever tool, and writes the reports.

    With two sites this is the data-efficiency experiment with frozen encoders as arms; the first
    one is the baseline. Without, the report is that of the test predictions.

    Args:
        embeddings: Name -> file, or files that are named by their stems.
        manifest: CSV or Parquet with a row per image: label, patient, split, site.
        out: Folder of the experiment and its reports.
        columns: Role -> column, where the names do not say it; label 'A,B' for findings, group
            'image' for every image by itself, features for a column of the embeddings.
        splits: Value of the split column -> 'training', 'validation' or 'test', where it is no
            usual word for one.
        match: How rows find their features: by 'path', 'file' or 'stem' of the image.
        common: Use the images that are on both sides.
        redact: Show hashes in place of patient ids in messages.
        characteristics: Columns for subgroups and demographics; age and sex where there are such
            if None.
        margin: Within which an arm counts as equal to the baseline; 0.01 if None.
        minutes_per_label, minutes_source: What a label costs, and who says so.
        resamples: Of the bootstrap; 1,000 if None.
        command: That does it again, for the report.
        announce: Called with a line for each thing that starts.
        progress: Called with (done, total) probes.
        show: Also print the tables.
        **protocol: Fields of `remedis_jax.evaluation.probe_protocol.Protocol`: id_site, ood_site,
            probe, metric, level, seeds, shots, fractions, new_site_only.

    Returns:
        The HTML page of the experiment, or of the predictions where there is no new site. That of
        the probes is `out`/probes/report.html.

    Raises:
        UserError: A file cannot be read, columns or splits are not clear, a patient is in two
            splits, or the labels do not allow what is asked for.
    """
    import json
    import time

    from remedis_jax.evaluation.probe_data import open_probe_data
    from remedis_jax.evaluation.probe_protocol import Protocol
    from remedis_jax.evaluation.probe_record import (
        MARGIN,
        characteristics_of,
        image_folder,
        probe_record,
        write_experiment,
        write_rows,
    )
    from remedis_jax.evaluation.probe_run import Probing
    from remedis_jax.evaluation.resampling import RESAMPLES
    from remedis_jax.report.page import report_from_experiment, report_from_predictions
    from remedis_jax.report.probe_page import report_from_probes
    from remedis_jax.training.workdir import write_json

    begun, out, asked = time.monotonic(), Path(out), Protocol(**protocol)
    encoders = _named_encoders(embeddings)
    resamples = resamples or RESAMPLES
    announce(f"reading {', '.join(encoders)} and {manifest}")
    data = open_probe_data(
        encoders, Path(manifest), columns=columns or {}, sites=asked.sites, splits=splits,
        match=match, common=common, redact=redact,
    )  # fmt: skip
    described = characteristics_of(data, characteristics)
    for line in (*data.read, *data.common):
        announce(line)
    out.mkdir(parents=True, exist_ok=True)
    probing = Probing(data, asked, out, announce, progress)
    for note in probing.notes:
        announce(note)
    probing.run()
    config = {
        "embeddings": {name: str(path) for name, path in encoders.items()},
        "manifest": str(manifest), "columns": dict(columns or {}), "splits": dict(splits or {}),
        "match": match, "common": common, **protocol,
    }  # fmt: skip
    record = probe_record(
        probing, encoders, hours=(time.monotonic() - begun) / 3600,
        config=json.loads(json.dumps(config)), command=command or "remedis_jax.probe(...)",
    )  # fmt: skip
    write_json(out / "probe.json", record)
    write_rows(out / "rows.csv", data, described)
    announce("writing the reports")
    page = report_from_probes(out, resamples=resamples, show=show)
    announce(f"probes in {page}")
    if asked.ood_site:
        write_experiment(
            probing, record, characteristics=described,
            margin=MARGIN if margin is None else margin,
            minutes_per_label=minutes_per_label, minutes_source=minutes_source,
        )  # fmt: skip
        return report_from_experiment(out, resamples=resamples, show=show)
    tests, validation = probing.full_predictions()
    return report_from_predictions(
        tests, out, validation=validation, manifest=out / "rows.csv", characteristics=described,
        images=image_folder(data) or None, resamples=resamples,
    )  # fmt: skip


def _named_encoders(
    embeddings: Mapping[str, str | Path] | Sequence[str | Path],
) -> dict[str, Path]:
    import re

    from remedis_jax.errors import UserError

    if isinstance(embeddings, Mapping):
        named = [(name, Path(path)) for name, path in embeddings.items()]
    else:
        named = [(Path(path).stem, Path(path)) for path in embeddings]
    if not named:
        raise UserError("there is no file of embeddings to probe.", "Give one or more.")
    names = [name for name, _ in named]
    for name in names:
        if names.count(name) > 1 or not re.fullmatch(r"\w[\w .+-]*", name):
            raise UserError(
                f"{name!r} is the name of {names.count(name)} encoder(s), or no name for a file.",
                "Give every encoder a name of letters, digits, '_', '-', '.': NAME=PATH.",
            )
    return dict(named)
