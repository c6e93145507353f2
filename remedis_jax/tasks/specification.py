"""The tasks: what is predicted from which kind of image, and at which sizes.

Sizes, modality and metric follow what is known of REMEDIS (Azizi et al. 2023); fields that are not
known there are ours. The column names are those that this project's manifests use.
"""

import dataclasses

from remedis_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Task:
    """One clinical question.

    Attributes:
        question: In words.
        kind: "softmax" (one class a case) or "sigmoid" (several findings).
        labels: Label column(s).
        group: Column of the unit that is never split.
        channels: 3 for colour, 1 for grey images.
        recipe: Augmentation of contrastive pre-training.
        pretrain_size: Side of a view in pixels in pre-training.
        finetune_size: Side in fine-tuning.
        metric: What the paper's curves show.
    """

    question: str
    kind: str
    labels: tuple[str, ...]
    group: str
    channels: int
    recipe: str
    pretrain_size: int
    finetune_size: int
    metric: str


TASKS = {
    "t1": Task(
        "Which skin condition does this photograph show?",
        "softmax", ("condition",), "case_id", 3, "simclr", 224, 448, "accuracy",
    ),
    "t2": Task(
        "Does this fundus photograph show diabetic macular edema?",
        "softmax", ("edema",), "patient_id", 3, "simclr", 224, 587, "auroc",
    ),
    "t3": Task(
        "Which of five findings does this chest X-ray show?",
        "sigmoid",
        ("atelectasis", "consolidation", "pulmonary_edema", "pleural_effusion", "cardiomegaly"),
        "patient_id", 1, "radiology", 224, 448, "auroc",
    ),
    "t4": Task(
        "Does this patch of a lymph node contain metastatic tumour?",
        "softmax", ("tumour",), "patient_id", 3, "simclr", 224, 224, "auroc",
    ),
    "t5": Task(
        "Does this patient with colorectal cancer survive five years?",
        "softmax", ("survived_5_years",), "patient_id", 3, "simclr", 224, 224, "auroc",
    ),
    "t6": Task(
        "Does this mammogram show cancer?",
        "softmax", ("cancer",), "patient_id", 1, "radiology", 224, 2048, "auroc",
    ),
    "phantom": Task(
        "Does this invented film show the invented disease?",
        "softmax", ("finding",), "patient_id", 1, "radiology", 32, 32, "auroc",
    ),
}  # fmt: skip


def get_task(name: str) -> Task:
    """A task by name.

    Raises:
        UserError: There is no such task.
    """
    if name not in TASKS:
        raise UserError(f"There is no task {name!r}.", f"Use one of {', '.join(TASKS)}.")
    return TASKS[name]
