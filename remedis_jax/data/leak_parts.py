"""The parts of what a leak guard says: what was compared with what, and what is on both sides."""

import dataclasses
from collections.abc import Container
from pathlib import PurePath
from typing import Literal

UNKNOWN_WEIGHTS = "the weights do not say what they have seen"

Kind = Literal["group", "file", "picture"]


@dataclasses.dataclass(frozen=True)
class Leak:
    """What one set of images shares with one thing that was seen.

    Attributes:
        kind: 'group' for patients, 'file' for equal bytes, 'picture' for pictures that look the
            same and are not equal.
        judged: Name of the set.
        stage: Where it was seen: a stage of the weights, or the name of other rows.
        count: Groups or images of the set, each once.
        examples: The first five of them.
        redacted: The same without ids and names.
    """

    kind: Kind
    judged: str
    stage: str
    count: int
    examples: tuple[str, ...] = ()
    redacted: tuple[str, ...] = ()

    def counted(self, judged: str | None = None) -> str:
        """'3 group(s) of the test rows are also in the training rows'.

        Args:
            judged: What to call the set; its name without folders if None.
        """
        words = {
            "group": "{} group(s) of {} are also in {}",
            "file": "{} image(s) of {} are, byte for byte, also in {}",
            "picture": "{} image(s) of {} look the same as images in {}",
        }[self.kind]
        name = _short(self.judged) if judged is None else judged
        return words.format(f"{self.count:,}", name, self.stage)

    def listed(self, redact: bool) -> str:
        """The same with the first five of them."""
        examples = self.redacted if redact else self.examples
        more = self.count - len(examples)
        shown = ", ".join(examples) + (f", and {more:,} more" if more > 0 else "")
        return self.counted(self.judged) + (f": {shown}" if examples else "")


@dataclasses.dataclass(frozen=True)
class Against:
    """What a set of images was compared with.

    Attributes:
        stage: Its name.
        supervised: Whether labels were read there; None where it is no stage of weights.
        images: How many were seen.
        groups: How many patients; None where no column named them.
        known: False where it is not recorded what was seen.
        leakage: What leaked while that stage was trained, where leakage was allowed; "" for
            nothing.
    """

    stage: str
    supervised: bool | None = None
    images: int = 0
    groups: int | None = None
    known: bool = True
    leakage: str = ""

    def described(self) -> str:
        """'simclr, images only, 20 images and 7 patients'."""
        read = "with labels" if self.supervised else "images only"
        return f"{self.stage}, {read}, {_number(self.images, self.groups)}"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One set of images that was looked for.

    Attributes:
        judged: Its name.
        images: How many images.
        groups: How many patients; None where no column names them.
        flat: Images of one grey, which are not compared.
        most: Pictures that differ in so many bits or fewer count as one; -1 if only equal files.
        bits: Bits of a fingerprint.
        against: What it was compared with; empty where weights do not say what they have seen.
    """

    judged: str
    images: int
    groups: int | None
    flat: int
    most: int
    bits: int
    against: tuple[Against, ...] = ()

    def sentence(self, found: Container[tuple[str, str]] = ()) -> str:
        """What was compared with what, and that nothing is shared, where that is so.

        Args:
            found: (set, stage) of what is shared.
        """
        known = [against for against in self.against if against.known]
        silent = [against.stage for against in self.against if not against.known]
        judged = f"{_short(self.judged)} ({_number(self.images, self.groups)})"
        if not known:
            of = f" in {', '.join(silent)}" if silent else ""
            return f"Not checked: {judged}, because {UNKNOWN_WEIGHTS}{of}."
        groups = [against.groups for against in known if against.groups is not None]
        seen = _number(sum(a.images for a in known), sum(groups) if groups else None)
        stages = known[0].supervised is not None
        where = f"in {known[0].stage}"
        if stages:
            where = f"seen in {len(known)} stage{'s' if len(known) > 1 else ''} of training"
        compared = bool(groups) and self.groups is not None
        looked_for = "equal patients, equal files and " if compared else "equal files and "
        looked_for += (
            f"pictures that differ in {self.most} or fewer of {self.bits} bits"
            if self.most >= 0
            else "no pictures that only look alike"
        )
        clean = not any((self.judged, against.stage) in found for against in known)
        text = (
            f"Checked: {judged} against {seen} {where};"
            f" {'nothing shared' if clean else 'what is shared stands above'} (looked for"
            f" {looked_for})."
        )
        if stages:
            text += f" Seen in: {'; '.join(against.described() for against in known)}."
        if not compared or len(groups) < len(known):
            text += " Where no column names the patients, they were not compared."
        if self.flat:
            text += f" {self.flat:,} image(s) of one grey were not compared."
        if silent:
            text += f" Not checked: what was seen in {', '.join(silent)}, which is not recorded."
        return text


def _number(images: int, groups: int | None) -> str:
    counts = {"image": images} | ({} if groups is None else {"patient": groups})
    return " and ".join(f"{n:,} {word}{'' if n == 1 else 's'}" for word, n in counts.items())


def _short(name: str) -> str:
    """What a set is called where the folders of this machine are nobody's business."""
    return PurePath(name).name if PurePath(name).is_absolute() else name
