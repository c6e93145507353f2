"""One cell of the table of reproductions: what a figure shows, and what it would take."""

import dataclasses
from typing import Literal

from remedis_jax.errors import UserError

# "paper": a value of the paper itself, on the paper's own data. "stand-in": a run of this project
# on other data, which fills no cell of the paper, whatever comes out.
Kind = Literal["paper", "stand-in"]
# From the easiest to the hardest to come by. "generated": made by seed on the spot.
Access = Literal["generated", "public", "registration", "credentialed", "private", "never released"]
ACCESS: tuple[Access, ...] = (
    "generated", "public", "registration", "credentialed", "private", "never released",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Source:
    """Data or weights that a cell needs.

    Attributes:
        name: Of the data set or the weights.
        access: How hard it is to come by.
        how: What one does to have it.
        mark: How sure it is that the paper used it: one of `remedis_jax.tasks.task.MARKS`, or "" of
            a stand-in, whose data are what its config says.
    """

    name: str
    access: Access
    how: str
    mark: str = ""


@dataclasses.dataclass(frozen=True)
class Expected:
    """A value that a source which was read gives for a cell.

    Attributes:
        text: In the source's own unit, e.g. "1% to 33%".
        source: Where it stands.
    """

    text: str
    source: str


@dataclasses.dataclass(frozen=True)
class Cell:
    """A number, or a curve, and how it would be had.

    Attributes:
        id: E.g. "zero-shot-t3-r152x2-remedis".
        kind: Of the paper, or a stand-in.
        figure: Key of `experiments.reproductions.FIGURES`.
        what: In words, with the metric.
        task: "t1" to "t6", "phantom", or "" where it is of all or not known.
        arm: What is trained or compared, e.g. "remedis".
        model: Of the network, e.g. "r152x2".
        config: `FILE.py[:ARGUMENTS]` that runs it here, with the words that `commands` has; "" of
            what is computed from other cells.
        commands: What to run, in order; words in braces are filled in: {data}, {out}.
        needs: Files below the folder of the data without which `commands` cannot begin.
        sources: Data and weights.
        stand_in: The nearest pair of sites that this project has readers for.
        computed_from: Ids of the cells that it follows from, where it is nothing to run.
        expected: What a source that was read says of it, None if none was found.
        note: Why a cell is open, or what to look out for.
    """

    id: str
    kind: Kind
    figure: str
    what: str
    task: str
    arm: str
    model: str
    config: str
    commands: tuple[str, ...]
    needs: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    stand_in: str = ""
    computed_from: tuple[str, ...] = ()
    expected: Expected | None = None
    note: str = ""

    @property
    def access(self) -> Access:
        """That of the source which is hardest to come by."""
        return max((source.access for source in self.sources), key=ACCESS.index)

    @property
    def barrier(self) -> str:
        """Why public files alone do not fill the cell, in a few words; "" where they do."""
        hard = [source for source in self.sources if not is_public(source)]
        data = [a for a in ACCESS[:-1] if any(source.access == a for source in hard)]
        lost = dict.fromkeys(source.name for source in hard if source.access == ACCESS[-1])
        parts = [f"{' and '.join(data)} data"] if data else []
        return ", ".join([*parts, *(f"{name} never released" for name in lost)])


def is_public(source: Source) -> bool:
    """Whether anybody can have it at once."""
    return ACCESS.index(source.access) <= ACCESS.index("public")


def find_cell(cells: tuple[Cell, ...], cell_id: str) -> Cell:
    """A cell by its id.

    Raises:
        UserError: There is none, with the id that it resembles.
    """
    from remedis_jax.data.messages import did_you_mean

    for cell in cells:
        if cell.id == cell_id:
            return cell
    raise UserError(
        f"There is no cell {cell_id!r}.{did_you_mean(cell_id, [cell.id for cell in cells])}",
        "remedis reproduce --list names all of them.",
    )
