"""From the Ritz values of several probes to one law: outliers apart, nodes spread over their cells.

A Gauss node stands for all the eigenvalues near it, so a staircase of nodes is off by half a node's
weight. A node that has not converged is therefore spread evenly, in log lam, over its cell (between
the mid-points of the cumulative weights); one that has is an eigenvalue or an atom and stays put.
"""

import dataclasses

import numpy as np
import torch

from isometry._typing import Float
from isometry.nn.spectrum.lanczos import Bidiagonalisation, RitzValues

PIECES = 16
"""Values an unconverged node is spread into."""
SPREAD = 3.0
"""Values a node must stand for to be spread: fewer may be an outlier on its way, far from the next
node, which spreading would draw out over the gap."""
CONVERGED = 1e-3
"""A Ritz value has converged when its residual is this part of the gap to the next."""
HIDDEN = 2e-3
"""Weight below half the lowest node's s that may stay unseen where the lower edge is resolved."""
CELL = 9.0
"""Ratio in lam (a factor 3 in s) of the nodes around one that counts as resolved."""

NEGLIGIBLE = 1e-14
"""A node of less weight is a copy that rounding made."""


@dataclasses.dataclass(frozen=True)
class Quadrature:
    """Values of lam, their weights, the standard error of the cdf, the outliers and the coarseness.

    ``coarseness`` is the largest weight of a node that has not converged: about twice the error a
    cdf can have from too few products. ``unresolved`` is the range of levels of the cdf whose
    values are not told apart; equal ends mean none. ``heavy`` inputs were measured apart.
    """

    values: Float[np.ndarray, "n"]
    weights: Float[np.ndarray, "n"]
    standard_error: Float[np.ndarray, "n"] | None
    separated: int
    coarseness: float
    unresolved: tuple[float, float]
    probes: int
    size: int
    heavy: int = 0


def converged(ritz: RitzValues) -> np.ndarray:
    """Return which Ritz values are eigenvalues of ``A.T A``, a boolean array (probes, steps)."""
    lam = ritz.theta**2
    gap = np.full_like(lam, np.inf)
    step = np.abs(np.diff(lam, axis=1))
    gap[:, :-1] = step
    gap[:, 1:] = np.minimum(gap[:, 1:], step)
    return (ritz.theta * ritz.residuals <= CONVERGED * gap) | (ritz.theta == 0)


def count_shared(bidiagonal: Bidiagonalisation, ritz: RitzValues) -> int:
    """Return how many of the first Ritz values are one and the same simple eigenvalue each.

    Probes know nothing of each other, so vectors that agree are an eigenvector; the values then
    agree to the square of what the vectors differ by, converged or not.
    """
    basis, (probes, steps) = bidiagonal.basis, ritz.theta.shape
    if basis is None or probes < 2:
        return 0
    for k in range(steps):
        if ritz.theta[:, k].min() <= 0:
            return k
        mix = torch.as_tensor(ritz.right[:, k].copy(), dtype=basis.dtype, device=basis.device)
        vectors = torch.bmm(mix.unsqueeze(1), basis).squeeze(1)
        if float((vectors @ vectors[0]).abs().min()) < 0.99:
            return k
    return steps


def unresolved_levels(
    ritz: RitzValues, done: np.ndarray, hidden: float = HIDDEN
) -> tuple[float, float]:
    """Return the levels of the cdf between which the values are not told apart.

    The inequalities of Chebyshev, Markov and Stieltjes bound what a spectrum with these Gauss
    nodes can hide: at most the Christoffel function's weight at a point below all nodes, and
    around a node no more than the nodes next to it allow. The lower edge is resolved if hardly
    any weight fits anywhere below half the lowest s; otherwise the unresolved part ends at the
    first node that has converged or whose neighbours are within a factor 3 in s.
    """
    rows = zip(ritz.theta, ritz.weights, ritz.right, done, strict=True)
    levels = np.array([_unresolved(*row, hidden) for row in rows])
    ended = (ritz.residuals == 0).all(axis=1)  # the nodes are all that the start has a part in
    levels[ended, 1] = levels[ended, 0]
    low, high = np.mean(levels, axis=0)
    return (float(low), float(high)) if high > low else (0.0, 0.0)


def _unresolved(
    theta: np.ndarray, weights: np.ndarray, right: np.ndarray, done: np.ndarray, hidden: float
) -> tuple[float, float]:
    """Return the levels for one probe, whose ``theta`` comes descending."""
    zero = float(weights[theta == 0].sum())
    kept = np.flatnonzero((theta > 0) & (weights > NEGLIGIBLE))[::-1]
    if not len(kept):
        return zero, zero
    lam = theta**2
    below = lam[kept[0]] * 4.0 ** -np.arange(1, 5)
    if christoffel(lam, right[:, 0], right[:, -1], below).max() <= hidden:
        return zero, zero
    level = zero
    for i, j in enumerate(kept):
        inside = 0 < i < len(kept) - 1 and lam[kept[i + 1]] < CELL * lam[kept[i - 1]]
        if inside or (i > 0 and done[j]):
            break
        level += float(weights[j])
    return zero, level


def christoffel(lam: np.ndarray, first: np.ndarray, last: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the largest weight that a measure with these Gauss nodes can have at a point.

    The vector of orthonormal polynomials at x is ``(T - x)^-1`` of the last unit vector up to a
    factor; with the eigenvectors' first and last components it needs no polynomial, which would
    overflow outside the support.
    """
    shifted = 1.0 / (lam - at[:, None])
    top = (first * last * shifted).sum(axis=1) ** 2
    return top / ((last * shifted) ** 2).sum(axis=1)


def _spread(
    theta: np.ndarray, weights: np.ndarray, done: np.ndarray, size: int
) -> tuple[np.ndarray, ...]:
    """Return the values and weights of one probe, ascending; ``theta`` comes descending."""
    done = done | (weights * size < SPREAD)
    kept = np.flatnonzero(weights > NEGLIGIBLE)[::-1]
    theta, weights, done = theta[kept], weights[kept], done[kept]
    pieces_values, pieces_weights = [theta[:0]], [weights[:0]]
    edges = np.flatnonzero(np.diff(done.astype(int))) + 1
    for part in np.split(np.arange(len(theta)), edges) if len(theta) else ():
        s, w = theta[part], weights[part]
        if done[part[0]]:
            pieces_values.append(s)
            pieces_weights.append(w)
            continue
        top = np.cumsum(w)
        inside = (np.arange(PIECES) + 0.5) / PIECES
        at = ((top - w)[:, None] + w[:, None] * inside).ravel()
        pieces_values.append(np.exp(np.interp(at, top - w / 2, np.log(s))))
        pieces_weights.append(np.repeat(w / PIECES, PIECES))
    return np.concatenate(pieces_values) ** 2, np.concatenate(pieces_weights)


def combine(
    bidiagonal: Bidiagonalisation, ritz: RitzValues, size: int, share: float = 1.0
) -> Quadrature:
    """Average the probes into one law of the ``size`` values of lam, a share of all there are.

    The largest and the smallest values all probes agree on become nodes of weight 1/size each,
    exactly; the rest of every probe shares what is left.
    """
    done = converged(ritz)
    steps = ritz.theta.shape[1]
    above = count_shared(bidiagonal, ritz)
    below = min(count_shared(bidiagonal, _reversed(ritz)), steps - above)
    inner = slice(above, steps - below)
    outer = ritz.theta[:, :above].max(axis=0), ritz.theta[:, steps - below :].min(axis=0)
    shared = np.concatenate(outer) ** 2  # the outermost: Ritz values lie inside the spectrum
    rest = ritz.weights[:, inner]
    total = rest.sum(axis=1, keepdims=True)
    rest = rest * (1 - len(shared) / size) / np.where(total > 0, total, 1.0)
    rows = zip(ritz.theta[:, inner], rest, done[:, inner], strict=True)
    probes = [_spread(*row, size) for row in rows]
    values = np.concatenate([shared, *(v for v, _ in probes)])
    weights = np.concatenate(
        [np.full(len(shared), 1 / size), *(w / len(probes) for _, w in probes)]
    )
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    return Quadrature(
        values=values,
        weights=weights / weights.sum(),
        standard_error=_standard_error(probes, values),
        separated=len(shared),
        coarseness=float(np.max(np.where(done[:, inner], 0.0, rest).mean(axis=0), initial=0.0)),
        unresolved=unresolved_levels(ritz, done, HIDDEN / share),
        probes=len(probes),
        size=size,
    )


def with_rank(found: Quadrature, rank: int) -> Quadrature:
    """Return the law in which all but ``rank`` of the values are known to be zero.

    The lowest part of the levels are these zeros: what Lanczos takes for small values there is
    the same weight, not told apart from 0.
    """
    share = 1 - rank / found.size
    if share <= 0:
        return found
    levels = np.cumsum(found.weights)
    first = min(int(np.searchsorted(levels, share, side="right")), len(levels) - 1)
    left = levels[first] - share
    error = found.standard_error
    low, high = found.unresolved
    return dataclasses.replace(
        found,
        values=np.concatenate([[0.0], found.values[first:]]),
        weights=np.concatenate([[share], [left], found.weights[first + 1 :]]),
        standard_error=None if error is None else np.concatenate([[0.0], error[first:]]),
        unresolved=(max(low, share), high) if high > max(low, share) else (0.0, 0.0),
    )


def joined(light: Quadrature, heavy: Quadrature) -> Quadrature:
    """Return the law of the values of two sets of inputs that were measured apart.

    The heavy ones are so few that what is known of the others holds for the whole.
    """
    size = light.size + heavy.size
    share = light.size / size
    values = np.concatenate([light.values, heavy.values])
    weights = np.concatenate([share * light.weights, (1 - share) * heavy.weights])
    order = np.argsort(values, kind="stable")
    error, (low, high) = light.standard_error, light.unresolved
    if error is not None:
        place = np.searchsorted(light.values, values, side="right")
        error = share * np.concatenate([[0.0], error])[place][order]
    if high > low:
        first = int(np.searchsorted(np.cumsum(light.weights), high))
        below = heavy.weights[heavy.values < light.values[min(first, len(light.values) - 1)]].sum()
        low, high = share * low, share * high + (1 - share) * float(below)
    return dataclasses.replace(
        light,
        values=values[order],
        weights=weights[order],
        standard_error=error,
        coarseness=share * light.coarseness,
        unresolved=(low, high),
        size=size,
        heavy=heavy.size,
    )


def _reversed(ritz: RitzValues) -> RitzValues:
    """Return the Ritz values ascending."""
    return RitzValues(
        ritz.theta[:, ::-1], ritz.weights[:, ::-1], ritz.residuals[:, ::-1], ritz.right[:, ::-1]
    )


def _standard_error(
    probes: list[tuple[np.ndarray, ...]], at: np.ndarray
) -> Float[np.ndarray, "n"] | None:
    """Return the standard error over probes of the cdf at ``at``; one probe knows none."""
    if len(probes) < 2:
        return None
    cdfs = []
    for values, weights in probes:
        steps = np.concatenate([[0.0], np.cumsum(weights)])
        cdfs.append(steps[np.searchsorted(values, at, side="right")])
    return np.std(cdfs, axis=0, ddof=1) / np.sqrt(len(probes))
