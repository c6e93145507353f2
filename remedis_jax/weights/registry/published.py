"""The published weights that this project knows by name: what they are, and how to get them.

Two families. The eight REMEDIS networks lie on PhysioNet and are given to people who have signed
an agreement, so they are never downloaded from here; what to do is in `KnownModel.access`. The BiT
networks lie in a public bucket. No SHA-256 of either is known here: the one of the first download
is recorded beside the file and checked from then on (trust on first use), unless one is given.

Sources: names, files and terms of REMEDIS from the README of medical-ai-research-foundations and
DOI 10.13026/grp0-z205; BiT's from the READMEs of google-research/big_transfer and, for the
distilled networks, of google-research/big_vision (configs/proj/distill).
"""

import dataclasses
import math

from remedis_jax.models.bit import BiTSpec
from remedis_jax.weights.architecture import encoder_shapes, head_shapes

BUCKET = "https://storage.googleapis.com/bit_models"
PHYSIONET = "https://physionet.org"
_PROJECT = "medical-ai-research-foundation/1.0.0"
NETWORKS = ("R50x1", "R101x1", "R50x3", "R101x3", "R152x2", "R152x4")


@dataclasses.dataclass(frozen=True)
class Terms:
    """Under what conditions weights may be had and handed on.

    Attributes:
        name: The licence, or the kind of access.
        credentialed: Whether only people who have signed an agreement may have them.
        text: What that means, in a sentence.
        link: Where it is written.
    """

    name: str
    credentialed: bool
    text: str
    link: str


APACHE = Terms(
    "Apache-2.0",
    False,
    "Free to use, change and hand on with the licence text. The images that the weights were "
    "trained on have terms of their own.",
    "https://github.com/google-research/big_transfer/blob/master/LICENSE",
)
CREDENTIALED = Terms(
    "PhysioNet credentialed access",
    True,
    "Only for those whom PhysioNet has credentialed and who have signed the project's agreement; "
    "access may not be shared. Weights derived from these may not be redistributable.",
    f"{PHYSIONET}/content/{_PROJECT}/",
)


@dataclasses.dataclass(frozen=True)
class KnownModel:
    """One published set of weights.

    Attributes:
        name: What it is called here, in lower case.
        encoder: The network, e.g. "r50x1".
        input_size: Side in pixels of the images that it is published for.
        trained_on: Data and method, in a few words.
        terms: See `Terms`.
        classes: Of its classifier; 0 for none.
        url: Where its file lies; None where it cannot be downloaded without signing in.
        doi: Of the publication of the weights; "" for none.
        note: What one should know besides; "" for nothing.
        sha256: Of the file; None where it is not known here, see this module.
    """

    name: str
    encoder: str
    input_size: int
    trained_on: str
    terms: Terms
    classes: int = 0
    url: str | None = None
    doi: str = ""
    note: str = ""
    sha256: str | None = None

    @property
    def spec(self) -> BiTSpec:
        return BiTSpec.from_name(self.encoder)

    @property
    def file_name(self) -> str | None:
        """The name of the published file; None for REMEDIS, which is a folder."""
        return self.url.rpartition("/")[2] if self.url else None

    @property
    def parameters(self) -> int:
        """How many numbers it consists of, its classifier included."""
        shapes = list(encoder_shapes(self.spec).values())
        if self.classes:
            shapes += head_shapes(self.spec, self.classes).values()
        return sum(math.prod(shape) for shape in shapes)

    @property
    def size(self) -> int:
        """About how many bytes its file has: four for each parameter."""
        return 4 * self.parameters

    def access(self) -> tuple[str, ...]:
        """What to do to have it here, step by step."""
        if self.url is not None:
            return (f"remedis models get {self.name}",)
        folder = f"files/{_PROJECT}/{self.name}"
        return (
            f"Make an account at {PHYSIONET}/register/ and apply for credentialed access at "
            f"{PHYSIONET}/settings/credentialing/ (people decide on it, so it takes a while).",
            "Complete the training that the project's page asks for and upload its report: "
            f"{PHYSIONET}/about/citi-course/",
            f"Sign the agreement on the project's page: {self.terms.link}",
            "Download the model's folder: wget -r -N -c -np --user YOUR_PHYSIONET_NAME "
            f"--ask-password {PHYSIONET}/{folder}/",
            f"Import it: remedis import remedis physionet.org/{folder}",
        )


def known_model(name: str) -> KnownModel | None:
    """The model of that name in any case, or None."""
    return MODELS.get(name.lower())


def _remedis() -> list[KnownModel]:
    data = {
        "cxr": ("chest X-ray (MIMIC-CXR, CheXpert)", 448),
        "path": ("pathology (TCGA)", 224),
    }
    start = {"m": "ImageNet-21k", "s": "ILSVRC-2012"}
    return [
        KnownModel(
            name=f"{modality}-{network}-remedis-{size}",
            encoder=f"r{network}",
            input_size=side,
            trained_on=f"SimCLR on {images} from BiT-{size.upper()} ({start[size]})",
            terms=CREDENTIALED,
            doi="10.13026/grp0-z205",
            note="A TensorFlow 2 SavedModel; whether it scales its input and whether it ends in a "
            "norm is measured at import.",
        )
        for modality, (images, side) in data.items()
        for network in ("50x1", "152x2")
        for size in ("m", "s")
    ]


def _bit() -> list[KnownModel]:
    data = {"s": ("ILSVRC-2012", 1000), "m": ("ImageNet-21k", 21843)}
    models = []
    for size, (images, classes) in data.items():
        for network in NETWORKS:
            name = f"BiT-{size.upper()}-{network}"
            models.append(
                KnownModel(
                    name=name.lower(),
                    encoder=network.lower(),
                    input_size=224,
                    trained_on=f"{images}, supervised",
                    terms=APACHE,
                    classes=classes,
                    url=f"{BUCKET}/{name}.npz",
                )
            )
    for network in NETWORKS:
        name = f"BiT-M-{network}-ILSVRC2012"
        models.append(
            KnownModel(
                name=name.lower(),
                encoder=network.lower(),
                input_size=480,
                trained_on="ImageNet-21k, then fine-tuned on ILSVRC-2012",
                terms=APACHE,
                classes=1000,
                url=f"{BUCKET}/{name}.npz",
                note="480 pixels are those of the published fine-tuning rule; timm evaluates most "
                "of these at 448.",
            )
        )
    return models


def _distilled() -> list[KnownModel]:
    student = "ILSVRC-2012, distilled from BiT-M-R152x2"
    teacher = "ImageNet-21k, then ILSVRC-2012 (teacher of the distilled)"
    return [
        KnownModel(
            name=f"bit-{name}",
            encoder=encoder,
            input_size=side,
            trained_on=trained_on,
            terms=APACHE,
            classes=1000,
            url=f"{BUCKET}/distill/{file}",
        )
        for name, encoder, side, trained_on, file in (
            ("distilled-r50x1-160", "r50x1", 160, student, "R50x1_160.npz"),
            ("distilled-r50x1-224", "r50x1", 224, student, "R50x1_224.npz"),
            ("teacher-r152x2-224", "r152x2", 224, teacher, "R152x2_T_224.npz"),
            ("teacher-r152x2-384", "r152x2", 384, teacher, "R152x2_T_384.npz"),
        )
    ]


# By name, in the order in which they are listed.
MODELS: dict[str, KnownModel] = {
    model.name: model for model in (*_remedis(), *_bit(), *_distilled())
}
