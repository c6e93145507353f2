"""The report of `remedis check-data`: what is wrong, how much there is of what, how it looks."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from remedis_jax.data.checking import write_bad_images
from remedis_jax.data.examination import Examination, Problem
from remedis_jax.data.reading import Reading
from remedis_jax.errors import RunFailed, UserError
from remedis_jax.report.contact_sheet import write_contact_sheets
from remedis_jax.report.document import Document, Section, write_report
from remedis_jax.report.tables import markdown_table, plain
from remedis_jax.versions import versions

JSON_NAME = "data_report.json"
# ours: of a megabyte each; a page with more of them opens slowly.
MOST_IN_PAGE = 12
READING = """
- **Errors** make training or its judgement wrong. Training refuses them too, but for one image with
  two labels, which only this check looks for. **Warnings** may; **notes** are good to know.
- *Groups* are patients, cases or lesions: what must stay together.
- *Equal files* have the same bytes. *Near-duplicates* are pictures whose 256-bit perceptual hashes
  differ in few bits: copies under another name, format or size; mirrored copies are not found.
- That no text is burned into pixels cannot be told from a header, only by looking.
"""


def claim_folder(out: Path) -> None:
    """Refuses a folder that holds something else than an earlier report.

    Raises:
        UserError: It does.
    """
    if out.exists() and not (out / JSON_NAME).is_file():
        if not out.is_dir() or any(out.iterdir()):
            raise UserError(
                f"{out} exists and holds no report of a data check.",
                "Choose an empty or new folder with --out.",
            )


def write_data_check(
    out: Path, found: Examination, reading: Reading, *, show: bool = False
) -> Path:
    """Writes the report, its tables and its contact sheets.

    Args:
        out: Folder; made if it is not there. An earlier report in it is replaced.
        found: What was found.
        reading: How images were read, for the contact sheets.
        show: Print the tables as well.

    Returns:
        The HTML page.

    Raises:
        RunFailed: A file cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(to_json(found), indent=1) + "\n"
        (out / JSON_NAME).write_text(text, encoding="utf-8")
        bad = [fact for fact in found.facts if fact.problem]
        if found.redact:
            bad = [dataclasses.replace(fact, image="") for fact in bad]
        write_bad_images(out, bad)
        found.groups.to_csv(out / "groups_across.csv", index=False)
        found.duplicates.to_csv(out / "duplicates.csv", index=False)
        found.near_duplicates.to_csv(out / "near_duplicates.csv", index=False)
        pairs = pd.concat([found.duplicates, found.near_duplicates])
        pairs[pairs["labels"] == "differ"].to_csv(out / "label_conflicts.csv", index=False)
    except OSError as error:
        raise RunFailed(
            f"{error.filename or out} could not be written ({error.strerror}).",
            "Free some space or choose another --out.",
        ) from error
    sheets = write_contact_sheets(out / "figures", found.rows, found.facts, reading)
    errors, warnings = len(found.of("error")), len(found.of("warning"))
    lead = (
        f"{len(found.rows):,} rows: {errors} error(s), {warnings} warning(s)."
        if errors or warnings
        else f"{len(found.rows):,} rows: nothing is wrong with them that could be found."
    )
    document = Document(
        f"Data check of {found.rows.path.name}",
        lead,
        (
            Section("Findings", problem_text(found.problems)),
            *(Section(title, markdown_table(table)) for title, table in found.tables.items()),
            *([Section("Other manifests", "\n\n".join(map(plain, found.compared)))]
              if found.compared else []),
            Section("Contact sheets", sheet_text(sheets)),
            Section("How to read this", READING),
            Section(
                "Provenance",
                f"- manifest sha256 {found.rows.sha256}\n"
                f"- near-duplicates: {found.most} or fewer of 256 bits differ\n"
                "- all cases: bad\\_images.csv, duplicates.csv, near\\_duplicates.csv,"
                " label\\_conflicts.csv, groups\\_across.csv\n"
                + "".join(f"- {plain(name)} {plain(v)}\n" for name, v in versions().items()),
            ),
        ),
        found.tables,
    )
    page = write_report(out, document, show=show)
    if show:
        for problem in found.problems:
            print(f"{problem.weight}: {problem.text} {problem.remedy}".rstrip())
    return page


def problem_text(problems: Sequence[Problem]) -> str:
    """All problems in Markdown, under their weights."""
    if not problems:
        return "None."
    lines = [
        f"- **{problem.weight}**: {plain(problem.text)} {plain(problem.remedy)}".rstrip()
        for problem in problems
    ]
    return "\n".join(lines)


def sheet_text(sheets: Sequence[tuple[str, Path | None]]) -> str:
    """The first contact sheets in Markdown, and which others there are.

    Args:
        sheets: From `contact_sheet.write_contact_sheets`.
    """
    drawn = [(title, path) for title, path in sheets if path is not None]
    lines = [
        f"![{plain(title)}](figures/{path.name})" for title, path in drawn[:MOST_IN_PAGE]
    ] or ["No image can be shown."]
    if rest := [path.name for _, path in drawn[MOST_IN_PAGE:]]:
        lines.append(f"In the folder figures: {plain(', '.join(rest))}.")
    if undrawn := [title for title, path in sheets if path is None]:
        lines.append(f"Without a sheet, since there are so many: {plain('; '.join(undrawn))}.")
    return "\n\n".join(lines)


def to_json(found: Examination) -> dict[str, object]:
    """The content of data_report.json."""
    return {
        "manifest": found.rows.path.name,
        "manifest_sha256": found.rows.sha256,
        "rows": len(found.rows),
        "near_duplicate_bits": found.most,
        "compared": list(found.compared),
        "problems": [
            {"weight": p.weight, "text": p.text, "remedy": p.remedy} for p in found.problems
        ],
        "tables": {
            title: table.to_dict(orient="records") for title, table in found.tables.items()
        },
        "versions": versions(),
    }
