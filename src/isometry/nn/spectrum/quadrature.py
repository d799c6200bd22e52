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
CONVERGED = 1e-3
"""A Ritz value has converged when its residual is this part of the gap to the next."""

NEGLIGIBLE = 1e-14
"""A node of less weight is a copy that rounding made."""


@dataclasses.dataclass(frozen=True)
class Quadrature:
    """Values of lam, their weights, the standard error of the cdf, the outliers and the coarseness.

    ``coarseness`` is the largest weight of a node that has not converged: about twice the error a
    cdf can have from too few products.
    """

    values: Float[np.ndarray, "n"]
    weights: Float[np.ndarray, "n"]
    standard_error: Float[np.ndarray, "n"] | None
    separated: int
    coarseness: float


def converged(ritz: RitzValues) -> np.ndarray:
    """Return which Ritz values are eigenvalues of ``A.T A``, a boolean array (probes, steps)."""
    lam = ritz.theta**2
    gap = np.full_like(lam, np.inf)
    step = np.abs(np.diff(lam, axis=1))
    gap[:, :-1] = step
    gap[:, 1:] = np.minimum(gap[:, 1:], step)
    return (ritz.theta * ritz.residuals <= CONVERGED * gap) | (ritz.theta == 0)


def count_outliers(bidiagonal: Bidiagonalisation, ritz: RitzValues, done: np.ndarray) -> int:
    """Return how many of the largest Ritz values are one and the same simple eigenvalue."""
    basis, (probes, steps) = bidiagonal.basis, ritz.theta.shape
    if basis is None or probes < 2:
        return 0
    for k in range(steps):
        if not done[:, k].all() or ritz.theta[:, k].min() <= 0:
            return k
        mix = torch.as_tensor(ritz.right[:, k], dtype=basis.dtype, device=basis.device)
        vectors = torch.bmm(mix.unsqueeze(1), basis).squeeze(1)
        if float((vectors @ vectors[0]).abs().min()) < 0.99:
            return k
    return steps


def _spread(theta: np.ndarray, weights: np.ndarray, done: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the values and weights of one probe, ascending; ``theta`` comes descending."""
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


def combine(bidiagonal: Bidiagonalisation, ritz: RitzValues, size: int) -> Quadrature:
    """Average the probes into one law of the ``size`` values of lam.

    The largest values all probes agree on become nodes of weight 1/size each, exactly; the rest
    of every probe shares what is left.
    """
    done = converged(ritz)
    k = count_outliers(bidiagonal, ritz, done)
    rest = ritz.weights[:, k:]
    rest = rest / rest.sum(axis=1, keepdims=True) * (1 - k / size)
    probes = [_spread(*row) for row in zip(ritz.theta[:, k:], rest, done[:, k:], strict=True)]
    outliers = np.mean(ritz.theta[:, :k], axis=0) ** 2
    values = np.concatenate([outliers, *(v for v, _ in probes)])
    weights = np.concatenate([np.full(k, 1 / size), *(w / len(probes) for _, w in probes)])
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    return Quadrature(
        values=values,
        weights=weights,
        standard_error=_standard_error(probes, values),
        separated=k,
        coarseness=float(np.max(np.where(done[:, k:], 0.0, rest).mean(axis=0), initial=0.0)),
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
