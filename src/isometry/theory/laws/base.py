"""What every spectral law answers, and how it checks what it is asked.

A law here is a probability measure on lam >= 0: a density whose support is one interval, plus
possibly an atom. The public methods check and chunk; a law implements the private ones on vectors.
"""

import abc
import dataclasses
import math

import numpy as np
from scipy import special

from isometry._checks import check_array, check_real
from isometry._typing import ComplexNumbers, Float, Integer, Numbers, Real, Reals
from isometry.theory.laws.arguments import (
    ComplexArray,
    Evaluation,
    as_complex,
    check_method,
    positive,
)
from isometry.theory.laws.piecewise import Vector, in_chunks
from isometry.theory.roots import bracketed_root

LARGEST_LOG = math.log(np.finfo(np.float64).max)


class SpectralLaw(abc.ABC):
    """The law of a non-negative spectrum; ``lam`` is s^2, the squared singular value.

    Methods take numbers or arrays of any shape and answer in the same shape. Outside the support
    the density is 0 and the distribution function 0 or 1, exactly; NaN is refused.
    """

    @abc.abstractmethod
    def log_support(self) -> tuple[float, float]:
        """Return the logarithms of the edges of the continuous part (``-inf`` for an edge at 0)."""

    @abc.abstractmethod
    def _density(self, lam: Vector) -> Vector:
        """Return the density of log lam at ``lam``."""

    @abc.abstractmethod
    def _cdf(self, lam: Vector) -> Vector: ...

    @abc.abstractmethod
    def _ccdf(self, lam: Vector) -> Vector: ...

    @abc.abstractmethod
    def _icdf(self, p: Vector) -> Vector: ...

    @abc.abstractmethod
    def _quadrature(self) -> tuple[Vector, Vector]:
        """Return nodes in log lam and weights that integrate against the continuous part."""

    def atoms(self) -> tuple[Float[np.ndarray, "atoms"], Float[np.ndarray, "atoms"]]:
        """Return the places and the weights of the atoms; most laws have none."""
        return np.empty(0), np.empty(0)

    def support(self) -> tuple[float, float]:
        """Return the edges of the smallest interval that carries the law.

        An edge beyond float64's range is 0 or infinity; :meth:`log_support` keeps it.
        """
        with np.errstate(over="ignore", under="ignore"):
            lower, upper = np.exp(self.log_support())
        places, _ = self.atoms()
        return float(min([lower, *places])), float(max([upper, *places]))

    def pdf(self, lam: Reals) -> Numbers:
        """Return the density of the continuous part at ``lam``; atoms are in :meth:`atoms`.

        Raises:
            TypeError: If ``lam`` is not numeric.
            ValueError: If ``lam`` contains NaN.
        """
        return in_chunks(self._pdf, check_array("lam", lam))[()]

    def logpdf(self, lam: Reals) -> Numbers:
        """Return the logarithm of :meth:`pdf`: minus infinity outside the support.

        Raises:
            TypeError: If ``lam`` is not numeric.
            ValueError: If ``lam`` contains NaN.
        """
        return in_chunks(self._logpdf, check_array("lam", lam))[()]

    def cdf(self, lam: Reals) -> Numbers:
        """Return the probability of values ``<= lam``; small values keep their relative accuracy.

        Raises:
            TypeError: If ``lam`` is not numeric.
            ValueError: If ``lam`` contains NaN.
        """
        return in_chunks(self._cdf, check_array("lam", lam))[()]

    def ccdf(self, lam: Reals) -> Numbers:
        """Return the probability of values ``> lam``; small values keep their relative accuracy.

        Raises:
            TypeError: If ``lam`` is not numeric.
            ValueError: If ``lam`` contains NaN.
        """
        return in_chunks(self._ccdf, check_array("lam", lam))[()]

    def icdf(self, p: Reals) -> Numbers:
        """Return the quantile at ``p``: the smallest ``lam`` with ``cdf(lam) >= p``.

        Args:
            p: Probabilities in [0, 1]; 0 and 1 give the edges of the support.

        Raises:
            TypeError: If ``p`` is not numeric.
            ValueError: If ``p`` contains NaN or a number outside [0, 1].
        """
        p = check_array("p", p, minimum=0.0)
        if (p > 1.0).any():
            raise ValueError(f"`p` contains {p.max():g}; expected probabilities in [0, 1].")
        return in_chunks(self._icdf, p)[()]

    def sample(
        self, shape: Integer | tuple[Integer, ...] = (), *, rng: np.random.Generator
    ) -> Numbers:
        """Return independent draws, by inversion of uniform numbers.

        Args:
            shape: The shape of the answer; ``()`` gives one number.
            rng: The only source of randomness; one uniform number is used per draw.

        Raises:
            TypeError: If ``rng`` is not a ``numpy.random.Generator``.
        """
        if not isinstance(rng, np.random.Generator):
            raise TypeError(
                f"`rng` is {rng!r}; expected a numpy.random.Generator. "
                "Pass numpy.random.default_rng(seed)."
            )
        return self.icdf(rng.random(shape))

    def moment(self, n: Real, *, method: Evaluation = "formula") -> float:
        """Return ``E lam**n``.

        Args:
            n: The order: any real number where the law has no mass at 0.
            method: "formula" where the law knows one for this order, or "quadrature".

        Raises:
            TypeError: If ``n`` is not a number.
            ValueError: If ``n`` is not finite, the moment is infinite, its value leaves float64's
                range or ``method`` is unknown.
        """
        n = check_real("n", n)
        check_method(method, ("formula", "quadrature"))
        log = self._log_moment(n) if method == "formula" else self._integrated_moment(n)
        if not log < LARGEST_LOG:
            raise ValueError(
                f"`n` is {n:g}; expected a moment within float64's range, got exp({log:.6g})."
            )
        return math.exp(log)

    def mean(self) -> float:
        """Return ``E lam``; raise a ``ValueError`` if it leaves float64's range."""
        return self.moment(1)

    def variance(self) -> float:
        """Return ``E lam**2 - (E lam)**2``.

        Raises:
            ValueError: If the value leaves float64's range.
        """
        return self.moment(2) - self.moment(1) ** 2

    def log_mean(self) -> float:
        """Return ``E log lam``; minus infinity where lam = 0 carries mass."""
        t, weights = self._nodes()
        return float(weights @ t)

    def log_variance(self) -> float:
        """Return ``Var log lam``, the squared spread of the spectrum on a logarithmic scale.

        It is infinite where lam = 0 carries mass.
        """
        t, weights = self._nodes()
        if np.isneginf(t).any():
            return math.inf
        return float(weights @ (t - weights @ t) ** 2)

    def condition_number(self) -> float:
        """Return ``s_+ / s_-``, the limit of the Jacobian's condition number; may be infinite."""
        lower, upper = self.log_support()
        if (self.atoms()[0] == 0.0).any():
            return math.inf
        return math.exp((upper - lower) / 2) if upper - lower < 1419 else math.inf

    def cauchy_transform(self, z: ComplexNumbers, *, method: Evaluation = "quadrature") -> Numbers:
        """Return ``G(z) = E 1/(z - lam)``: physics' Green's function, minus Stieltjes'.

        Args:
            z: Complex numbers off the support.
            method: "quadrature", which loses accuracy close to the support, or "formula".

        Raises:
            TypeError: If ``z`` is not numeric.
            ValueError: If ``z`` contains NaN or touches the support, or ``method`` is unknown.
            NotImplementedError: If this law has no formula.
        """
        check_method(method, ("formula", "quadrature"))
        z = self._check_off_support(z)
        if method == "formula":
            return self._cauchy_formula(z)[()]
        t, weights = self._nodes()
        return ((1 / (z[..., None] - np.exp(t))) @ weights)[()]

    def s_transform(self, w: ComplexNumbers, *, method: Evaluation = "quadrature") -> Numbers:
        """Return Voiculescu's S-transform ``S(w)``, where ``psi(w S(w) / (1 + w)) = w``.

        Here ``psi(x) = E x lam / (1 - x lam)``; free products of laws multiply their S.

        Args:
            w: With "quadrature", one number between 0 and minus the mass off zero; a formula
                takes arrays, complex ones too.
            method: "quadrature", which inverts ``psi`` on the negative axis, or "formula".

        Raises:
            TypeError: If ``w`` is not a number.
            ValueError: If ``w`` is out of range or ``method`` is unknown.
            NotImplementedError: If this law has no formula.
        """
        check_method(method, ("formula", "quadrature"))
        if method == "formula":
            return self._s_formula(as_complex("w", w))[()]
        number = check_real("w", w)
        t, weights = self._nodes()
        t, weights = t[~np.isneginf(t)], weights[~np.isneginf(t)]
        mass = weights.sum()
        if not -mass < number < 0.0:
            raise ValueError(f"`w` is {number!r}; expected a number > {-mass:.6g} and < 0.")
        root = bracketed_root(
            lambda x: float(weights @ special.expit(x + t)) + number,
            -float(t.max()) + math.log(-number / mass) - 40,
            -float(t.min()) - math.log1p(number / mass) + 40,
            xtol=1e-14,
        )
        return -math.exp(root) * (1 + number) / number

    def singular_values(self) -> "SingularValueLaw":
        """Return the law of ``s = sqrt(lam)``, with the same methods."""
        return SingularValueLaw(self)

    def _pdf(self, lam: Vector) -> Vector:
        density = self._density(lam)
        density /= positive(lam)
        return density

    def _logpdf(self, lam: Vector) -> Vector:
        with np.errstate(divide="ignore"):
            out = np.log(self._density(lam))
        inside = np.isfinite(out)
        out[inside] -= np.log(lam[inside])
        return out

    def _nodes(self) -> tuple[Vector, Vector]:
        """Return quadrature nodes in log lam and weights, the atoms included."""
        t, weights = self._quadrature()
        places, masses = self.atoms()
        with np.errstate(divide="ignore"):
            return np.concatenate([t, np.log(places)]), np.concatenate([weights, masses])

    def _integrated_moment(self, n: float) -> float:
        """Return ``log E lam**n`` by quadrature."""
        t, weights = self._nodes()
        if n == 0:
            return 0.0
        terms = n * t
        top = terms.max()
        return float(top + np.log(weights @ np.exp(terms - top))) if top < math.inf else math.inf

    def _log_moment(self, n: float) -> float:
        return self._integrated_moment(n)

    def _cauchy_formula(self, z: ComplexArray) -> ComplexArray:
        raise NotImplementedError(f"{type(self).__name__} has no formula; use 'quadrature'.")

    def _s_formula(self, w: ComplexArray) -> ComplexArray:
        raise NotImplementedError(f"{type(self).__name__} has no formula; use 'quadrature'.")

    def _check_off_support(self, z: object) -> ComplexArray:
        array = as_complex("z", z)
        lower, upper = self.support()
        real = array.real[array.imag == 0]
        if ((real >= lower) & (real <= upper)).any() or (0.0 in self.atoms()[0] and 0 in real):
            raise ValueError(
                f"`z` touches the support [{lower:.6g}, {upper:.6g}]; expected numbers off it. "
                "Add an imaginary part; its sign chooses the side."
            )
        return array


@dataclasses.dataclass(frozen=True)
class SingularValueLaw(SpectralLaw):
    """The law of ``s = sqrt(lam)`` for a law of ``lam``.

    Args:
        law: The law of ``lam = s**2``.
    """

    law: SpectralLaw

    def log_support(self) -> tuple[float, float]:
        """Return the logarithms of the edges of the continuous part."""
        lower, upper = self.law.log_support()
        return lower / 2, upper / 2

    def atoms(self) -> tuple[Vector, Vector]:
        """Return the places and the weights of the atoms."""
        places, weights = self.law.atoms()
        return np.sqrt(places), weights

    def condition_number(self) -> float:
        """Return ``s_+ / s_-``."""
        return self.law.condition_number()

    def _density(self, lam: Vector) -> Vector:
        return 2 * self.law._density(_square(lam))

    def _cdf(self, lam: Vector) -> Vector:
        return self.law._cdf(_square(lam))

    def _ccdf(self, lam: Vector) -> Vector:
        return self.law._ccdf(_square(lam))

    def _icdf(self, p: Vector) -> Vector:
        return np.sqrt(self.law._icdf(p))

    def _quadrature(self) -> tuple[Vector, Vector]:
        t, weights = self.law._quadrature()
        return t / 2, weights

    def _log_moment(self, n: float) -> float:
        return self.law._log_moment(n / 2)


def _square(s: Vector) -> Vector:
    """Return s^2 with the sign of s."""
    with np.errstate(over="ignore", under="ignore"):
        return s * np.abs(s)
