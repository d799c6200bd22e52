"""The law of lam at finite depth: exact at infinite width, for any distribution of slopes.

The Jacobian is a product of free layers ``D W + a``; the law's S-transform is the product of
theirs: (30) to (33) of docs/theory.md. No limit in depth is taken.
"""

import dataclasses
import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from isometry._checks import check_array, check_real
from isometry._typing import Checked, FloatArray, Real, Reals
from isometry.errors import ConvergenceError
from isometry.theory.laws.arguments import TINY, ComplexArray
from isometry.theory.laws.free_product import resolvent
from isometry.theory.laws.intervals import held
from isometry.theory.laws.layers import Layers
from isometry.theory.laws.mixture import Mixture
from isometry.theory.laws.point_mass import PointMass
from isometry.theory.laws.tables import Tables
from isometry.theory.laws.tabulated_law import TabulatedLaw
from isometry.theory.laws.universal import UniversalLaw

NARROW = 3e-6
"""Distance of the universal law, at most ``sqrt(c) / depth``, at which it stands in for tables."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FiniteDepthLaw(TabulatedLaw):
    """The law of lam = s^2 for a finite product of free layers ``D W + skip``.

    Args:
        d: Entries of ``D^2`` times N times the variance of an entry of ``W`` (a variance), >= 0, of
            shape ``(depth, n)``: row l lists the values layer l takes.
        weights: Their probabilities, of shape ``(n,)`` for all layers or ``(depth, n)``; each row
            sums to 1.
        skip: The multiple of the identity in every layer; its sign does not matter.

    Raises:
        TypeError: If an argument is not numeric.
        ValueError: If a shape is wrong, a value negative or not finite, a row of weights does not
            sum to 1, or the product is zero.
        ConvergenceError: From every method but the mean, if the density could not be computed to
            1e-8 (1e-5 where the support is several intervals); it is never returned on a wrong
            branch. One that all but diverges inside is refused, as with a share of one layer's
            units dead that is half within 5e-4 but not within 5e-8.

    Notes:
        Solved on the real axis, mostly at 96 points, then read from tables. Equal layers cost as
        much as one. At lam = 0 the density may diverge (an edge at ``-inf`` in log lam), and at
        ``skip^(2 depth)`` where just half of one layer's units are dead. Where the
        support is too narrow to be solved (c below about 1e-8) the tables are those of the
        universal law, which is then within 3e-6.

        The layers of a network share the axes of their ``D``, which free layers do not. Measured on
        one draw of width 1600, two layers: Kolmogorov-Smirnov distance 0.003 to 0.005 with half of
        the units of either dead (0.002 with axes of their own), 0.05 with three quarters.

    Examples:
        >>> law = FiniteDepthLaw.ginibre([0.2] * 5)
        >>> [round(float(x), 3) for x in (*law.support(), law.mean())]
        [0.03, 14.906, 2.488]
    """

    d: Checked[FloatArray]
    weights: Checked[FloatArray]
    skip: Checked[float] = 1.0

    if TYPE_CHECKING:

        def __init__(self, d: Reals, weights: Reals, skip: Real = 1.0) -> None: ...

    def __post_init__(self) -> None:
        d = check_array("d", self.d, minimum=0.0)
        if d.ndim != 2 or d.size == 0 or not np.isfinite(d).all():
            raise ValueError(
                f"`d` has shape {d.shape} and maximum {d.max(initial=0.0):g}; expected finite "
                "numbers of shape (depth, n)."
            )
        weights = check_array("weights", self.weights, minimum=0.0)
        if weights.shape not in (d.shape, d.shape[1:]):
            raise ValueError(
                f"`weights` has shape {weights.shape}; expected {d.shape} or {d.shape[1:]}."
            )
        weights = np.broadcast_to(weights, d.shape)
        total = weights.sum(axis=1)
        if not (np.abs(total - 1.0) < 1e-6).all():
            worst = total[np.abs(total - 1.0).argmax()]
            raise ValueError(f"`weights` has a row that sums to {worst:g}; expected 1.")
        skip = check_real("skip", self.skip)
        if skip == 0.0 and not (weights * d).sum(axis=1).all():
            raise ValueError("`d` is 0 in a whole layer; expected a positive value as `skip` is 0.")
        weights = weights / total[:, None]
        for array in (d, weights):
            array.setflags(write=False)
        object.__setattr__(self, "d", d)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "skip", skip)

    @classmethod
    def ginibre(cls, s: Reals, *, skip: Real = 1.0) -> "FiniteDepthLaw":
        """Return the law of layers ``X + skip`` with X Gaussian and free.

        Args:
            s: The mean of ``X X^T`` (a variance times the width) of each layer, >= 0, one number
                per layer.
            skip: The multiple of the identity in every layer.

        Raises:
            TypeError: If an argument is not numeric.
            ValueError: If ``s`` is not a non-empty vector of numbers >= 0.
        """
        s = check_array("s", s, minimum=0.0)
        if s.ndim != 1 or s.size == 0:
            raise ValueError(f"`s` has shape {s.shape}; expected (depth,), a number per layer.")
        return cls(s[:, None], np.ones(1), skip)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FiniteDepthLaw) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return self.d.shape, self.d.tobytes(), self.weights.tobytes(), self.skip

    def __repr__(self) -> str:
        if self.d.size > 64:
            depth, n = self.d.shape
            return f"<FiniteDepthLaw: depth={depth}, n={n}, skip={self.skip}>"
        weights = self.weights[:1] if (self.weights == self.weights[0]).all() else self.weights
        weights = weights[0] if len(weights) == 1 else weights
        return f"FiniteDepthLaw(d={self.d.tolist()}, weights={weights.tolist()}, skip={self.skip})"

    def _atom(self) -> float:
        return float(_group(self).atom.max())

    def _held(self) -> Tables | PointMass | Mixture:
        return _held(self)

    def _log_moment(self, n: float) -> float:
        """Return the logarithm of the mean, a product over layers; other orders by quadrature."""
        return _group(self).log_mean() if n == 1.0 else self._integrated_moment(n)

    def _s_formula(self, w: ComplexArray) -> ComplexArray:
        floor = self._atom()
        if (w.imag != 0).any() or (w.real >= 0).any() or (w.real <= floor - 1).any():
            raise ValueError(f"`w` leaves ({floor - 1:.6g}, 0); expected real numbers inside.")
        layers, u = _group(self), 1 + w.real.reshape(-1)
        log_z = layers.linearise(u, layers.solve_real(u))[0]
        return (u / (1 - u) * np.exp(-log_z)).reshape(w.shape).astype(np.complex128)

    def _cauchy_formula(self, z: ComplexArray) -> ComplexArray:
        flat, layers = z.reshape(-1), _group(self)
        G, off = np.empty_like(flat), flat != 0
        if not off.all():
            G[~off] = -math.exp(-np.log(layers.skip2 - layers.mean) @ layers.counts)
        if off.any():
            x = flat[off]
            u = resolvent(layers, self._atom(), np.log(np.abs(x)), np.abs(np.angle(x)))
            G[off] = np.where(x.imag < 0, u.conj(), u) / x
        return G.reshape(z.shape)


@functools.lru_cache(maxsize=64)
def _group(law: FiniteDepthLaw) -> Layers:
    """Return the distinct layers and how often each occurs."""
    n = law.d.shape[1]
    rows, counts = np.unique(np.hstack([law.d, law.weights]), axis=0, return_counts=True)
    return Layers(rows[:, :n].copy(), rows[:, n:].copy(), counts.astype(np.float64), law.skip**2)


def _limit(law: FiniteDepthLaw) -> Tables | PointMass | None:
    """Return the universal law's tables where the support is too narrow for the solver's digits.

    By (35) the two are then within ``NARROW`` of each other; with slopes of any distribution the
    second term has ``<d^2> / <d>^2`` as a factor.
    """
    mean = (law.weights * law.d).sum(axis=1)
    if law.skip == 0.0:
        return None
    c = float(mean.sum()) / max(law.skip**2, TINY)  # beyond float64 it is not small either
    unit = law.d / np.maximum(law.d.max(axis=1, keepdims=True), TINY)  # whose squares are floats
    first, second = ((law.weights * unit**k).sum(axis=1) for k in (1, 2))
    spread = second / np.maximum(first, TINY) ** 2
    if not math.sqrt(c) / len(law.d) * max(float(spread.max()), 1.0) < NARROW:
        return None
    log_scale = 2 * len(law.d) * math.log(abs(law.skip))
    return UniversalLaw(c, math.exp(log_scale))._held() if abs(log_scale) < 700 else None  # pyright: ignore[reportPrivateUsage] (laws of one family)


@functools.lru_cache(maxsize=64)
def _held(law: FiniteDepthLaw) -> Tables | PointMass | Mixture:
    """Return the tables in units of lam from inside the support, or a point mass.

    Raises:
        ConvergenceError: If the density could not be computed and no limit stands in for it.
    """
    if not (law.weights * law.d).any():
        log = 2 * len(law.d) * math.log(abs(law.skip))
        with np.errstate(over="ignore", under="ignore"):
            return PointMass(float(np.float64(abs(law.skip)) ** (2 * len(law.d))), log)
    try:
        return held(_group(law))
    except ConvergenceError:
        limit = _limit(law)
        if limit is None:
            raise
        return limit
