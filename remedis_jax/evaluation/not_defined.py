"""What stands where a number would be."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class NotDefined:
    """Stands where a number would be, and says why there is none."""

    reason: str

    def __str__(self) -> str:
        return f"not defined ({self.reason})"


NO_LABELS = NotDefined("no known labels")
