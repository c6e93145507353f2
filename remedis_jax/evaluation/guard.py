"""Before weights are judged: can every image be used, and has one of them been seen before?"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from remedis_jax.data.checking import groups_of, write_bad_images
from remedis_jax.data.fingerprints import NEAR_DUPLICATE_BITS
from remedis_jax.data.inspection import ImageFacts, inspect_images, unusable
from remedis_jax.data.leaks import LeakFindings, write_guard
from remedis_jax.data.manifest import Manifest
from remedis_jax.data.seen import compare
from remedis_jax.weights.artifact import Artifact
from remedis_jax.weights.contract import Contract

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Rules:
    """What is done about bad images and leaks; the fields of a config's `data` of these names."""

    namespace: str = ""
    near_duplicates: int = NEAR_DUPLICATE_BITS
    allow_leakage: bool = False
    redact: bool = False
    on_bad_image: str = "error"
    max_bad: float = 0.001

    @classmethod
    def of(cls, data: ConfigDict) -> "Rules":
        """From the `data` section of a config."""
        return cls(**{field.name: data[field.name] for field in dataclasses.fields(cls)})


@dataclasses.dataclass(frozen=True, eq=False)
class Guarded:
    """What was found in the rows that judge some weights.

    Attributes:
        facts: Of every image, those that cannot be used included.
        bad: Images that cannot be used and are left out.
        findings: What was compared and what is shared; nothing unless leakage is allowed.
        weights: The artefact's hash.
        redact: Whether ids and names stay out of what is written.
    """

    facts: tuple[ImageFacts, ...]
    bad: tuple[ImageFacts, ...]
    findings: LeakFindings
    weights: str
    redact: bool

    @property
    def skip(self) -> frozenset[str]:
        """Names of the images that are left out."""
        return frozenset(found.image for found in self.bad)

    def write(self, folder: Path) -> None:
        """Puts `leak_guard.json` and `bad_images.csv` into a folder."""
        write_bad_images(folder, self.bad)
        write_guard(folder, self.findings, weights=self.weights, redact=self.redact)


def guard(
    artifact: Artifact,
    rows: Manifest,
    rules: Rules,
    *,
    what: str = "the rows to evaluate",
    progress: Progress | None = None,
) -> Guarded:
    """Decodes every image once and looks for it among what the weights have seen.

    Args:
        artifact: The weights.
        rows: What is to judge them.
        rules: What is done about what is found.
        what: What the rows are called in messages.
        progress: Called with (done, total).

    Raises:
        UserError: Images that cannot be used, or that have been seen, unless `rules` allow it.
    """
    reading = Contract.from_json(artifact.card["preprocessing"]).reading
    facts = inspect_images(rows, reading, progress=progress)
    bad = unusable(rows, facts, rules.on_bad_image, rules.max_bad)
    findings = compare(
        artifact.seen, facts, groups_of(rows),
        namespace=rules.namespace, name=what, most=rules.near_duplicates,
    )  # fmt: skip
    if not rules.allow_leakage:
        findings.raise_if_any(redact=rules.redact)
    return Guarded(tuple(facts), tuple(bad), findings, artifact.sha256, rules.redact)
