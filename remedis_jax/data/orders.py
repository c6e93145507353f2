"""Which images stand in the batch of a step: pure functions of (seed, step)."""

import functools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from remedis_jax.data.cases import Cases


@functools.lru_cache(maxsize=4)
def _epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of 0..n-1, int32 [n], by the stable ranks of n random 64-bit numbers.

    numpy promises that SeedSequence and Philox never change, but not so for its permutations.
    grain's shuffle is not used: it takes milliseconds per index for fewer than 50 images and 0.1
    ms for 300, which is where label fractions lie, and it gives epoch e of seed s and epoch e - 1
    of seed s + 1 the same order.
    """
    bits = np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(n)
    return np.argsort(bits, kind="stable").astype(np.int32)


class Order:
    """Turns a step into the indices of its batch."""

    def __init__(self, n: int, batch_size: int, seed: int, mode: str):
        self.units = n
        self._batch_size = batch_size
        self._seed = seed
        # Positions in an epoch; in 'distinct' without the remainder that fills no batch.
        self._length = n - n % batch_size if mode == "distinct" else n

    def __call__(self, step: int) -> np.ndarray:
        start = step * self._batch_size
        epochs, places = np.divmod(np.arange(start, start + self._batch_size), self._length)
        return np.concatenate(
            [
                _epoch_order(self.units, self._seed, int(epoch))[places[epochs == epoch]]
                for epoch in np.unique(epochs)
            ]
        )


# Keeps the draws of images apart from those that order the cases.
_PAIRS = 0x7061697273


class CaseOrder:
    """Turns a step into the pairs of its batch: int64 [batch, 2]."""

    def __init__(self, cases: Sequence[str], batch_size: int, seed: int):
        # Hashed, so that only the distinct names are sorted; cases are numbered in their order.
        members, _ = pd.factorize(np.asarray(list(map(str, cases)), object), sort=True)
        self._counts = np.bincount(members)
        # Images of case c: self._images[self._starts[c] : self._starts[c] + self._counts[c]].
        self._images = np.argsort(members, kind="stable")
        self._starts = np.cumsum(self._counts) - self._counts
        self.units = len(self._counts)
        self._seed = seed
        self._cases = Order(self.units, batch_size, seed, "distinct")

    def __call__(self, step: int) -> np.ndarray:
        cases = self._cases(step)
        counts = self._counts[cases].astype(np.uint64)
        bits = np.random.Philox(np.random.SeedSequence([self._seed, step, _PAIRS]))
        # The remainder of a 64-bit number is uniform to one part in 2^60 for such counts.
        draws = bits.random_raw(2 * len(cases)).reshape(2, -1)
        first = draws[0] % counts
        # The second is one of the others, counted on from the first; for a case of one, itself.
        second = (first + 1 + draws[1] % np.maximum(counts - 1, 1)) % counts
        pairs = np.stack([first, second], axis=1).astype(np.int64)
        return self._images[self._starts[cases][:, None] + pairs]


class BalancedOrder:
    """Turns a step into the indices of its batch, every stratum equally often.

    Round r draws each of the K strata once, in an order of its own; from each the next of its
    members, whose shuffled epochs follow one another. So a rare class is seen as often as a common
    one and none of its members more often than another.

    Args:
        strata: int [n], the stratum of each unit.
        batch_size: Units in a batch.
        seed: Not negative.
    """

    def __init__(self, strata: np.ndarray, batch_size: int, seed: int):
        self.units = len(strata)
        self._members = [np.flatnonzero(strata == value) for value in np.unique(strata)]
        self._batch_size = batch_size
        self._seed = seed
        self._newest: dict[int, tuple[int, np.ndarray]] = {}

    def __call__(self, step: int) -> np.ndarray:
        count = len(self._members)
        start = step * self._batch_size
        places = range(start, start + self._batch_size)
        return np.array([self._at(*divmod(place, count)) for place in places], np.int64)

    def _at(self, turn: int, place: int) -> int:
        stratum = int(_epoch_order(len(self._members), _seed_of(self._seed, _TURNS), turn)[place])
        members = self._members[stratum]
        epoch, position = divmod(turn, len(members))
        # The newest order of each stratum is kept, whatever their number.
        known, order = self._newest.get(stratum, (None, None))
        if known != epoch:
            order = _epoch_order(len(members), _seed_of(self._seed, stratum), epoch)
            self._newest[stratum] = (epoch, order)
        return members[order[position]]


# Keep the draws of turns, of images of a bag, and of strata apart.
_TURNS = 0x7475726E73
_BAGS = 0x62616773


@functools.lru_cache(maxsize=4096)
def _seed_of(seed: int, part: int) -> int:
    """A seed of its own for each part, not negative."""
    return int(np.random.SeedSequence([seed, part]).generate_state(1, np.uint64)[0])


class BagOrder:
    """Turns a step into the images of its cases: int64 [batch, V], -1 where a place is empty.

    Of a case with more images than V, or with several of one view, other ones are drawn at each
    visit.

    Args:
        cases: The cases.
        order: From a step to the numbers of its cases [batch].
        seed: Not negative.
    """

    def __init__(self, cases: Cases, order: Order | BalancedOrder, seed: int):
        self.units = len(cases)
        self._cases = cases
        self._order = order
        self._seed = seed

    def __call__(self, step: int) -> np.ndarray:
        numbers = self._order(step)
        members = [self._cases.members(number) for number in numbers]
        bits = np.random.Philox(np.random.SeedSequence([self._seed, step, _BAGS]))
        draws = np.split(
            bits.random_raw(sum(map(len, members))), np.cumsum([len(m) for m in members])[:-1]
        )
        bags = np.full((len(numbers), self._cases.places), -1, np.int64)
        for bag, images, draw in zip(bags, members, draws, strict=True):
            shuffled = images[np.argsort(draw, kind="stable")]
            if self._cases.views is None:
                # In the order of the manifest, whichever were drawn.
                drawn = np.sort(shuffled[: len(bag)])
                bag[: len(drawn)] = drawn
            else:
                bag[self._cases.views[shuffled]] = shuffled
        return bags
