"""Which public data set stands in for which private one of the six tasks, and how to read it.

The data of REMEDIS are private for the most part. These are what anybody can have instead, as far
as the question that the images answer is the same. Where a task has two pairs, the first is the
closer one.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Part = Literal["in_distribution", "out_of_distribution", "unlabelled"]

# What the classes of these sets mean as cells of a manifest; all others stand for themselves.
CELLS = MappingProxyType(
    {
        "positive": "1", "negative": "0", "uncertain": "-1", "unmentioned": "", "ungraded": "",
        "event": "1", "censored": "0", "missing": "",
    }
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        built_by: 'ours' (`remedis_jax.data.tfds_sets`) or 'tfds'.
        access: How one comes by it.
        licence: Under which terms.
    """

    built_by: Literal["ours", "tfds"]
    access: str
    licence: str


@dataclasses.dataclass(frozen=True)
class StandIn:
    """One part of one task.

    Attributes:
        task: 'T1' to 'T6'.
        part: What it stands in for.
        name: Its name in TFDS, with the configuration where there are several.
        split: Of the data set.
        rows: Values of columns; a row belongs to this part where all of them agree. Empty for all
            rows.
        image: The column of images, or of tile features.
        group: The column of what must not be split; None where nothing is published.
        group_pattern: Regular expression whose match in that column is the group; '' for all of it.
            The config's `data.group_pattern`.
        site: The column of hospitals.
        labels: The column of each label, as `data.tfds_images` names it.
        rule: How a label follows from the column.
        note: What to look out for.
    """

    task: str
    part: Part
    name: str
    split: str
    rows: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    image: str = "image"
    group: str | None = None
    group_pattern: str = ""
    site: str | None = None
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rule: str = ""
    note: str = ""

    @property
    def reference(self) -> str:
        """As a config names it."""
        return f"tfds:{self.name}:{self.split}"

    @property
    def data_set(self) -> DataSet:
        """Where it is from."""
        return DATA_SETS[self.name.partition("/")[0]]


DATA_SETS: Mapping[str, DataSet] = MappingProxyType(
    {
        "isic2019": DataSet("ours", "open download", "CC BY-NC 4.0"),
        "ham10000": DataSet("ours", "open download", "CC BY-NC-SA 4.0"),
        "messidor2": DataSet(
            "ours", "images on request from ADCIS, grades from Kaggle", "research; grades CC0 1.0"
        ),
        "idrid": DataSet("ours", "free account", "CC BY 4.0"),
        "aptos2019": DataSet("ours", "Kaggle account, rules of the competition", "those rules"),
        "diabetic_retinopathy_detection": DataSet(
            "tfds", "Kaggle account, rules of the competition", "those rules"
        ),
        "chexpert": DataSet("tfds", "registration", "Stanford research use agreement"),
        "nih_chest_xray14": DataSet("ours", "open download", "free with reference to its source"),
        "mimic_cxr_jpg": DataSet(
            "ours", "credentialed: training and data use agreement of PhysioNet",
            "PhysioNet Credentialed Health Data License 1.5.0",
        ),
        "patch_camelyon": DataSet("tfds", "downloaded by TFDS", "CC0 1.0"),
        "camelyon17_wilds": DataSet("ours", "open download", "CC0 1.0"),
        "tcga_crc_features": DataSet(
            "ours", "open download of slides; features made by the user",
            "NIH Genomic Data Sharing policy, open access",
        ),
        "rsna_mammography": DataSet(
            "ours", "Kaggle account, rules of the competition", "non-commercial use"
        ),
        "curated_breast_imaging_ddsm": DataSet("tfds", "open download (TCIA)", "CC BY 3.0"),
    }
)  # fmt: skip

_ISIC = dict(
    task="T1", name="isic2019", split="train", group="group", site="source",
    labels={"diagnosis": "diagnosis"}, rule="One class per image; UNK does not occur.",
)  # fmt: skip
_HAM = dict(
    task="T1", name="ham10000", split="train", group="lesion_id", site="dataset",
    labels={"dx": "dx"}, rule="One class per image.",
)  # fmt: skip
_MESSIDOR = dict(
    task="T2", name="messidor2", split="train", group="examination",
    labels={"dme": "adjudicated_dme"},
    rule="1: hard exudates within a disc diameter of the centre of the macula; 'ungraded' blank.",
)  # fmt: skip
_IDRID = dict(
    task="T2", name="idrid", labels={"dme": "risk_of_macular_edema"},
    rule="2 is positive, 0 and 1 negative: the same rule as that of messidor2.",
    note="Patients are not published.",
)  # fmt: skip
_EYEPACS = dict(
    task="T2", name="diabetic_retinopathy_detection/original", group="name", group_pattern=r"^\d+",
)  # fmt: skip
_RETINOPATHY = "2 to 4 (referable retinopathy) is positive, 0 and 1 negative."
# The sequence of labels in TFDS becomes a column for each finding.
_CHEXPERT = dict(
    task="T3", name="chexpert", group="name", group_pattern=r"patient\d+",
    labels={
        "atelectasis": "atelectasis", "consolidation": "consolidation", "edema": "edema",
        "pleural_effusion": "pleural_effusion", "cardiomegaly": "cardiomegaly",
    },
    rule="Four states; the label policy says what uncertain and unmentioned ones are.",
)  # fmt: skip
_NIH = dict(
    task="T3", name="nih_chest_xray14", group="patient_id",
    labels={
        "atelectasis": "atelectasis", "consolidation": "consolidation", "edema": "edema",
        "pleural_effusion": "effusion", "cardiomegaly": "cardiomegaly",
    },
    rule="Positive or negative; mined from reports, none uncertain.",
)  # fmt: skip
_TUMOR = "1 where the central 32 x 32 pixels hold any tumour."
_PCAM = dict(
    task="T4", name="patch_camelyon", labels={"tumor": "label"}, rule=_TUMOR,
    note="TFDS does not keep the slide of a patch, so that only its own splits are safe.",
)  # fmt: skip
_WILDS = dict(
    task="T4", name="camelyon17_wilds", group="patient", site="center",
    labels={"tumor": "tumor"}, rule=_TUMOR,
)  # fmt: skip
_TCGA = dict(
    task="T5", name="tcga_crc_features", split="train", image="features", group="patient",
    site="site",
    labels={"event": "dss_event", "days": "dss_days"},
    rule="Disease-specific survival; 'os_event' and 'os_days' are overall survival.",
)  # fmt: skip
_RSNA = dict(
    task="T6", name="rsna_mammography", split="train", group="patient_id", site="site_id",
    labels={"cancer": "cancer"}, rule="Of the breast in view, by biopsy or follow-up.",
)  # fmt: skip
_BY_LEAK = "Leave out the test part of both sites: the pool must not have seen it."

STAND_INS: tuple[StandIn, ...] = (
    StandIn(**_ISIC, part="in_distribution", rows={"source": ("HAM10000",)}),
    StandIn(**_ISIC, part="out_of_distribution", rows={"source": ("BCN20000",)}),
    StandIn(**{**_ISIC, "labels": {}, "rule": ""}, part="unlabelled", note=_BY_LEAK),
    StandIn(**_HAM, part="in_distribution", rows={"dataset": ("rosendahl",)}),
    StandIn(**_HAM, part="out_of_distribution", rows={"dataset": ("vidir_modern",)},
            note="Malignancy and site go together in this data set."),
    StandIn(**{**_HAM, "labels": {}, "rule": ""}, part="unlabelled",
            rows={"dataset": ("vidir_molemax", "vienna_dias")}),
    StandIn(**_MESSIDOR, part="in_distribution"),
    StandIn(**_IDRID, part="out_of_distribution", split="train"),
    StandIn(**_IDRID, part="out_of_distribution", split="test"),
    StandIn(**_EYEPACS, part="in_distribution", split="train", labels={"referable": "label"},
            rule=_RETINOPATHY, note="Retinopathy, not macular edema: the larger pair."),
    StandIn(task="T2", part="out_of_distribution", name="aptos2019", split="train",
            labels={"referable": "diagnosis"}, rule=_RETINOPATHY,
            note="Patients are not published."),
    *(StandIn(**_EYEPACS, part="unlabelled", split=split)
      for split in ("train", "validation", "test")),
    StandIn(task="T2", part="unlabelled", name="aptos2019", split="test"),
    StandIn(**_CHEXPERT, part="in_distribution", split="train"),
    StandIn(**_CHEXPERT, part="in_distribution", split="validation"),
    StandIn(**_NIH, part="out_of_distribution", split="train_val"),
    StandIn(**_NIH, part="out_of_distribution", split="test"),
    StandIn(**{**_CHEXPERT, "labels": {}, "rule": ""}, part="unlabelled", split="train"),
    *(StandIn(task="T3", part="unlabelled", name="mimic_cxr_jpg", split=split, group="subject_id",
              note="The released weights have seen MIMIC-CXR and CheXpert.")
      for split in ("train", "validation", "test")),
    *(StandIn(**_PCAM, part="in_distribution", split=split)
      for split in ("train", "validation", "test")),
    StandIn(**_WILDS, part="out_of_distribution", split="test",
            note="Hospital 2. CAMELYON16, the source of patch_camelyon, shares hospitals with"
            " CAMELYON17: report per hospital."),
    StandIn(**_WILDS, part="out_of_distribution", split="val", note="Hospital 1."),
    StandIn(**{**_PCAM, "labels": {}, "rule": ""}, part="unlabelled", split="train"),
    StandIn(**{**_WILDS, "labels": {}, "rule": ""}, part="unlabelled", split="train"),
    StandIn(**_TCGA, part="in_distribution",
            note="The released pathology weights have seen all of TCGA without labels."),
    StandIn(**_TCGA, part="out_of_distribution",
            note="Hold hospitals out by 'site'. SurGen (BioImage Archive S-BIAD1285) is the outside"
            " set; it has no builder here."),
    StandIn(**{**_TCGA, "labels": {}, "rule": ""}, part="unlabelled", note=_BY_LEAK),
    StandIn(**_RSNA, part="in_distribution", rows={"site_id": ("1",)}),
    StandIn(**_RSNA, part="out_of_distribution", rows={"site_id": ("2",)}),
    StandIn(**{**_RSNA, "labels": {}, "rule": ""}, part="unlabelled", note=_BY_LEAK),
    *(StandIn(task="T6", part="in_distribution", name="curated_breast_imaging_ddsm/patches",
              split=split, labels={"malignant": "label"},
              rule="MALIGNANT_CALCIFICATION and MALIGNANT_MASS are positive.",
              note="Scanned film, patches around findings; TFDS does not keep their patient.")
      for split in ("train", "test")),
)  # fmt: skip


def stand_ins(task: str, part: Part | None = None) -> tuple[StandIn, ...]:
    """The parts of a task, the closest first.

    Args:
        task: 'T1' to 'T6'.
        part: One kind of part; all if None.
    """
    return tuple(s for s in STAND_INS if s.task == task and part in (None, s.part))
