"""T1: which skin condition do the photographs of this case show?"""

from remedis_jax.tasks.task import FROM_MEMORY, VERIFIED, PublicSet, Task, public_sets

DERMATOLOGY = Task(
    title="Skin conditions",
    question="Which skin condition do the photographs of this case show?",
    modality="dermatology",
    kind="softmax",
    labels=("condition",),
    readers=("reader_1", "reader_2", "reader_3"),
    group="patient_id",
    case="case_id",
    # ours: of six at most in the paper (from memory), so that 32 cases are BiT's batch of 128.
    case_images=4,
    pooling="mean",
    channels=3,
    recipe="simclr",
    pretrain_size=224,
    finetune_size=448,
    metric="accuracy",
    metrics=("accuracy", "top3_accuracy", "balanced_accuracy"),
    levels=(("case_id", "mean"),),
    unlabelled_pool=(
        *public_sets("t1", "unlabelled"),
        PublicSet(
            "SCIN",
            access="open bucket",
            note="5,000 cases of several photographs, with weighted differentials of readers:"
            " the closest to the paper's kind of data.",
        ),
    ),
    in_distribution=public_sets("t1", "in_distribution"),
    out_of_distribution=(
        *public_sets("t1", "out_of_distribution"),
        PublicSet("PAD-UFES-20", access="open download", note="Phone photographs, six classes."),
        PublicSet("Fitzpatrick17k", access="images by URL", note="114 conditions."),
    ),
    known_of_paper=(
        ("Teledermatology, with data that are not public.", VERIFIED),
        ("26 conditions and 'other', by case; a case has one to six photographs.", FROM_MEMORY),
        ("Scored by top-3 accuracy, with top-1 beside it.", FROM_MEMORY),
        (
            "Labels are differentials of several dermatologists, trained on as shares; the images "
            "of a case are encoded with the same weights and averaged.",
            FROM_MEMORY,
        ),
        ("Models were pre-trained at 224 pixels.", VERIFIED),
        ("Fine-tuned at 448 pixels.", FROM_MEMORY),
        (
            "Out of distribution: clinics for skin cancer in Australia and New Zealand.",
            FROM_MEMORY,
        ),
    ),
    ours=(
        "The classes are those of the training rows: the paper's list is not public.",
        "The label of a case is the share of its readers' votes; it is scored by the class that "
        "most of them name.",
        "Features are averaged before the classifier, over up to four photographs that are drawn "
        "anew at each visit; predictions read all of them.",
        "Selection is by top-1 accuracy, since with eight public classes top-3 says little.",
        "No rotation in pre-training: it is in the README of the released code and not in its "
        "pipeline (official-code).",
    ),
)
