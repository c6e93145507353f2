"""How well a risk ranks those who have an event, and when: concordance, and AUROC at a horizon.

Both are written for many sets of weights at once, so that a bootstrap costs a few cumulative sums;
the point value is that of weights of one.
"""

import numpy as np

from remedis_jax.evaluation.not_defined import NO_LABELS, NotDefined
from remedis_jax.evaluation.ranks import OfWeights, divide, pairs_above, sorted_ties


def concordance(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray
) -> float | NotDefined:
    """Share of the comparable pairs in which who had the event first has the higher risk.

    Of a pair it must be known who had the event first: one had it, and the other was still without
    it then (at one time, events come before censoring; two events at one time are no pair). Ties in
    risk count one half.

    Args:
        time: float64 [N], of the event or of censoring.
        event: [N], 1 or True where the event was seen.
        risk: float64 [N], the larger the sooner.

    Returns:
        In [0, 1], or why there is no value.

    References:
        Harrell et al. 1982 (JAMA 247:2543) and 1996 (Stat. Med. 15:361).
    """
    event = np.asarray(event, bool)
    value = concordance_of_weights(time, event, risk)(np.ones((1, len(time))))[0]
    if np.isnan(value):
        if not len(time):
            return NO_LABELS
        return NotDefined(f"no comparable pair, n={len(time):,} with {event.sum():,} events")
    return float(value)


def time_dependent_auroc(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, horizon: float
) -> float | NotDefined:
    """AUROC of who has the event up to the horizon against who is followed beyond it without.

    Cumulative cases, dynamic controls. Who is censored before the horizon is neither; cases stand
    for them by the inverse probability that they were not censored before (Kaplan-Meier estimate
    of the censoring of these very examples). Ties in risk count one half.

    Args:
        time: float64 [N], of the event or of censoring.
        event: [N], 1 or True where the event was seen.
        risk: float64 [N], the larger the sooner.
        horizon: In the unit of the times.

    Returns:
        In [0, 1], or why there is no value.

    References:
        Uno et al. 2007 (J. Am. Stat. Assoc. 102:527); Hung and Chiang 2010 (Can. J. Stat. 38:8).
    """
    event = np.asarray(event, bool)
    n = f"n={len(time):,} with {event.sum():,} events"
    if not len(time):
        return NO_LABELS
    if not (event & (time <= horizon)).any():
        return NotDefined(f"no event up to {horizon:g}, {n}")
    if not (time > horizon).any():
        return NotDefined(f"nobody followed beyond {horizon:g}, {n}")
    values = auroc_of_weights_at(time, event, risk, horizon)
    return float(values(np.ones((1, len(time))))[0])


def auroc_of_weights_at(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, horizon: float
) -> OfWeights:
    """`time_dependent_auroc` as a function of weights [R, N] >= 0 that returns float64 [R].

    The probability of censoring is estimated anew for each set of weights; NaN without a case or
    without a control.
    """
    pairs = pairs_above(risk)
    uncensored = _uncensored_of_weights(time, event)
    cases, controls = event & (time <= horizon), time > horizon

    def values(weights: np.ndarray) -> np.ndarray:
        chance = uncensored(weights)
        # It is 0 only where nobody is left beyond, and then there is no control either.
        of_cases = np.divide(
            weights * cases, chance, out=np.zeros_like(weights), where=chance > 0
        )
        of_controls = weights * controls
        return divide(
            pairs(of_cases, of_controls), of_cases.sum(axis=1) * of_controls.sum(axis=1)
        )

    return values


def concordance_of_weights(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> OfWeights:
    """`concordance` as a function of weights [R, N] >= 0 that returns float64 [R].

    Pairs are counted by halving: in order of time, the events of the first half of every block of
    2, 4, 8, ... are compared with the second half by one sort of the block. So N examples cost
    N log N and no N x N matrix. NaN without a comparable pair.
    """
    event = np.asarray(event, bool)
    # Events before those who are censored at the same time, which they are compared with.
    order = np.lexsort((~event, time))
    time, event, risk = time[order], event[order], risk[order]
    # Events of one time are not compared with each other: they are one unit, in no two halves.
    same = np.r_[False, (time[1:] == time[:-1]) & event[1:] & event[:-1]] if len(time) else []
    unit = np.cumsum(~np.asarray(same, bool)) - 1
    levels = [
        _halves(unit, risk, size)
        for size in (1 << level for level in range(int(unit.max(initial=0)).bit_length()))
    ]
    last_of_unit = np.searchsorted(unit, unit, side="right") - 1

    def values(weights: np.ndarray) -> np.ndarray:
        weights = weights[:, order]
        dying = weights * event
        up_to = np.cumsum(weights, axis=1)
        # All that come after the last of one's own unit.
        comparable = np.einsum("rn,rn->r", dying, up_to[:, -1:] - up_to[:, last_of_unit])
        concordant = np.zeros(len(weights))
        for by_risk, starts, is_first, block_start in levels:
            sorted_weights = weights[:, by_risk]
            first = np.add.reduceat(dying[:, by_risk] * is_first, starts, axis=1)
            second = np.add.reduceat(sorted_weights * ~is_first, starts, axis=1)
            below = np.cumsum(second, axis=1)
            # Less what the blocks before hold.
            before = np.concatenate([np.zeros((len(weights), 1)), below], axis=1)[:, block_start]
            concordant += np.einsum("rn,rn->r", first, below - 0.5 * second - before)
        return divide(concordant, comparable)

    return values


def _halves(
    unit: np.ndarray, risk: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """How to compare the first `size` units of every block of twice as many with the others.

    Returns:
        An order by block and risk; where in it the runs of equal risk start; which of them, in that
        order, are in a first half; and of every run the number of runs before its block.
    """
    block = unit // (2 * size)
    order = np.lexsort((risk, block))
    block, ranked = block[order], risk[order]
    new_block = np.r_[True, block[1:] != block[:-1]]
    starts = np.flatnonzero(new_block | np.r_[True, ranked[1:] != ranked[:-1]])
    block_start = np.flatnonzero(new_block[starts])
    runs = np.diff(np.r_[block_start, len(starts)])
    return order, starts, (unit[order] // size) % 2 == 0, np.repeat(block_start, runs)


def _uncensored_of_weights(time: np.ndarray, event: np.ndarray) -> OfWeights:
    """Kaplan-Meier estimate of not being censored up to each one's time: [R, N] of [R, N].

    At one time events come before censoring, so they are no longer at risk of it.
    """
    order, starts = sorted_ties(time)
    of_time = np.empty(len(time), np.int64)
    runs = np.diff(np.r_[starts, len(time)])
    of_time[order] = np.repeat(np.arange(len(starts)), runs)

    def values(weights: np.ndarray) -> np.ndarray:
        weights = weights[:, order]
        every = np.add.reduceat(weights, starts, axis=1)
        events = np.add.reduceat(weights * event[order], starts, axis=1)
        # Summed from the end: what is left at risk is then exact, for whole numbers.
        at_risk = np.cumsum(every[:, ::-1], axis=1)[:, ::-1] - events
        leaving = np.divide(
            every - events, at_risk, out=np.zeros_like(every), where=at_risk > 0
        )
        return np.cumprod(1 - leaving, axis=1)[:, of_time]

    return values


def kaplan_meier(time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The estimate of living beyond each time without an event.

    Args:
        time: float64 [N], N at least 1.
        event: [N], 1 or True where the event was seen.

    Returns:
        The distinct times, ascending, float64 [M], and the probability beyond each, float64 [M].

    References:
        Kaplan and Meier 1958 (J. Am. Stat. Assoc. 53:457).
    """
    times, of_time = np.unique(time, return_inverse=True)
    every = np.bincount(of_time)
    at_risk = every[::-1].cumsum()[::-1]
    dying = np.bincount(of_time, weights=np.asarray(event, np.float64))
    return times, np.cumprod(1 - dying / at_risk)
