"""What every spectral law answers, and how it checks what it is asked.

A law here is a probability measure on lam >= 0: a density whose support is one interval, plus
possibly an atom. The public methods check and chunk; a law implements the private ones on vectors.
"""

import abc
import dataclasses
import math
from typing import Any

import numpy as np

from isometry._checks import check_array, check_real, check_rng
from isometry._result import Drawn, Record
from isometry._typing import Float, Numbers, Real, Reals
from isometry.theory.laws.arguments import (
    LARGEST_LOG,
    TINY,
    Generator,
    Lengths,
    check_shape,
    positive,
)
from isometry.theory.laws.moments import Moments
from isometry.theory.laws.piecewise import Vector, in_chunks
from isometry.theory.laws.transforms import Transforms


class SpectralLaw(Moments, Transforms, Drawn, Record):
    """The law of a non-negative spectrum; ``lam`` is s^2, the squared singular value.

    Methods take numbers or arrays of any shape and answer in the same shape. Outside the support
    the density is 0 and the distribution function 0 or 1, exactly; NaN is refused. An answer that
    float64 cannot hold is refused too, with the method that gives its logarithm.
    """

    @abc.abstractmethod
    def log_support(self) -> tuple[float, float]:
        """Return the logarithms of the edges of the continuous part (``-inf`` for an edge at 0)."""

    # Where lam itself has left float64's range, its logarithm comes with it.
    @abc.abstractmethod
    def _density(self, lam: Vector, log: Vector | None = None) -> Vector:
        """Return the density of log lam at ``lam``."""

    @abc.abstractmethod
    def _cdf(self, lam: Vector, log: Vector | None = None) -> Vector: ...

    @abc.abstractmethod
    def _ccdf(self, lam: Vector, log: Vector | None = None) -> Vector: ...

    @abc.abstractmethod
    def _icdf(self, p: Vector) -> Vector: ...

    @abc.abstractmethod
    def _log_icdf(self, p: Vector) -> Vector: ...

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
            ValueError: If ``lam`` contains NaN, or a place where the density exceeds float64's
                range.
        """
        lam = check_array("lam", lam)
        density = in_chunks(self._pdf, lam)
        if np.isinf(density).any():
            raise ValueError(
                f"`lam` contains {lam[np.isinf(density)].flat[0]:g}, where the density exceeds "
                "float64's range; expected a larger place. Use `logpdf`."
            )
        return density[()]

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
            ValueError: If ``p`` contains NaN or a number outside [0, 1], or a quantile exceeds
                float64's range.
        """
        p = _probabilities(p)
        quantiles = in_chunks(self._icdf, p)
        if np.isinf(quantiles).any():
            raise ValueError(
                f"`p` contains {p[np.isinf(quantiles)].flat[0]:g}, whose quantile exceeds "
                "float64's range; expected a smaller one. Use `log_icdf`."
            )
        return quantiles[()]

    def log_icdf(self, p: Reals) -> Numbers:
        """Return the logarithm of :meth:`icdf`, also where float64 cannot hold the quantile.

        Args:
            p: Probabilities in [0, 1]; minus infinity is the answer within an atom at 0.

        Raises:
            TypeError: If ``p`` is not numeric.
            ValueError: If ``p`` contains NaN or a number outside [0, 1].
        """
        return in_chunks(self._log_icdf, _probabilities(p))[()]

    def median(self) -> float:
        """Return the quantile at 1/2; raise a ``ValueError`` if it exceeds float64's range."""
        return float(self.icdf(0.5))

    def interval(self, p: Real) -> tuple[float, float]:
        """Return the central interval of mass ``p``: equal masses are left below and above.

        Args:
            p: The mass, in [0, 1].

        Raises:
            TypeError: If ``p`` is not a number.
            ValueError: If ``p`` is outside [0, 1], or an end exceeds float64's range.
        """
        p = float(_probabilities(check_real("p", p)))
        low, high = self.icdf([(1 - p) / 2, (1 + p) / 2])
        return float(low), float(high)

    def sample(self, shape: Lengths = (), *, rng: Generator = None) -> Numbers:
        """Return independent draws, by inversion of uniform numbers.

        Args:
            shape: The shape of the answer; ``()`` gives one number.
            rng: The only source of randomness; one uniform number is used per draw. Without it
                `np.random.seed` decides.

        Raises:
            TypeError: If ``shape`` is not made of integers or ``rng`` is not a
                ``numpy.random.Generator``.
            ValueError: If ``shape`` has a negative entry, or the support exceeds float64's range.
        """
        shape = check_shape(shape)
        if self.log_support()[1] > LARGEST_LOG:
            raise ValueError(
                f"`scale` or `c` puts the upper edge at exp({self.log_support()[1]:.6g}); expected "
                "draws within float64's range. Use `log_icdf` of uniform numbers."
            )
        return self.icdf(check_rng(rng).random(shape))

    def condition_number(self) -> float:
        """Return ``s_+ / s_-``, the limit of the Jacobian's condition number; may be infinite."""
        lower, upper = self.log_support()
        if (self.atoms()[0] == 0.0).any():
            return math.inf
        return math.exp((upper - lower) / 2) if upper - lower < 1419 else math.inf

    def singular_values(self) -> "SingularValueLaw":
        """Return the law of ``s = sqrt(lam)``, with the same methods."""
        return SingularValueLaw(self)

    def _draw(self, room: Any, ax: Any) -> None:
        """Draw the density of log lam against s on a logarithmic axis, atoms as lines."""
        room.plot_law(ax, self._of_lam(), label=repr(self))
        ax.legend()

    def _of_lam(self) -> "SpectralLaw":
        """Return the law of lam that this is, or is the law of the root of."""
        return self

    @np.errstate(over="ignore", under="ignore")
    def _pdf(self, lam: Vector) -> Vector:
        return self._density(lam) / positive(lam)

    @np.errstate(divide="ignore")
    def _logpdf(self, lam: Vector) -> Vector:
        out = np.log(self._density(lam))
        inside = np.isfinite(out)
        out[inside] -= np.log(lam[inside])
        return out


@dataclasses.dataclass(frozen=True)
class SingularValueLaw(SpectralLaw):
    """The law of ``s = sqrt(lam)`` for a law of ``lam``.

    Args:
        law: The law of ``lam = s**2``.
    """

    law: SpectralLaw

    def _of_lam(self) -> SpectralLaw:
        return self.law

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

    def _density(self, lam: Vector, log: Vector | None = None) -> Vector:
        return 2 * self.law._density(*_squared(lam, log))

    def _cdf(self, lam: Vector, log: Vector | None = None) -> Vector:
        return self.law._cdf(*_squared(lam, log))

    def _ccdf(self, lam: Vector, log: Vector | None = None) -> Vector:
        return self.law._ccdf(*_squared(lam, log))

    def _icdf(self, p: Vector) -> Vector:
        lam = self.law._icdf(p)
        s = np.sqrt(lam)
        lost = ((lam < TINY) | np.isinf(lam)) & (p > 0.0)
        if lost.any():
            with np.errstate(over="ignore", under="ignore"):
                s[lost] = np.exp(self._log_icdf(p[lost]))
        return s

    def _log_icdf(self, p: Vector) -> Vector:
        return self.law._log_icdf(p) / 2

    def _nodes(self) -> tuple[Vector, Vector]:
        t, weights = self.law._nodes()
        return t / 2, weights

    def _log_moment(self, n: float) -> float:
        return self.law._log_moment(n / 2)


@np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore")
def _squared(s: Vector, log: Vector | None) -> tuple[Vector, Vector | None]:
    """Return s^2, -1 where s < 0, and log s^2 if a square has left float64's range."""
    lam = np.where(s < 0.0, -1.0, s * s)
    if log is not None:
        return lam, 2 * log
    lost = (s > 0.0) & ((lam < TINY) | np.isinf(lam))
    return lam, np.where(s > 0.0, 2 * np.log(s), -np.inf) if lost.any() else None


def _probabilities(p: Reals) -> Float[np.ndarray, "*shape"]:
    """Return ``p`` as an array of numbers in [0, 1].

    Raises:
        ValueError: If one is NaN or outside.
    """
    array = check_array("p", p, minimum=0.0)
    if (array > 1.0).any():
        raise ValueError(f"`p` contains {array.max():g}; expected probabilities in [0, 1].")
    return array
