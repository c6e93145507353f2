"""T2: does this fundus photograph show diabetic macular edema?"""

from remedis_jax.tasks.task import FROM_MEMORY, VERIFIED, PublicSet, Task, public_sets

MACULAR_EDEMA = Task(
    title="Diabetic macular edema",
    question="Does this fundus photograph show diabetic macular edema?",
    modality="fundus",
    kind="softmax",
    labels=("edema",),
    classes=("0", "1"),
    group="patient_id",
    channels=3,
    recipe="simclr",
    pretrain_size=224,
    finetune_size=587,
    metric="auroc",
    metrics=("auroc", "auprc", "balanced_accuracy"),
    levels=(("image", "mean"), ("patient_id", "max")),
    # ours: 45 degrees are MICLe's for chest X-rays. A fundus has a black surround, so that turning
    # brings in nothing new at the corners.
    pretrain_options={"rotation_degrees": 45.0},
    finetune_options={"rotation_degrees": 45.0},
    unlabelled_pool=public_sets("t2", "unlabelled"),
    in_distribution=(
        *public_sets("t2", "in_distribution"),
        PublicSet(
            "BRSET",
            access="credentialed: PhysioNet",
            note="Brazil, has a label for macular edema; better sized than Messidor-2.",
        ),
    ),
    out_of_distribution=public_sets("t2", "out_of_distribution"),
    known_of_paper=(
        ("The unlabelled images are de-identified EyePACS images.", VERIFIED),
        ("About 2.3 million unlabelled images.", FROM_MEMORY),
        ("Binary; the truth comes from OCT; scored by AUROC.", FROM_MEMORY),
        ("In distribution: Thailand; out of distribution: Australia or the USA.", FROM_MEMORY),
        ("Models were pre-trained at 224 pixels.", VERIFIED),
        ("Fine-tuned at 587 pixels.", FROM_MEMORY),
    ),
    ours=(
        "Public labels of edema are judged by exudates in the photograph and not by OCT.",
        "Rotation up to 45 degrees in both stages.",
        "A patient is scored by the worse eye.",
    ),
)
