"""Closed forms of E phi, E phi^2, E phi', E phi'^2 for h ~ N(0, q), free of cancellation.

Every function takes the variances ``q > 0`` last and returns the four averages in this order;
the formulas are elementary Gaussian integrals, derived here.
"""

import math
from typing import Any, TypeAlias

import numpy as np

from isometry.theory.special import special

Moments: TypeAlias = tuple[Any, Any, Any, Any]

_TWO_PI = 2 * np.pi
_POWERS = np.arange(2, 42)
_ERFCX = (-1.0) ** _POWERS / np.array([math.gamma(k / 2 + 1) for k in _POWERS.tolist()])
_ERFCX_TWICE = _ERFCX * (2.0**_POWERS - 2.0)


def linear(q: Any) -> Moments:
    """Average the identity."""
    one = np.ones_like(q)
    return 0.0 * q, 1.0 * q, one, one


def rectifier(negative: float, q: Any) -> Moments:
    """Average ``h`` for ``h > 0`` and ``negative * h`` below."""
    one = np.ones_like(q)
    power = (1 + negative * negative) / 2
    mean = (1 - negative) * np.sqrt(q / _TWO_PI)
    return mean, power * q, (1 + negative) / 2 * one, power * one


def erf(q: Any) -> Moments:
    """Average the error function."""
    root = np.sqrt(0.25 + q)
    slope = 2 / (np.sqrt(_TWO_PI) * np.sqrt(0.5 + q))
    return 0.0 * q, np.arctan2(q, root) * (2 / np.pi), slope, 2 / (np.pi * root)


def sin(q: Any) -> Moments:
    """Average the sine."""
    square = -np.expm1(-2 * q) / 2
    return 0.0 * q, square, np.exp(-q / 2), (1 + np.exp(-2 * q)) / 2


def sign(q: Any) -> Moments:
    """Average the sign; its derivative is zero almost everywhere."""
    return 0.0 * q, np.ones_like(q), 0.0 * q, 0.0 * q


def gelu(q: Any) -> Moments:
    """Average ``h Phi(h)``, by Stein's lemma and the arcsine of the correlation q/(1+q)."""
    root = np.sqrt(2) * np.sqrt(0.5 + q)
    share = q / (1 + q)
    angle = np.arctan2(q, root) / _TWO_PI
    square = q * (0.25 + angle + share / (np.pi * root))
    cross = 2 * share / root + (q / (0.5 + q)) / (2 * root)
    mean = np.sqrt(share) * np.sqrt(q / _TWO_PI)
    return mean, square, 0.5 * np.ones_like(q), 0.25 + angle + cross / _TWO_PI


def exponential(scale: float, height: float, length: float, q: Any) -> Moments:
    """Average ``scale h`` for ``h > 0`` and ``scale height (e^(h / length) - 1)`` below."""
    x = np.sqrt(q / 2) / length
    once, twice = special().erfcx(x) / 2, special().erfcx(2 * x) / 2
    ratio = height / length
    first, second = _remainders(x)
    mean = (1 - ratio) * np.sqrt(q / _TWO_PI) + height * first
    square = q / 2 + height * height * second
    slope, power = 0.5 + ratio * once, 0.5 + ratio * ratio * twice
    return scale * mean, scale * scale * square, scale * slope, scale * scale * power


def _remainders(x: Any) -> tuple[Any, Any]:
    """Return (e(x) - 1)/2 + x/sqrt(pi) and (e(2x) - 2 e(x) + 1)/2 for e = erfcx."""
    near = np.minimum(x, 0.5)
    powers = np.power.outer(near, _POWERS)
    once, twice = special().erfcx(x), special().erfcx(2 * x)
    first = np.where(x < 0.5, powers @ _ERFCX / 2, (once - 1) / 2 + x / np.sqrt(np.pi))
    second = np.where(x < 0.5, powers @ _ERFCX_TWICE / 2, (twice - 2 * once + 1) / 2)
    return first, second
