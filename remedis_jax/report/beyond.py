"""Beyond the average: calibration, decision curves, subgroups and failures of judged sets."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from remedis_jax.evaluation.bootstrap import RESAMPLES
from remedis_jax.evaluation.judged import JudgedSet
from remedis_jax.evaluation.metrics import Level
from remedis_jax.evaluation.operating_point import YOUDEN, parse_rule
from remedis_jax.evaluation.subgroups import MINIMUM, support
from remedis_jax.report.calibration_section import HEADING as CALIBRATION
from remedis_jax.report.calibration_section import calibration_section
from remedis_jax.report.decision_section import HEADING as DECISIONS
from remedis_jax.report.decision_section import decision_section
from remedis_jax.report.document import Section
from remedis_jax.report.failure_section import failure_section
from remedis_jax.report.judged_words import at_level, set_name
from remedis_jax.report.subgroup_section import require_characteristic, subgroup_section
from remedis_jax.report.tables import plain

NOT_OF_SURVIVAL = """
Calibration, decision curves and the failure gallery are of probabilities and of labels that are
right or wrong. The risk of survival is no probability and its label is a time, so they are not
shown.
"""


def beyond_sections(
    sets: Sequence[JudgedSet],
    out_dir: Path,
    *,
    characteristics: Sequence[str] = (),
    level: Level = "image",
    metric: str | None = None,
    operating_point: str = YOUDEN,
    minimum: int = MINIMUM,
    calibrated: Sequence[JudgedSet] | None = None,
    decision: bool = True,
    gallery: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Section]:
    """Draws the figures into `out_dir/figures` and returns the sections.

    Args:
        sets: One or more, all of one kind with the same classes; sets with the same `name` are
            arms on one test set and are drawn together, sets with the same `arm` are one model on
            several and have their calibration side by side. All by image.
        out_dir: Folder of the report.
        characteristics: Columns of the sets' rows, each of which is made to subgroups.
        level: 'image', or 'group' to judge patients by the mean over their images. Failures are
            always of images.
        metric: Of the subgroups' gaps; AUROC if None, of survival concordance.
        operating_point: Rule by which thresholds are chosen on the sets' validation.
        minimum: Events, and images without, that a subgroup needs to be scored, and a set to have
            a calibration and a decision curve.
        calibrated: Other sets for the calibration, such as the parts of `sets` by site; `sets` if
            None.
        decision: Whether decision curves are shown.
        gallery: Whether the failure gallery is.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        The sections, with the numbers in their tables; none for no sets.

    Raises:
        UserError: An unknown rule, or a characteristic that no set has.
    """
    parse_rule(operating_point)
    for name in characteristics:
        require_characteristic(name, sets)
    if not sets:
        return []
    survival = sets[0].runs[0].kind == "survival"
    sections = []
    if survival:
        sections.append(Section("Calibration, decisions and failures", NOT_OF_SURVIVAL))
    else:
        drawn = {"resamples": resamples, "seed": seed}
        for heading, section, chosen in (
            (CALIBRATION, calibration_section, sets if calibrated is None else calibrated),
            (DECISIONS, decision_section, sets if decision else ()),
        ):
            shown, few = _enough([at_level(judged, level) for judged in chosen], minimum)
            if shown:
                made = section(shown, out_dir, **drawn)
                text = "\n\n".join([made.markdown, *few])
                sections.append(dataclasses.replace(made, markdown=text))
            elif few:
                sections.append(Section(heading, "\n\n".join(few)))
    if characteristics:
        sections.append(
            subgroup_section(
                sets, characteristics, out_dir,
                metric=metric or ("concordance" if survival else "auroc"), level=level,
                operating_point=operating_point, minimum=minimum, resamples=resamples, seed=seed,
            )
        )  # fmt: skip
    if gallery and not survival:
        sections.append(failure_section(sets, out_dir, operating_point=operating_point))
    return sections


def _enough(sets: Sequence[JudgedSet], minimum: int) -> tuple[list[JudgedSet], list[str]]:
    """The sets of which some class has enough events, and sentences on the others.

    A curve of a few events is noise that is drawn with confidence.
    """
    shown, few = [], []
    for judged in sets:
        counts = support(judged.runs[0]).values()
        if any(min(events, others) >= minimum for events, others in counts):
            shown.append(judged)
        else:
            few.append(
                f"{plain(set_name(judged))}: not shown, as there are fewer than {minimum} events"
                f" or fewer than {minimum} without (of every class)."
            )
    return shown, few
