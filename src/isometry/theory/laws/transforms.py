"""The transforms of a law: Cauchy's, and Voiculescu's S-transform, which free products multiply."""

import abc
import math

import numpy as np

from isometry._checks import check_real
from isometry._typing import ComplexNumbers, Numbers
from isometry.theory.laws.arguments import (
    LARGEST_LOG,
    ComplexArray,
    Evaluation,
    as_complex,
    check_method,
    within_range,
)
from isometry.theory.laws.piecewise import Vector
from isometry.theory.roots import bracketed_root


class Transforms(abc.ABC):
    """What a law answers off the real axis; a law adds closed forms where it knows them."""

    @abc.abstractmethod
    def support(self) -> tuple[float, float]: ...

    @abc.abstractmethod
    def atoms(self) -> tuple[Vector, Vector]: ...

    @abc.abstractmethod
    def _nodes(self) -> tuple[Vector, Vector]: ...

    def cauchy_transform(self, z: ComplexNumbers, *, method: Evaluation = "quadrature") -> Numbers:
        """Return ``G(z) = E 1/(z - lam)``: physics' Green's function, minus Stieltjes'.

        Args:
            z: Complex numbers off the support.
            method: "quadrature", which loses accuracy close to the support, or "formula".

        Raises:
            TypeError: If ``z`` is not numeric.
            ValueError: If ``z`` is not finite or touches the support, the answer leaves float64's
                range, or ``method`` is unknown.
            NotImplementedError: If this law has no formula.
            ConvergenceError: If the formula's equation was not solved at a point.
        """
        check_method(method, ("formula", "quadrature"))
        z = self._check_off_support(z)
        with np.errstate(all="ignore"):  # what leaves float64's range is refused below
            if method == "formula":
                return within_range("z", self._cauchy_formula(z))[()]
            t, weights = self._nodes()
            lam = np.exp(np.minimum(t, LARGEST_LOG))
            return within_range("z", (1 / (z[..., None] - lam)) @ weights)[()]

    def s_transform(self, w: ComplexNumbers, *, method: Evaluation = "quadrature") -> Numbers:
        """Return Voiculescu's S-transform ``S(w)``, where ``psi(w S(w) / (1 + w)) = w``.

        Here ``psi(x) = E x lam / (1 - x lam)``; free products of laws multiply their S.

        Args:
            w: With "quadrature", one number between 0 and minus the mass off zero; a formula
                takes arrays, complex ones too.
            method: "quadrature", which inverts ``psi`` on the negative axis, or "formula".

        Raises:
            TypeError: If ``w`` is not a number.
            ValueError: If ``w`` is out of range, the answer leaves float64's, or ``method`` is
                unknown.
            NotImplementedError: If this law has no formula.
        """
        check_method(method, ("formula", "quadrature"))
        if method == "formula":
            with np.errstate(all="ignore"):
                return within_range("w", self._s_formula(as_complex("w", w)))[()]
        number = check_real("w", w)
        t, weights = self._nodes()
        t, weights = t[~np.isneginf(t)], weights[~np.isneginf(t)]
        mass = min(float(weights.sum()), 1.0)  # the rule may round up
        if not -mass < number < 0.0:
            raise ValueError(f"`w` is {number!r}; expected a number > {-mass:.6g} and < 0.")
        root = bracketed_root(
            lambda x: float(weights @ _expit(x + t)) + number,
            -float(t.max()) + math.log(-number / mass) - 40,
            -float(t.min()) - math.log1p(number / mass) + 40,
            xtol=1e-14,
        )
        log = root + math.log((1 + number) / -number)
        with np.errstate(over="ignore"):
            return float(within_range("w", np.exp(log)))

    def _cauchy_formula(self, z: ComplexArray) -> ComplexArray:
        raise NotImplementedError(
            f"`method` is 'formula'; {type(self).__name__} has no formula. Use 'quadrature'."
        )

    def _s_formula(self, w: ComplexArray) -> ComplexArray:
        raise NotImplementedError(
            f"`method` is 'formula'; {type(self).__name__} has no formula. Use 'quadrature'."
        )

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


def _expit(x: Vector) -> Vector:
    """Return ``1 / (1 + exp(-x))``; scipy.special's takes a quarter of a second to import."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))
