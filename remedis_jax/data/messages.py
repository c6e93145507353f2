"""How this room words what is wrong: the near miss, and the first few of many."""

import difflib
from collections.abc import Iterable, Sequence

SHOWN = 5


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns ``" Did you mean 'x'?"``, or an empty string where nothing in `known` is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    if not near:
        # difflib compares case by case: 'Label' and 'LABEL' are not near to it.
        near = [other for other in known if other.strip().lower() == name.strip().lower()]
    return f" Did you mean {near[0]!r}?" if near else ""


def first_few(items: Sequence[str], separator: str = ", ") -> str:
    """Joins the first five of `items` and says how many more there are."""
    shown = separator.join(items[:SHOWN])
    more = len(items) - SHOWN
    return shown if more <= 0 else f"{shown}{separator}and {more:,} more"
