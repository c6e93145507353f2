"""What a label that is uncertain, or that nobody gave, is taken for.

A report may leave open whether a finding is there (CheXpert writes -1) or not mention it (an empty
cell). Irvin et al. 2019 (arXiv:1901.07031, section 3.1) compare what can be done about the former
and name it U-Ones, U-Zeros and U-Ignore; which is best differs from finding to finding, so that
every label may have a treatment of its own. Where nothing is said, such cells are errors: ours.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from remedis_jax.data.messages import did_you_mean
from remedis_jax.errors import UserError

# U-Ones, U-Zeros and U-Ignore are 'ones', 'zeros' and 'ignore'.
UNCERTAIN = ("error", "ones", "zeros", "ignore", "soft")
BLANK = ("error", "negative", "ignore")
_CHOICES = {"uncertain": UNCERTAIN, "blank": BLANK}
# Keys of a config's `data` section that hold a policy.
POLICY_KEYS = ("uncertain", "blank", "soft_value", "label_policy")


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What becomes of the cells of one label.

    Attributes:
        uncertain: What -1 is: 'error', 'ones' (1), 'zeros' (0), 'ignore' (unknown: no loss, no
            gradient, no score) or 'soft' (`soft_value`).
        blank: What an empty cell is: 'error', 'negative' (0) or 'ignore' (unknown).
        soft_value: Between 0 and 1; 0.5 is ours. A soft label is trained on and not scored.
    """

    uncertain: str = "error"
    blank: str = "error"
    soft_value: float = 0.5

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(
                    f"label policy: {name}={getattr(self, name)!r} is not possible.",
                    f"Choose one of {', '.join(choices)}.",
                )
        if not 0 <= self.soft_value <= 1:
            raise UserError(
                f"label policy: soft_value={self.soft_value} is no probability.",
                "Choose a number from 0 to 1.",
            )


@dataclasses.dataclass(frozen=True)
class LabelPolicy:
    """The treatment of every label.

    Attributes:
        usual: Of labels that have none of their own.
        own: By name of the label.
    """

    usual: Treatment = Treatment()
    own: Mapping[str, Treatment] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, data: ConfigDict | Mapping[str, Any]) -> "LabelPolicy":
        """Reads `uncertain`, `blank`, `soft_value` and `label_policy` of a `data` section.

        Raises:
            UserError: A value is not possible, or a label is given something else than these.
        """
        usual = Treatment(data["uncertain"], data["blank"], float(data["soft_value"]))
        by_label = data["label_policy"]
        if not isinstance(by_label, Mapping | ConfigDict):
            raise UserError(
                f"data.label_policy is {by_label!r}.", f"Write e.g. {_EXAMPLE_OF_A_CONFIG}."
            )
        own = {}
        for label, changes in by_label.items():
            if not isinstance(changes, Mapping | ConfigDict):
                raise UserError(
                    f"data.label_policy: {label!r} is given {changes!r}.",
                    f"Write e.g. {_EXAMPLE_OF_A_CONFIG}.",
                )
            for name in changes:
                _require_setting(name)
            own[label] = dataclasses.replace(usual, **_typed(dict(changes.items())))
        return cls(usual, own)

    def for_label(self, label: str) -> Treatment:
        """The treatment of one label."""
        return self.own.get(label, self.usual)

    def require_known(self, labels: Iterable[str]) -> None:
        """Refuses a policy that names a label which is none.

        Raises:
            UserError: It does, with the nearest label.
        """
        labels = list(labels)
        for name in self.own:
            if name not in labels:
                raise UserError(
                    f"label policy: there is no label {name!r}.{did_you_mean(name, labels)}",
                    f"The labels are {', '.join(map(repr, labels))}.",
                )


_EXAMPLE_OF_A_CONFIG = "{'Edema': {'uncertain': 'ones'}}"
_EXAMPLE = "uncertain=ignore,blank=negative,Edema:uncertain=ones"


def parse_policy(text: str) -> dict[str, Any]:
    """Reads the form of the command line, `uncertain=ignore,blank=negative,Edema:uncertain=ones`.

    Args:
        text: `[LABEL:]uncertain|blank|soft_value=VALUE`, separated by commas.

    Returns:
        The keys of a config's `data` section that it sets: among them those of `POLICY_KEYS`.

    Raises:
        UserError: A part is none of these, a value is not possible, or something is said twice.
    """
    values: dict[str, Any] = {}
    by_label: dict[str, dict[str, Any]] = {}
    for part in text.split(","):
        left, equals, value = part.strip().rpartition("=")
        label, colon, name = left.rpartition(":")
        if not equals or (colon and not label.strip()):
            raise UserError(
                f"label policy: {part.strip()!r} is no setting.", f"Write e.g. {_EXAMPLE}."
            )
        _require_setting(name.strip())
        target = by_label.setdefault(label.strip(), {}) if colon else values
        if name.strip() in target:
            raise UserError(f"label policy: {left.strip()!r} is set twice.", "Set it once.")
        target |= _typed({name.strip(): value.strip()})
    if by_label:
        values["label_policy"] = by_label
    # So that a value which is not possible is refused before anything else is done.
    LabelPolicy.of({"uncertain": "error", "blank": "error", "soft_value": 0.5, "label_policy": {}}
                   | values)  # fmt: skip
    return values


def _require_setting(name: str) -> None:
    known = [field.name for field in dataclasses.fields(Treatment)]
    if name not in known:
        raise UserError(
            f"label policy: there is no setting {name!r}.{did_you_mean(name, known)}",
            f"Write e.g. {_EXAMPLE}.",
        )


def _typed(changes: dict[str, Any]) -> dict[str, Any]:
    if "soft_value" not in changes:
        return changes
    try:
        return changes | {"soft_value": float(changes["soft_value"])}
    except (TypeError, ValueError):
        raise UserError(
            f"label policy: soft_value={changes['soft_value']!r} is no number.",
            "Choose a number from 0 to 1.",
        ) from None
