"""T4: does this patch of a lymph node contain metastatic tumour?"""

from remedis_jax.tasks.task import FROM_MEMORY, NOT_KNOWN, VERIFIED, Task, public_sets

LYMPH_NODE = Task(
    title="Lymph-node metastases",
    question="Does this patch of a lymph node contain metastatic tumour?",
    modality="histology",
    kind="softmax",
    labels=("tumour",),
    classes=("0", "1"),
    group="patient_id",
    channels=3,
    recipe="simclr",
    pretrain_size=224,
    finetune_size=224,
    metric="auroc",
    metrics=("auroc", "auprc", "balanced_accuracy"),
    # ours: a slide is as suspicious as its worst patch, as in CAMELYON's own rules for slides.
    levels=(("image", "mean"), ("slide_id", "max")),
    # ours: a section has no upright, so every angle is as good.
    pretrain_options={"rotation_degrees": 180.0},
    finetune_options={"rotation_degrees": 180.0},
    unlabelled_pool=public_sets("t4", "unlabelled"),
    in_distribution=public_sets("t4", "in_distribution"),
    out_of_distribution=public_sets("t4", "out_of_distribution"),
    known_of_paper=(
        (
            "Unlabelled: 50 million random patches of TCGA, 10,705 cases, 29,018 slides, 32 "
            "studies.",
            VERIFIED,
        ),
        ("In distribution CAMELYON16, out of distribution CAMELYON17.", FROM_MEMORY),
        ("Binary; scored by AUROC.", FROM_MEMORY),
        ("Pre-trained at 224 pixels, and used at 224.", VERIFIED),
        ("Whether the paper scores patches or slides.", NOT_KNOWN),
    ),
    ours=(
        "Both are scored: patches, and slides by their worst patch.",
        "Rotation by any angle in both stages.",
    ),
)
