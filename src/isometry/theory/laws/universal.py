"""The universal law of dynamical isometry: the limit spectrum of a deep residual network.

Its Cauchy transform G(z) = u / z solves ``log z = log(u / (u - 1)) + c (2 u - 1)``. On the support
``u = 1/2 + (eta + i theta) / (2 c)``; numbers in brackets are those of docs/theory.md, section 2:

    eta^2 = (c - theta tan(theta/2)) (c + theta cot(theta/2)),   0 < theta <= theta_max        (7)
    |log lam| = eta + asinh(eta sin(theta) / theta),   density of log lam = theta / (2 pi c)   (9)
"""

import dataclasses
import decimal
import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from isometry._checks import check_real
from isometry._typing import Checked, Real
from isometry.errors import ConvergenceError
from isometry.theory.laws.arguments import ComplexArray
from isometry.theory.laws.fitting import LEVELS, Bulk, fitted
from isometry.theory.laws.piecewise import Side, Vector, fit_nodes
from isometry.theory.laws.point_mass import PointMass
from isometry.theory.laws.tables import SOFT, Edges, Shape, Tables
from isometry.theory.laws.tabulated_law import TabulatedLaw
from isometry.theory.roots import bracketed_root

_LARGEST_C = 1e5  # there lam_+ is exp(2e5): no network's signal comes near
SEMICIRCLE = 1e-40  # above it no square in (16) underflows, below it no digit changes


@dataclasses.dataclass(frozen=True)
class UniversalLaw(TabulatedLaw):
    """The limit law of lam = s^2 for a residual network of effective cumulant ``c``.

    Its S-transform is ``exp(-c (1 + 2 w)) / scale``, and log lam is symmetric about ``log scale``.

    Args:
        c: The effective cumulant, >= 0. At 0 the law is a point mass at ``scale``: an atom, a step
            of the distribution function, a density that is 0 everywhere.
        scale: The median of lam, > 0; ``skip**(2 * depth)`` for a network with a skip.

    Raises:
        TypeError: If ``c`` or ``scale`` is not a real number.
        ValueError: If ``c`` is negative or above 1e5, ``scale`` is not positive, or either is not
            finite. From c = 350 on lam_+ leaves float64's range: use :meth:`log_support`.

    References:
        [tarnowski2019] arXiv:1809.08848 for the equation of G; the closed forms are derived here.

    Examples:
        >>> law = UniversalLaw(1.0)
        >>> [round(float(x), 6) for x in (law.support()[1], law.mean(), law.cdf(1.0))]
        [21.094423, 2.718282, 0.5]
    """

    c: Checked[float] = 1.0
    scale: Checked[float] = 1.0
    fit_error: tuple[float, float] | None = dataclasses.field(
        default=None, init=False, compare=False, repr=False
    )

    if TYPE_CHECKING:

        def __init__(self, c: Real = 1.0, scale: Real = 1.0) -> None: ...

    @classmethod
    def fit(cls, spectrum: Bulk) -> "UniversalLaw":
        """Return the law whose quantiles between 5 and 95 % follow those of a spectrum.

        Args:
            spectrum: An ``isometry.Spectrum``. Outliers of less than 5 % a side are not looked at.

        Returns:
            The law. Its ``fit_error`` holds the errors of c and of log scale: what the levels of
            one matrix of size N, right to 1/N, and the misfit of the quantiles leave open.

        Raises:
            TypeError: If ``spectrum`` has no quantiles.
            ValueError: If 5 % of the values or more are 0 or unresolved.
            ConvergenceError: If no c up to 1e4 is as wide as the spectrum.

        Notes:
            Measured on products of 100 free layers, N = 400, c = 0.25, 1 and 4: c within 4 %.

        Examples:
            >>> from isometry import Spectrum
            >>> law = UniversalLaw(0.7, scale=2.0)
            >>> found = UniversalLaw.fit(Spectrum(law.icdf((np.arange(400) + 0.5) / 400)))
            >>> round(found.c, 3), round(found.scale, 3)
            (0.7, 2.0)
        """
        c, log_scale, errors = fitted(spectrum, lambda c: cls(c).log_icdf(LEVELS))
        found = cls(c, math.exp(log_scale))
        object.__setattr__(found, "fit_error", errors)
        return found

    def __post_init__(self) -> None:
        c = check_real("c", self.c, minimum=0.0, advice="A network's c is a variance.")
        scale = check_real("scale", self.scale, above=0.0)
        if c > _LARGEST_C:
            raise ValueError(
                f"`c` is {c:g}; expected at most {_LARGEST_C:g}. "
                "Lower sigma_w: no signal survives such a network."
            )
        object.__setattr__(self, "c", c)
        object.__setattr__(self, "scale", scale)

    def _held(self) -> Tables | PointMass:
        return _held(self.c, self.scale)

    def log_mean(self) -> float:
        """Return ``E log lam = log scale``."""
        return math.log(self.scale)

    def log_variance(self) -> float:
        """Return ``Var log lam = 2 c + c^2 / 3``."""
        return 2 * self.c + self.c**2 / 3

    def _log_std(self) -> float:
        """Return the logarithm of ``scale e^c sqrt(2 c)``."""
        if self.c == 0.0:
            return -math.inf
        return math.log(self.scale) + self.c + math.log(2 * self.c) / 2

    def _log_moment(self, n: float) -> float:
        """Return the logarithm of the Laguerre formula for integers, of the integral otherwise."""
        order = abs(int(n))
        if order != abs(n) or order > 500:  # more terms would take longer than the quadrature
            return self._integrated_moment(n)
        if order == 0:
            return 0.0
        # (19), relative to its first term: nothing cancels
        term = total = 1.0
        for k in range(1, order):
            term *= 2.0 * order * self.c * (order - k) / (k * (k + 1))
            total += term
        return n * math.log(self.scale) + order * self.c + math.log(total)

    def _s_formula(self, w: ComplexArray) -> ComplexArray:
        return np.asarray(np.exp(-self.c * (1 + 2 * w)) / self.scale, dtype=np.complex128)

    def _cauchy_formula(self, z: ComplexArray) -> ComplexArray:
        """Return u / z, from ``u = 1 / (1 + e^{-q})`` and (17)."""
        x, log_scale = z.reshape(-1), math.log(self.scale)
        G = np.full_like(x, -np.exp(self.c - log_scale))
        beyond = (x.imag == 0) & (x.real > 0)
        G[beyond] = _beyond_edges(np.log(x[beyond].real) - log_scale, self.c) / x[beyond]
        rest = ~beyond & (x != 0)
        target = np.asarray(np.log(-x[rest]) - log_scale, dtype=np.complex128)
        q = _continue(target, self.c)
        G[rest] = np.where(q.real < 0, np.exp(q), 1.0) / (1 + np.exp(np.where(q.real < 0, q, -q)))
        G[rest] /= x[rest]
        return G.reshape(z.shape)


def half_width(c: float) -> float:
    """Return ``log lam_+`` at unit scale (10)."""
    r = math.sqrt(c * (c + 2))
    return r + math.asinh(r)


@functools.lru_cache(maxsize=256)
def _held(c: float, scale: float) -> Tables | PointMass:
    """Return the tables, which laws of the same c share, or the point mass at c = 0."""
    if c == 0.0:
        return PointMass(scale, math.log(scale))
    return Tables(_shape(c), _edges(c, scale), scale)


def _edges(c: float, scale: float) -> Edges:
    """Return both edges to twice float64's digits."""
    # Next to an edge the difference to lam decides: three times float64's digits keep all of it.
    with decimal.localcontext(prec=50):
        exact, one = decimal.Decimal(c), decimal.Decimal(scale)
        r = (exact * exact + 2 * exact).sqrt()
        top = (1 + exact + r) * r.exp()
        upper, lower = one * top, one / top
        high, low = float(upper), float(lower)
        rest = float(upper - decimal.Decimal(high)) if math.isfinite(high) else 0.0
        return Edges(low, float(lower - decimal.Decimal(low)), high, rest)


@functools.lru_cache(maxsize=64)
def _shape(c: float) -> Shape:
    """Tabulate the law at unit scale: one side serves both."""
    width = half_width(c)
    # A wide law bends at lam = 1 within one unit of log lam, which is ever less of its width; as v
    # is a root, the number of pieces grows like one.
    pieces = 1024 * math.ceil(math.sqrt(1 + width / 100))
    # Below SEMICIRCLE the law of log lam / width no longer depends on c, but squares underflow.
    solved = max(c, SEMICIRCLE)
    theta, v = _solve(solved, half_width(solved), fit_nodes(pieces))
    density = theta / v / (2 * math.pi * solved) * (half_width(solved) / width)
    side = Side.build(density, jacobian=2 * width, power=SOFT, mass=0.5)
    return Shape(-width, width, 0.0, side, side)


def _solve(c: float, width: float, v: Vector) -> tuple[Vector, Vector]:
    """Return theta at ``v = sqrt(1 - |log lam| / width)``."""
    top = bracketed_root(lambda x: x * math.sin(x / 2) - c * math.cos(x / 2), 0.0, math.pi)  # (8)
    # v is nearly linear in kappa, so 1,024 chords put Newton where three steps reach rounding.
    grid = np.linspace(0.0, 1.0, 1025)[1:]
    known, _ = _curve(c, top, width, grid)
    kappa = np.interp(v, np.append(0.0, known), np.append(0.0, grid))
    for _ in range(3):
        reached, slope = _curve(c, top, width, kappa)
        kappa = np.clip(kappa - (reached - v) / slope, 1e-12, 1.0)  # (16) has theta below the line
    return top * kappa * (2 - kappa), v


def _curve(c: float, top: float, width: float, kappa: Vector) -> tuple[Vector, Vector]:
    """Return v and dv/dkappa at ``theta = top kappa (2 - kappa)``, without cancellation."""
    theta = top * kappa * (2 - kappa)
    one_minus_cot = _one_minus_cot(theta)
    slant = _slant(c, top, theta, top * (1 - kappa) ** 2)
    eta = slant * (1 - kappa)
    v = np.sqrt(_to_edge(c, theta, eta, one_minus_cot) / width)
    speed = (c * one_minus_cot + theta**2) ** 2 + (theta * eta) ** 2
    return v, speed * top / (c * theta * slant * v * width)  # (16)


def _slant(c: float, top: float, theta: Vector, rest: Vector) -> Vector:
    """Return ``eta / (1 - kappa)``, the root in (12); ``rest = top - theta``."""
    inner = np.tan(top / 2) + theta * np.sinc(rest / (2 * np.pi)) / (
        2 * np.cos(top / 2) * np.cos(theta / 2)
    )  # (11)
    return np.sqrt(top * inner * (c + theta / np.tan(theta / 2)))


def _to_edge(c: float, theta: Vector, eta: Vector, one_minus_cot: Vector) -> Vector:
    """Return ``log lam_+ - |log lam|``, a sum of positive terms."""
    r = math.sqrt(c * (c + 2))
    lost = 2 * c * one_minus_cot + theta**2  # (14)
    b = eta * np.sinc(theta / np.pi)
    squares = lost + eta**2 * _one_minus_sinc(theta) * (1 + np.sinc(theta / np.pi))
    inner = squares / (r * np.sqrt(1 + b * b) + b * math.sqrt(1 + r * r))
    return lost / (r + eta) + np.arcsinh(inner)  # (15)


def _one_minus_cot(theta: Vector) -> Vector:
    """Return ``1 - theta cot(theta)`` with full relative accuracy (13)."""
    return (2 * np.sin(theta / 2) ** 2 - _one_minus_sinc(theta)) / np.sinc(theta / np.pi)


def _one_minus_sinc(x: Vector) -> Vector:
    """Return ``1 - sin(x) / x`` with full relative accuracy."""
    small = np.minimum(x, 1.0) ** 2
    series = np.zeros_like(x)
    for k in range(9, 0, -1):
        series = small / (2 * k * (2 * k + 1)) * (1 - series)
    return np.where(x < 1.0, series, 1 - np.sinc(x / np.pi))


def _beyond_edges(t: Vector, c: float) -> Vector:
    """Return u at t = log z off the support (18): convex, so Newton from the right converges."""
    target = np.abs(t)
    p = target.copy()
    for _ in range(200):  # next to an edge, a double root, each step only halves the distance
        half = p / 2
        step = (p + c / np.tanh(half) - target) / (1 - c / (2 * np.sinh(half) ** 2))
        p -= step
        if not (np.abs(step) > 4e-16 * p).any():
            break
    return np.where(t > 0, -1 / np.expm1(-p), -1 / np.expm1(p))


def _continue(target: ComplexArray, c: float) -> ComplexArray:
    """Solve (17), ``q + c tanh(q/2) = target`` in |Im q| < pi, from the real axis to Im target.

    Raises:
        ConvergenceError: If a point is not reached or on the wrong branch.
    """
    real = target.real
    q = np.sign(real) * np.maximum(np.abs(real) - c, np.abs(real) / (1 + c / 2)) + 0j
    # On the axis 12 Newton steps settle; 64 turns follow the branch without jumping to another;
    # 40 more at the end serve the points next to an edge, where convergence is only linear.
    for share in np.concatenate([np.zeros(12), np.linspace(0, 1, 65)[1:], np.ones(40)]):
        aim = real + 1j * share * target.imag
        tanh = np.tanh(q / 2)
        step = (q + c * tanh - aim) / (1 + c / 2 * (1 - tanh * tanh))
        q = q - step
    gap = np.abs(q + c * np.tanh(q / 2) - target)
    wrong = (np.abs(q.imag) > math.pi) | (q.imag * target.imag < 0)
    bad = ~(gap <= 1e-12 * (1 + np.abs(target))) | wrong
    if bad.any():
        raise ConvergenceError(
            f"`z` contains a point within a residual of {gap[bad].max():.2g} only; expected 1e-12. "
            "Move it away from the edges of the support."
        )
    return q
