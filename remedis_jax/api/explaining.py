"""Explanations of single predictions as a function."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from remedis_jax.errors import UserError

Progress = Callable[[int, int], None]
METHODS = ("gradcam", "integrated_gradients")
LIMIT = 16  # ours: what one looks through


def explain(
    images: str | Path,
    weights: str | Path,
    out: str | Path,
    *,
    method: str = "gradcam",
    label: str | None = None,
    layer: str | None = None,
    baseline: str | None = None,
    steps: int | None = None,
    errors: str | Path | None = None,
    folder: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    limit: int = LIMIT,
    sanity: bool = False,
    seed: int = 0,
    allow_outside: bool = False,
    progress: Progress | None = None,
    announce: Callable[[str], None] = lambda line: None,
) -> Path:
    """Draws where in the images the score of a class comes from.

    Args:
        images: A table of images (a manifest or predictions), a folder, tfds:NAME:SPLIT, a cache.
        weights: Weights with a classifier; as for `load`.
        out: Folder for the page, its contact sheets and the maps.
        method: "gradcam" or "integrated_gradients"; see `remedis_jax.evaluation.saliency`.
        label: The class; the most probable one of each image if None, with `errors` the wrong one.
        layer: Of Grad-CAM; "final" if None.
        baseline: Of integrated gradients; "black" if None.
        steps: Of integrated gradients; 64 if None.
        errors: A predictions file of the same weights: its most confident errors are explained.
        folder: What the names in a table are relative to; the table's folder if None.
        columns: Other names of columns: `image`, `case`, `view`; "" as the case for images that
            are judged each by itself.
        where: Only rows with these values.
        limit: Number of examples, images or cases.
        sanity: Compare with the maps of randomised heads.
        seed: Of the randomised heads.
        allow_outside: Accept images outside the table's folder.
        progress: Called with (done, total).
        announce: Called with lines for the user.

    Returns:
        The HTML page.

    Raises:
        UserError: The images, the weights or the settings cannot be used.
    """
    from remedis_jax.api.judging import data_config
    from remedis_jax.data.cases import cases_of
    from remedis_jax.evaluation.explained import Explanations, explain_examples
    from remedis_jax.evaluation.explained_examples import (
        class_index,
        every_example,
        label_columns_of,
        most_confident_errors,
        spread,
    )
    from remedis_jax.evaluation.model import load
    from remedis_jax.evaluation.predict import require_head
    from remedis_jax.evaluation.predictions import Predictions, read_predictions
    from remedis_jax.evaluation.prepared import prepared_source
    from remedis_jax.evaluation.saliency import Network
    from remedis_jax.report.explanation import write_explanation

    chosen_method = _method(method, layer=layer, baseline=baseline, steps=steps)
    if limit < 1:
        raise UserError(f"--limit {limit} leaves nothing to explain.", "Use 1 or more.")
    model = load(weights, devices=1)
    require_head(model.card)
    target = class_index(model.classes, label)
    data = data_config(model.card, images, columns or {})
    # Names of patients are not needed, and the rows may lack them.
    data.case, data.group = data.case or data.group, ""
    if not data.case or (columns or {}).get("case") == "":
        data.case_images, data.view, data.views = 0, "", ()
        if Network.of(model.card).head.places > 1:
            raise UserError(
                "This classifier reads several views of a case together, and not single images.",
                "Name the columns of case and view with --case and --view.",
            )
    rows = _rows(images, data.image, folder, allow_outside)
    if where:
        rows = rows.where(**where)
    everything = every_example(
        rows, cases_of(data, rows), target, label_columns_of(rows.table, model.card)
    )
    what = "images" if not data.case_images else "cases"
    if errors is None:
        examples = spread(everything, limit)
        chosen = f"{len(examples):,} of {len(everything):,} {what}, spread over the table."
    else:
        predictions = Predictions.from_table(read_predictions(errors))
        examples = most_confident_errors(
            everything, predictions, model.classes, target, limit, str(errors)
        )
        chosen = f"The {len(examples):,} most confident errors of {Path(errors).name}."
    announce(f"explaining {len(examples):,} of {len(everything):,} {what}")
    # Only what is explained is opened.
    used = sorted({int(i) for example in examples for i in example.images})
    place = {i: position for position, i in enumerate(used)}
    rows = rows.select(used)
    examples = [
        dataclasses.replace(example, images=_moved(example.images, place)) for example in examples
    ]
    explanations = explain_examples(
        model, prepared_source(rows, model.contract), examples, chosen_method,
        sanity=sanity, seed=seed, progress=progress,
    )  # fmt: skip
    content = Explanations(
        explanations, model.classes, model.kind, chosen_method, chosen,
        (str(weights), model.sha256), sanity, seed,
    )  # fmt: skip
    return write_explanation(out, content, rows.images)


def _method(name: str, *, layer: str | None, baseline: str | None, steps: int | None):
    """The method with the settings that are given; those of the other one are refused."""
    from remedis_jax.evaluation.saliency import GradCam, IntegratedGradients

    if name not in METHODS:
        raise UserError(f"There is no method {name!r}.", f"Use {' or '.join(METHODS)}.")
    kinds = {"gradcam": (GradCam, {"layer": layer}),
             "integrated_gradients": (IntegratedGradients,
                                      {"baseline": baseline, "steps": steps})}  # fmt: skip
    for other, (_, options) in kinds.items():
        for option, value in options.items():
            if other != name and value is not None:
                raise UserError(
                    f"--{option} belongs to {other} and not to {name}.",
                    f"Leave it out, or give --method {other}.",
                )
    kind, options = kinds[name]
    return kind(**{option: value for option, value in options.items() if value is not None})


def _rows(images: str | Path, column: str, folder: str | Path | None, allow_outside: bool):
    from remedis_jax.data.manifest import Columns, read_manifest
    from remedis_jax.data.open_manifest import open_manifest
    from remedis_jax.data.stores import FolderStore

    if folder is None:
        return open_manifest(images, Columns(image=column), allow_outside=allow_outside)
    if not Path(images).is_file():
        raise UserError(
            f"{images} is no table, whose names --images could be relative to.",
            "Leave --images out, or give a .csv or .parquet file.",
        )
    rows = read_manifest(
        images, Columns(image=column), allow_outside=allow_outside, check_files=False
    )
    rows = dataclasses.replace(rows, store=FolderStore(folder))
    missing = [
        f"{row} ({image})"
        for row, image in zip(rows.rows, rows.images, strict=True)
        if rows.store.size(image) < 0
    ]
    rows.refuse(missing, "the image file is missing for", f"Paths start at {folder}.")
    return rows


def _moved(positions: Any, place: Mapping[int, int]):
    import numpy as np

    return np.array([place[int(i)] for i in positions], np.int64)
