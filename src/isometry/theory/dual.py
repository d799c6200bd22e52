r"""The dual activation: how correlated are two outputs whose inputs have the correlation rho?

    kappa(rho) = E psi(u) psi(v) = sum_{k>=1} a_k^2 rho^k,   kappa'(rho) = E psi'(u) psi'(v)    (62)

with psi as in (61). The series gives it away from rho = +-1, and everywhere where the a_k fall off
fast; where kinks make them fall off like powers, the ends are integrated by (63) of docs/theory.md.
"""

import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isometry._checks import check_array, check_integer, check_real
from isometry._result import Result
from isometry._typing import Float, FloatArray, Integer, Numbers, Real, Reals
from isometry.errors import AccuracyWarning
from isometry.theory.activations.definition import Activation, ActivationLike
from isometry.theory.activations.lookup import activation
from isometry.theory.bivariate import correlation_average
from isometry.theory.hermite import HIGHEST, Expansion, expand, shifted_points

__all__ = ["DualActivation", "dual_activation"]

_INSIDE = 0.85  # of |rho|, where 256 terms of any series are below rounding
_NODES = 32
_FEW = 32  # values that are cheaper one by one than a table, of 64 or more
_PROMISE = 1e-8  # of callables, relative to the energy
_FLAT = 1e-12  # relative energy of what is constant to rounding
_SMOOTH = 1e-11  # relative energy beyond order 256: less than what is promised
Closed = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, eq=False)
class DualActivation(Result):
    """The dual of psi(u) = phi(sqrt(q) u + shift) - mean; call it with a correlation.

    Attributes:
        activation: phi.
        q: Variance of the pre-activation.
        shift: Mean of the pre-activation.
        mean: E phi, which psi is freed of.
        energy: E psi^2 = kappa(1).
        slope_square: E psi'^2 = kappa'(1), q times the average of phi'^2 almost everywhere.
        expansion: The Hermite coefficients behind it, with the averages.

    Examples:
        >>> relu = dual_activation("relu")
        >>> round(relu(1.0), 12), round(relu.energy, 12)
        (0.340845056908, 0.340845056908)
    """

    activation: Activation
    q: float
    shift: float
    mean: float
    energy: float
    slope_square: float
    expansion: Expansion = field(repr=False)

    def __call__(self, rho: Reals) -> Numbers:
        """Return kappa(rho), the covariance of the outputs.

        Args:
            rho: Correlations of the inputs, from -1 to 1.

        Returns:
            A float for a number, an array of the shape of ``rho`` for an array.

        Raises:
            TypeError: If ``rho`` is not numeric.
            ValueError: If one is outside [-1, 1].
        """
        return _shaped(self._kappa, rho)

    def slope(self, rho: Reals) -> Numbers:
        """Return kappa'(rho) = E psi'(u) psi'(v).

        Args:
            rho: Correlations of the inputs, from -1 to 1.

        Returns:
            A float for a number, an array of the shape of ``rho`` for an array. Where phi jumps,
            what its jumps add is left out, as automatic differentiation does.

        Raises:
            TypeError: If ``rho`` is not numeric.
            ValueError: If one is outside [-1, 1].
        """
        return _shaped(self._slope, rho)

    def shares(self, n: Integer) -> Float[np.ndarray, "n"]:
        """Return the Hermite shares a_k^2 / V of the orders k = 1 to ``n``; all of them sum to 1.

        Raises:
            TypeError: If ``n`` is not an integer.
            ValueError: If it is below 1 or above 256.
        """
        return self.expansion.shares[: check_integer("n", n, minimum=1, maximum=HIGHEST)].copy()

    @functools.cached_property
    def _kappa(self) -> Closed:
        closed = _closed_forms(self)
        return closed[0] if closed else self._curve(self.expansion.coefficients**2, slopes=False)

    @functools.cached_property
    def _slope(self) -> Closed:
        closed = _closed_forms(self)
        if closed:
            return closed[1]
        act, scale = self.activation, math.sqrt(self.q)
        if not act.jumps:
            order = np.arange(1, HIGHEST + 1)
            return self._curve(order * self.expansion.coefficients**2, slopes=True)
        almost = Activation(act.name, act.dphi, act.dphi, act.breakpoints, panels=act.panels)
        found = expand(almost, scale, self.shift, HIGHEST)
        powers = np.append(found.mean, found.coefficients[:-1]) ** 2 * self.q
        return self._curve(powers, slopes=True)

    def _curve(self, powers: Float[np.ndarray, "order"], *, slopes: bool) -> Closed:
        """Return sum_k powers[k] rho^(k + 1), or rho^k for slopes, with its ends integrated."""
        act, scale = self.activation, math.sqrt(self.q)
        total = self.slope_square if slopes else self.energy
        lowest = np.append(0.0, powers) if not slopes else powers
        smooth = abs(powers.sum() - total) <= _SMOOTH * total
        points = shifted_points(act, scale, self.shift)
        kinks = (np.array(act.breakpoints) - self.shift) / scale

        def f(u: np.ndarray) -> np.ndarray:
            h = scale * u + self.shift
            return scale * act.dphi(h) if slopes else act.phi(h) - self.mean

        def exact(rho: float) -> float:
            return total if rho >= 1.0 else correlation_average(f, points, kinks, rho)

        ends = {sign: _Ends(lambda t, s=sign: exact(s * math.cos(t))) for sign in (1, -1)}

        def curve(rho: FloatArray) -> FloatArray:
            values = np.polynomial.polynomial.polyval(rho, lowest)
            for sign, end in ends.items():
                far = sign * rho > _INSIDE
                if far.any() and not smooth:
                    values[far] = end(np.arccos(sign * rho[far]))
            return values

        return curve


class _Ends:
    """A function of the angle arccos |rho| near 0, tabulated on Chebyshev panels if asked often."""

    def __init__(self, exact: Callable[[float], float]) -> None:
        self._exact = np.vectorize(exact, otypes=[float])
        self._panels: list[tuple[float, float, Any]] = []
        self._asked = 0

    def __call__(self, angle: FloatArray) -> FloatArray:
        if not self._panels:
            self._asked += angle.size
            if self._asked <= _FEW:
                return self._exact(angle)
            self._build(0.0, math.acos(_INSIDE) * (1 + 1e-12), 0)
        starts = np.array([low for low, _, _ in self._panels])
        where = np.searchsorted(starts, angle, side="right") - 1
        values = np.empty_like(angle)
        for index in np.unique(where):
            values[where == index] = self._panels[index][2](angle[where == index])
        return values

    def _build(self, low: float, high: float, halvings: int) -> None:
        fit = np.polynomial.Chebyshev.interpolate(self._exact, _NODES - 1, domain=[low, high])
        size = np.abs(fit.coef).max()
        if np.abs(fit.coef[-3:]).max() <= 1e-13 * size or halvings == 8:
            self._panels.append((low, high, fit))
            return
        middle = low + (high - low) / 4  # what is not analytic is so at 0
        self._build(low, middle, halvings + 1)
        self._build(middle, high, halvings + 1)


def dual_activation(act: ActivationLike, q: Real = 1.0, mean: Real = 0.0) -> DualActivation:
    r"""Return the dual of an activation under Gaussian pre-activations N(mean, q).

    Args:
        act: Activation, or anything :func:`~isometry.activation` accepts.
        q: Variance (not standard deviation) of the pre-activation, above 0.
        mean: Its mean.

    Returns:
        The dual: call it for kappa(rho); it has ``slope``, ``shares``, ``mean`` and ``energy``.

    Raises:
        TypeError: If ``q`` or ``mean`` is not a number, or ``act`` no activation.
        ValueError: If ``q`` is not above 0, the activation is unknown, not finite where the
            Gaussian has weight, or constant there.
        NotImplementedError: If ``act`` is not elementwise.

    Warns:
        AccuracyWarning: If the energy of a callable, or a share, changes by more than 1e-8 where
            the panels are halved.

    Notes:
        Absolute error relative to the energy, measured: 1e-10 for named activations (against
        mpmath), 1e-8 for callables. Closed forms at ``mean = 0`` for ReLU and its leaky kin
        (the arc-cosine kernel) and erf, and for linear. Cost: 20 ms; where kinks or
        narrow features meet ``|rho| > 0.85``, a second once (softplus at q = 1e4: 7).

    References:
        Derived here; the closed forms are those of [cho2009] (arc-cosine) and [williams1996] (erf).

    Examples:
        >>> dual_activation("relu").shares(2).round(4)
        array([0.7335, 0.2335])
        >>> round(dual_activation("erf").slope(0.0), 4)
        0.4244
    """
    act = activation(act)
    q = check_real("q", q, above=0.0, advice="q is a variance, not a standard deviation.")
    shift = check_real("mean", mean)
    found = expand(act, math.sqrt(q), shift, HIGHEST)
    _refuse(found, act, q)
    if act.source is not None or act.recipe is None:
        _verify(found, expand(act, math.sqrt(q), shift, HIGHEST, halvings=1), act)
    return DualActivation(act, q, shift, found.mean, found.energy, found.slope_square, found)


def _refuse(found: Expansion, act: Activation, q: float) -> None:
    """Refuse what has no dual.

    Raises:
        ValueError: If the activation overflows or is constant.
    """
    if not (math.isfinite(found.energy) and np.isfinite(found.coefficients).all()):
        raise ValueError(
            f"`{act.name}` is not finite under a Gaussian of variance {q:g}; expected finite "
            "averages. Use a smaller q."
        )
    if not found.energy > _FLAT * (found.energy + found.mean * found.mean):
        raise ValueError(
            f"`{act.name}` is constant to rounding under a Gaussian of variance {q:g}; expected an "
            "activation that varies. Raise q or change the mean."
        )


def _verify(found: Expansion, finer: Expansion, act: Activation) -> None:
    gap = max(
        abs(found.energy / finer.energy - 1),
        float(np.abs(found.shares - finer.shares)[:8].max()),
    )
    if gap > _PROMISE / 4:
        warnings.warn(
            f"`{act.name}`: its Hermite shares change by {gap:.1g} between two resolutions, too "
            f"near to {_PROMISE:g} or above; pass its kinks and narrow features as `breakpoints`.",
            AccuracyWarning,
            stacklevel=3,
        )


def _shaped(curve: Closed, rho: Reals) -> Numbers:
    values = check_array("rho", rho)
    if (np.abs(values) > 1.0).any():
        raise ValueError(
            f"`rho` contains {values[np.abs(values) > 1.0].flat[0]:g}; expected correlations "
            "between -1 and 1."
        )
    found = curve(values.ravel()).reshape(values.shape)
    return float(found) if found.ndim == 0 else found


def _closed_forms(dual: DualActivation) -> tuple[Closed, Closed] | None:
    """Return kappa and kappa' in closed form, where there is one."""
    act, q = dual.activation, dual.q
    if act.source is not None or act.recipe is None:
        return None
    if act.name == "linear":
        return lambda rho: q * rho, lambda rho: q + 0.0 * rho
    if dual.shift != 0.0:
        return None
    if act.name == "erf":
        part = 2 * q / (1 + 2 * q)
        return (
            lambda rho: 2 / math.pi * np.arcsin(part * rho),
            lambda rho: 2 / math.pi * part / np.sqrt(1 - (part * rho) ** 2),
        )
    slopes = _rectifier_slopes(act)
    if slopes is None:
        return None
    even, odd = (slopes[1] - slopes[0]) / 2, (slopes[1] + slopes[0]) / 2
    return (
        lambda rho: q * (odd**2 * rho + even**2 * 2 / math.pi * _arc(rho)),
        lambda rho: q * (odd**2 + even**2 * 2 / math.pi * np.arcsin(rho)),
    )


def _arc(rho: FloatArray) -> FloatArray:
    """Return sqrt(1 - rho^2) + rho arcsin(rho) - 1, the covariance of |u| and |v| times pi/2."""
    root = np.sqrt((1 - rho) * (1 + rho))
    return rho * np.arcsin(rho) - rho * rho / (1 + root)


def _rectifier_slopes(act: Activation) -> tuple[float, float] | None:
    """Return the slopes below and above 0 of a rectifier from the catalogue."""
    if act.name not in ("relu", "leaky_relu", "prelu", "rrelu"):
        return None
    below, above = act.phi(np.array([-1.0, 1.0])).tolist()
    return -below, above
