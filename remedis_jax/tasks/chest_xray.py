"""T3: which of five findings does this chest X-ray show?"""

from remedis_jax.tasks.task import FROM_MEMORY, NOT_KNOWN, VERIFIED, PublicSet, Task, public_sets

FINDINGS = (
    "atelectasis", "consolidation", "pulmonary_edema", "pleural_effusion", "cardiomegaly",
)  # fmt: skip

CHEST_XRAY = Task(
    title="Chest X-ray findings",
    question="Which of five findings does this chest X-ray show?",
    modality="chest_xray",
    kind="sigmoid",
    labels=FINDINGS,
    classes=FINDINGS,
    # ours. An uncertain finding is left out of loss and score (U-Ignore of Irvin et al. 2019): the
    # one treatment that claims nothing. What a report does not mention counts as absent, as in
    # CheXpert: radiologists report what they see, and without it hardly a negative would be left.
    label_policy={"uncertain": "ignore", "blank": "negative"},
    group="patient_id",
    channels=1,
    recipe="radiology",
    pretrain_size=224,
    finetune_size=448,
    metric="auroc",
    metrics=("auroc", "auprc"),
    unlabelled_pool=public_sets("t3", "unlabelled"),
    in_distribution=public_sets("t3", "in_distribution"),
    out_of_distribution=(
        *public_sets("t3", "out_of_distribution"),
        PublicSet("PadChest", access="registration", note="Spain."),
        PublicSet("VinDr-CXR", access="credentialed: PhysioNet", note="Vietnam."),
    ),
    known_of_paper=(
        (
            "Five findings: atelectasis, consolidation, pulmonary edema, pleural effusion, "
            "cardiomegaly.",
            VERIFIED,
        ),
        ("CheXpert has 224,316 images of 65,240 patients.", VERIFIED),
        ("The released weights were pre-trained on CheXpert and MIMIC-CXR-JPG.", VERIFIED),
        ("Scored by the mean AUROC of the five.", FROM_MEMORY),
        ("In distribution CheXpert, out of distribution NIH ChestX-ray14.", FROM_MEMORY),
        ("The released weights are documented for 448 pixels.", VERIFIED),
        ("How the paper treats uncertain labels.", NOT_KNOWN),
    ),
    ours=(
        "Uncertain labels take no part, unmentioned findings are absent (see the file for why).",
        "Pre-training keeps the blur of the released code; MICLe has none on CheXpert.",
        "Images are flipped as in the released code, although that mirrors the heart.",
    ),
)
