"""T6: does this mammogram show cancer, by breast or by exam?"""

import dataclasses

from remedis_jax.errors import UserError
from remedis_jax.tasks.task import FROM_MEMORY, NOT_KNOWN, VERIFIED, PublicSet, Task, public_sets

MAMMOGRAPHY = Task(
    title="Breast cancer",
    question="Does this breast show cancer on mammography?",
    modality="mammography",
    kind="softmax",
    labels=("cancer",),
    classes=("0", "1"),
    group="patient_id",
    case="breast_id",
    case_images=2,
    view="view",
    views=("CC", "MLO"),
    pooling="mean",
    channels=1,
    recipe="radiology",
    pretrain_size=224,
    finetune_size=2048,
    # ours: a mammogram is upright and narrow, and squashing would change the shape of a mass.
    fit="pad",
    metric="auroc",
    metrics=("auroc", "auprc"),
    levels=(("breast_id", "mean"), ("patient_id", "max")),
    unlabelled_pool=(
        *public_sets("t6", "unlabelled"),
        PublicSet(
            "EMBED", access="on request, a fifth of it open on AWS", licence="non-commercial"
        ),
    ),
    in_distribution=public_sets("t6", "in_distribution"),
    out_of_distribution=(
        *public_sets("t6", "out_of_distribution"),
        PublicSet(
            "VinDr-Mammo",
            access="restricted: PhysioNet",
            note="5,000 exams of four views; BI-RADS and not biopsy.",
        ),
    ),
    known_of_paper=(
        ("OPTIMAM (United Kingdom) and Northwestern Medicine (USA) are among the data.", VERIFIED),
        ("In distribution OPTIMAM, out of distribution Northwestern.", FROM_MEMORY),
        ("Binary; the truth is biopsy or follow-up; scored by AUROC.", FROM_MEMORY),
        ("An exam has four views.", FROM_MEMORY),
        ("Fine-tuned at about 2,048 pixels.", FROM_MEMORY),
        ("Whether the paper scores breasts or exams.", NOT_KNOWN),
    ),
    ours=(
        "An example is a breast with its two views; a patient is as suspicious as the worse "
        "breast. `level=exam` makes the exam with its four views an example instead.",
        "The two views are averaged; `objective.pooling=concat` keeps them apart.",
        "The long side is kept and the rest padded with black.",
    ),
)

LEVELS = ("breast", "exam")


def mammography_task(level: str) -> Task:
    """The task by breast, or by exam.

    Args:
        level: "breast": a case is a breast with CC and MLO; "exam": an exam with both of each side.

    Raises:
        UserError: It is neither.
    """
    if level not in LEVELS:
        raise UserError(f"level is {level!r}.", f"Use {' or '.join(LEVELS)}.")
    if level == "breast":
        return MAMMOGRAPHY
    return dataclasses.replace(
        MAMMOGRAPHY,
        question="Does this exam show cancer on mammography?",
        labels=("cancer_exam",),
        case="exam_id",
        case_images=4,
        view="side_view",
        views=("L_CC", "L_MLO", "R_CC", "R_MLO"),
        levels=(("exam_id", "mean"), ("patient_id", "max")),
    )
