"""T5: how long does this patient with colorectal cancer survive?"""

from remedis_jax.tasks.task import FROM_MEMORY, VERIFIED, PublicSet, Task, public_sets

COLORECTAL_SURVIVAL = Task(
    title="Colorectal survival",
    question="Does this patient with colorectal cancer survive five years?",
    modality="histology",
    # Follow-up ends before five years for many, so survival is censored and not a class.
    kind="discrete_time",
    other_kinds=("cox",),
    labels=("time_years", "event"),
    group="patient_id",
    case="patient_id",
    # ours: 16 patients of 8 tiles are BiT's batch of 128 images.
    case_images=8,
    pooling="mean",
    horizon=5.0,
    # ours: years; the horizon has to be an end.
    intervals=(1.0, 2.0, 3.0, 4.0, 5.0),
    channels=3,
    recipe="simclr",
    pretrain_size=224,
    finetune_size=224,
    metric="auroc",
    metrics=("auroc", "concordance"),
    levels=(("patient_id", "mean"),),
    # ours: a section has no upright, so every angle is as good.
    pretrain_options={"rotation_degrees": 180.0},
    finetune_options={"rotation_degrees": 180.0},
    unlabelled_pool=public_sets("t5", "unlabelled"),
    in_distribution=public_sets("t5", "in_distribution"),
    out_of_distribution=(
        *public_sets("t5", "out_of_distribution"),
        PublicSet(
            "SurGen",
            access="open download (BioImage Archive S-BIAD1285)",
            note="1,020 slides of 843 patients, survival of 426; CZI at 40x.",
        ),
    ),
    known_of_paper=(
        ("Weights for pathology were pre-trained on 50 million patches of TCGA.", VERIFIED),
        (
            "Five-year disease-specific survival, stages II and III; AUROC at five years.",
            FROM_MEMORY,
        ),
        (
            "Wulczyn et al. 2021, whose data these are: Graz, 3,652 cases with 27,300 slides to "
            "develop on, 1,239 and 738 cases to validate on.",
            VERIFIED,
        ),
        (
            "A bag of tiles from several slides, one encoder, mean of the tiles, a censored "
            "cross-entropy over intervals of time.",
            FROM_MEMORY,
        ),
    ),
    ours=(
        "Intervals of one year; Cox's partial likelihood as the alternative.",
        "Eight tiles of a patient are drawn anew at each visit; predictions read all of them.",
        "Concordance (Harrell) beside the AUROC, since few are followed for five years.",
        "Rotation by any angle in both stages.",
        "tcga_crc_features holds features of tiles, which train heads and not encoders, and times "
        "in days: set objective.horizon and objective.intervals in days with it.",
    ),
)
