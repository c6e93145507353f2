"""Losses of survival: Cox's partial likelihood, and the likelihood of hazards in discrete time.

Every example has a time and an event: 1 if it ended in the event (death) at that time, 0 if it was
last seen without it then (censored). Units of time are the user's; nothing here depends on them.
"""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from remedis_jax.errors import UserError

Ties = Literal["efron", "breslow"]


def cox_partial_likelihood(
    log_hazard: jax.Array,
    time: jax.Array,
    event: jax.Array,
    *,
    ties: Ties = "efron",
    strata: jax.Array | None = None,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Negative log partial likelihood in nats, divided by the number of events.

    The batch is a stratum of its own: an example is compared with those of the batch that are
    still at risk at its time, so the loss of a batch estimates that of the data with fewer at risk.
    Memory is B x B floats.

    Args:
        log_hazard: [B] float32, the log of the relative hazard.
        time: [B], of the event or of censoring.
        event: [B], 1 or True where the event was seen.
        ties: What is done where events share a time: "efron" (the default, as in the survival
            package of R) or "breslow".
        strata: [B] int; only examples of one stratum are compared. None for one stratum.
        valid: [B] bool, False for rows that only fill the batch. None where all count.

    Returns:
        float32 scalar; 0 with zero gradient if there is no event.

    Raises:
        ValueError: `ties` is unknown.

    References:
        Cox 1972 (J. R. Stat. Soc. B 34:187) and 1975; Breslow 1974 (Biometrics 30:89), and Efron
        1977 (J. Am. Stat. Assoc. 72:557), equations of the partial likelihood with ties.
    """
    if ties not in ("efron", "breslow"):
        raise ValueError(f"ties is {ties!r}, not 'efron' or 'breslow'")
    size = log_hazard.shape[0]
    counts = jnp.ones(size, bool) if valid is None else valid.astype(bool)
    dies = event.astype(bool) & counts
    # Inside, so that what stands in rows which do not count is in no gradient, NaN included.
    log_hazard = jnp.where(counts, log_hazard.astype(jnp.float32), 0.0)
    together = counts[:, None] & counts[None, :]
    if strata is not None:
        together &= strata[:, None] == strata[None, :]
    at_risk = together & (time[None, :] >= time[:, None])
    weights = jnp.ones((size, size), jnp.float32)
    if ties == "efron":
        # The l-th of d events at one time (l from 0) has a share l/d of their hazard taken away.
        tied = together & (time[None, :] == time[:, None]) & dies[:, None] & dies[None, :]
        before = jnp.tril(tied, -1).sum(axis=1).astype(jnp.float32)
        share = before / jnp.maximum(tied.sum(axis=1), 1).astype(jnp.float32)
        weights = jnp.where(tied, 1.0 - share[:, None], 1.0)
    # Every row holds itself, so that none is empty; those that do not count are left out below.
    at_risk |= jnp.eye(size, dtype=bool)
    terms = jnp.where(at_risk, log_hazard[None, :] + jnp.log(weights), -jnp.inf)
    losses = jax.nn.logsumexp(terms, axis=1) - log_hazard
    return jnp.where(dies, losses, 0.0).sum() / jnp.maximum(dies.sum(), 1)


def require_intervals(edges: Sequence[float]) -> tuple[float, ...]:
    """The ends of the intervals, as floats.

    Raises:
        UserError: There is none, or they are not finite, above 0 and ascending.
    """
    ends = tuple(float(edge) for edge in edges)
    ascending = all(a < b for a, b in zip((0.0, *ends), ends, strict=False))
    if not ends or not ascending or not all(map(math.isfinite, ends)):
        raise UserError(
            f"objective.intervals is {ends}, not one or more times above 0 in ascending order.",
            "Give the ends of the intervals in the unit of the time column, for example 1,2,3,4,5.",
        )
    return ends


def interval_of_horizon(edges: Sequence[float], horizon: float) -> int:
    """Which interval ends at the horizon, from 0.

    Raises:
        UserError: None does.
    """
    ends = require_intervals(edges)
    if float(horizon) not in ends:
        raise UserError(
            f"objective.horizon is {float(horizon):g}, which is no end of objective.intervals"
            f" ({', '.join(f'{end:g}' for end in ends)}).",
            "Add it to the intervals, or choose one of their ends.",
        )
    return ends.index(float(horizon))


def discrete_time_likelihood(
    logits: jax.Array,
    time: jax.Array,
    event: jax.Array,
    edges: Sequence[float],
    *,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Negative log likelihood in nats of logistic hazards, meaned over the examples that say any.

    Interval k is (edges[k-1], edges[k]], the first from 0 on; its hazard is the probability of the
    event in it for those who reach it. An event after the last edge has survived all intervals. A
    censored example counts the intervals that end at its time or before (at one time, events come
    before censoring: Kaplan and Meier's convention); one that is censored within the first
    interval says nothing and has no part.

    The censored cross-entropy over discretised time of Wulczyn et al. (2020, PLOS ONE 15:e0233678;
    2021, npj Digit. Med. 4:71) is this likelihood with the probabilities of the intervals, h_k
    times the product of the earlier 1 - h_j, as its parameters in place of the hazards.

    Args:
        logits: [B, K] float32, the logits of the hazards.
        time: [B], in the unit of `edges`.
        event: [B], 1 or True where the event was seen.
        edges: K ends of intervals, ascending.
        valid: [B] bool, False for rows that only fill the batch. None where all count.

    Returns:
        float32 scalar; 0 with zero gradient if no example says anything.

    Raises:
        UserError: The edges are not ascending times.
        ValueError: There are not K of them.

    References:
        Brown 1975 (Biometrics 31:863); Singer and Willett 1993 (J. Educ. Stat. 18:155); with
        networks Gensheimer and Narasimhan 2019 (PeerJ 7:e6257).
    """
    ends = require_intervals(edges)
    if logits.shape[1] != len(ends):
        raise ValueError(f"{logits.shape[1]} logits for {len(ends)} intervals")
    counts = jnp.ones(logits.shape[0], bool) if valid is None else valid.astype(bool)
    dies = event.astype(bool)
    time = time.astype(jnp.float32)[:, None]
    ends = jnp.asarray(ends, jnp.float32)[None, :]
    starts = jnp.concatenate([jnp.full((1, 1), -jnp.inf), ends[:, :-1]], axis=1)
    died = dies[:, None] & (starts < time) & (time <= ends)
    # One who dies has survived the intervals before his own, which end before his time.
    survived = jnp.where(dies[:, None], ends < time, ends <= time)
    said = counts[:, None] & (died | survived)
    logits = jnp.where(said, logits.astype(jnp.float32), 0.0)
    losses = -jnp.where(died, jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits))
    examples = said.any(axis=1).sum()
    return jnp.where(said, losses, 0.0).sum() / jnp.maximum(examples, 1)


def survival_curve(logits: jax.Array) -> jax.Array:
    """Probability to live beyond the end of each interval, from the logits of the hazards.

    Args:
        logits: [B, K] float32.

    Returns:
        [B, K] float32, the product of 1 - h_j over the intervals up to k.
    """
    return jnp.exp(_log_survival(logits))


def risk_at(logits: jax.Array, edges: Sequence[float], horizon: float) -> jax.Array:
    """Probability of the event up to the horizon, 1 - S(horizon).

    Args:
        logits: [B, K] float32, of the hazards.
        edges: K ends of intervals.
        horizon: One of them.

    Returns:
        [B] float32.

    Raises:
        UserError: The horizon is no end of an interval.
    """
    # expm1 keeps the digits of small risks.
    return -jnp.expm1(_log_survival(logits)[:, interval_of_horizon(edges, horizon)])


def _log_survival(logits: jax.Array) -> jax.Array:
    return jnp.cumsum(jax.nn.log_sigmoid(-logits.astype(jnp.float32)), axis=1)
