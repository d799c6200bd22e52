"""The named activations: value, derivative almost everywhere, kinks, jumps, closed moments.

Names, parameters and defaults are those of ``torch.nn.functional``; where torch has no default
(``prelu``, ``threshold``) that of the module (weight 0.25) or the plain ReLU (0, 0) is taken.
``rrelu`` is the evaluation mode: a leaky ReLU with the mean slope ``(lower + upper) / 2``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from isometry._typing import Function
from isometry.theory.activations import closed_forms
from isometry.theory.special import special


@dataclass(frozen=True)
class Definition:
    """What defines an activation; ``length`` is the scale of its features in h."""

    phi: Function
    dphi: Function
    breakpoints: tuple[float, ...] = ()
    jumps: tuple[float, ...] = ()
    odd: bool = False
    closed: Callable[[Any], closed_forms.Moments] | None = None
    length: float = 1.0


def _linear() -> Definition:
    return Definition(lambda h: 1.0 * h, np.ones_like, odd=True, closed=closed_forms.linear)


def _rectifier(negative: float) -> Definition:
    if negative == 1:
        return _linear()
    return Definition(
        lambda h: np.where(h > 0, h, negative * h),
        lambda h: np.where(h > 0, 1.0, negative),
        (0.0,),
        closed=partial(closed_forms.rectifier, negative),
    )


def _leaky_relu(negative_slope: float = 0.01) -> Definition:
    return _rectifier(negative_slope)


def _prelu(weight: float = 0.25) -> Definition:
    return _rectifier(weight)


def _rrelu(lower: float = 1 / 8, upper: float = 1 / 3) -> Definition:
    if lower > upper:
        raise ValueError(f"`lower` is {lower:g}; expected a number <= upper = {upper:g}.")
    return _rectifier((lower + upper) / 2)


def _hardtanh(min_val: float = -1.0, max_val: float = 1.0) -> Definition:
    if min_val >= max_val:
        raise ValueError(f"`min_val` is {min_val:g}; expected a number < max_val = {max_val:g}.")
    return Definition(
        lambda h: np.clip(h, min_val, max_val),
        lambda h: np.where((h > min_val) & (h < max_val), 1.0, 0.0),
        (min_val, max_val),
        odd=min_val == -max_val,
    )


def _hardsigmoid() -> Definition:
    return Definition(
        lambda h: np.clip(h / 6 + 0.5, 0.0, 1.0),
        lambda h: np.where(np.abs(h) < 3, 1 / 6, 0.0),
        (-3.0, 3.0),
    )


def _hardswish() -> Definition:
    return Definition(
        lambda h: h * np.clip((h + 3) / 6, 0.0, 1.0),
        lambda h: np.where(h >= 3, 1.0, np.where(h > -3, (2 * h + 3) / 6, 0.0)),
        (-3.0, 3.0),
    )


def _exponential(scale: float, height: float, length: float) -> Definition:
    ratio = scale * height / length

    def phi(h: np.ndarray) -> np.ndarray:
        return np.where(h > 0, scale * h, scale * height * np.expm1(np.minimum(h, 0) / length))

    def dphi(h: np.ndarray) -> np.ndarray:
        return np.where(h > 0, scale, ratio * np.exp(np.minimum(h, 0) / length))

    closed = partial(closed_forms.exponential, scale, height, length)
    return Definition(phi, dphi, (0.0,), closed=closed, length=length)


def _elu(alpha: float = 1.0) -> Definition:
    return _exponential(1.0, alpha, 1.0)


def _celu(alpha: float = 1.0) -> Definition:
    if alpha <= 0:
        raise ValueError(f"`alpha` is {alpha:g}; expected a finite number > 0.")
    return _exponential(1.0, alpha, alpha)


def _selu() -> Definition:
    return _exponential(1.0507009873554804934193349852946, 1.6732632423543772848170429916717, 1.0)


def _gelu(approximate: str = "none") -> Definition:
    if approximate == "tanh":
        return Definition(_gelu_tanh, _gelu_tanh_slope)
    if approximate != "none":
        raise ValueError(f"`approximate` is {approximate!r}; expected 'none' or 'tanh'.")
    return Definition(
        lambda h: h * special().ndtr(h),
        lambda h: special().ndtr(h) + h * np.exp(-h * h / 2) / math.sqrt(2 * math.pi),
        closed=closed_forms.gelu,
    )


_GELU_TANH = 2 * math.sqrt(2 / math.pi)


def _gelu_tanh(h: np.ndarray) -> np.ndarray:
    return h * special().expit(_GELU_TANH * h * (1 + 0.044715 * h * h))


def _gelu_tanh_slope(h: np.ndarray) -> np.ndarray:
    u = _GELU_TANH * h * (1 + 0.044715 * h * h)
    du = _GELU_TANH * (1 + 3 * 0.044715 * h * h)
    s = special().expit(u)
    return s + h * du * s * special().expit(-u)


def _silu() -> Definition:
    def dphi(h: np.ndarray) -> np.ndarray:
        return special().expit(h) * (1 + h * special().expit(-h))

    return Definition(lambda h: h * special().expit(h), dphi)


def _mish() -> Definition:
    return Definition(lambda h: h * _tanh_softplus(h)[0], _mish_slope)


def _tanh_softplus(h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return T = tanh(softplus(h)) and 1 - T^2, both to full relative accuracy."""
    e = np.exp(-np.abs(h))
    top = np.where(h > 0, 1 + 2 * e, e * (e + 2))
    rest = np.where(h > 0, 2 * e * e, 2.0)
    bottom = top + rest
    return top / bottom, rest * (top + bottom) / bottom**2


def _mish_slope(h: np.ndarray) -> np.ndarray:
    value, sech = _tanh_softplus(h)
    return value + h * sech * special().expit(h)


def _softplus(beta: float = 1.0, threshold: float = 20.0) -> Definition:
    if beta <= 0:
        raise ValueError(f"`beta` is {beta:g}; expected a finite number > 0.")
    switch = threshold / beta
    gap = math.log1p(math.exp(-abs(threshold))) + max(-threshold, 0.0)
    visible = gap > 1e-6 * max(1.0, abs(threshold))
    return Definition(
        lambda h: np.where(beta * h > threshold, h, np.logaddexp(0.0, beta * h) / beta),
        lambda h: np.where(beta * h > threshold, 1.0, special().expit(beta * h)),
        (switch,),
        (switch,) if visible else (),
        length=1 / beta,
    )


def _sigmoid() -> Definition:
    return Definition(
        lambda h: special().expit(h), lambda h: special().expit(h) * special().expit(-h)
    )


def _logsigmoid() -> Definition:
    return Definition(lambda h: -np.logaddexp(0.0, -h), lambda h: special().expit(-h))


def _tanh() -> Definition:
    return Definition(np.tanh, _sech_square, odd=True)


def _sech_square(h: np.ndarray) -> np.ndarray:
    e = np.exp(-2 * np.abs(h))
    return 4 * e / (1 + e) ** 2


def _tanhshrink() -> Definition:
    return Definition(_tanhshrink_value, lambda h: np.tanh(h) ** 2, odd=True)


def _tanhshrink_value(h: np.ndarray) -> np.ndarray:
    square = np.minimum(np.abs(h), 1.0) ** 2
    fraction = 0.0 * square
    for odd in range(21, 1, -2):  # Lambert's continued fraction of tanh
        fraction = square / (odd + fraction)
    return np.where(np.abs(h) < 1, h * (fraction / (1 + fraction)), h - np.tanh(h))


def _softsign() -> Definition:
    return Definition(
        lambda h: h / (1 + np.abs(h)), lambda h: (1 / (1 + np.abs(h))) ** 2, (0.0,), odd=True
    )


def _hardshrink(lambd: float = 0.5) -> Definition:
    _check_lambd(lambd)
    ends = (-lambd, lambd) if lambd else ()
    return Definition(
        lambda h: np.where(np.abs(h) > lambd, h, 0.0),
        lambda h: np.where(np.abs(h) > lambd, 1.0, 0.0),
        ends,
        ends,
        odd=True,
    )


def _softshrink(lambd: float = 0.5) -> Definition:
    _check_lambd(lambd)
    return Definition(
        lambda h: np.sign(h) * np.maximum(np.abs(h) - lambd, 0.0),
        lambda h: np.where(np.abs(h) > lambd, 1.0, 0.0),
        (-lambd, lambd) if lambd else (),
        odd=True,
    )


def _check_lambd(lambd: float) -> None:
    if lambd < 0:
        raise ValueError(f"`lambd` is {lambd:g}; expected a finite number >= 0.")


def _threshold(threshold: float = 0.0, value: float = 0.0) -> Definition:
    return Definition(
        lambda h: np.where(h > threshold, h, value),
        lambda h: np.where(h > threshold, 1.0, 0.0),
        (threshold,),
        () if value == threshold else (threshold,),
    )


def _erf() -> Definition:
    return Definition(
        lambda h: special().erf(h),
        lambda h: 2 / math.sqrt(math.pi) * np.exp(-h * h),
        odd=True,
        closed=closed_forms.erf,
    )


def _sin() -> Definition:
    return Definition(np.sin, np.cos, odd=True, closed=closed_forms.sin)


def _sign() -> Definition:
    return Definition(np.sign, np.zeros_like, (0.0,), (0.0,), odd=True, closed=closed_forms.sign)


NAMED: dict[str, Callable[..., Definition]] = {
    "celu": _celu,
    "elu": _elu,
    "erf": _erf,
    "gelu": _gelu,
    "hardshrink": _hardshrink,
    "hardsigmoid": _hardsigmoid,
    "hardswish": _hardswish,
    "hardtanh": _hardtanh,
    "leaky_relu": _leaky_relu,
    "linear": _linear,
    "logsigmoid": _logsigmoid,
    "mish": _mish,
    "prelu": _prelu,
    "relu": partial(_rectifier, 0.0),
    "relu6": partial(_hardtanh, 0.0, 6.0),
    "rrelu": _rrelu,
    "selu": _selu,
    "sigmoid": _sigmoid,
    "sign": _sign,
    "silu": _silu,
    "sin": _sin,
    "softplus": _softplus,
    "softshrink": _softshrink,
    "softsign": _softsign,
    "tanh": _tanh,
    "tanhshrink": _tanhshrink,
    "threshold": _threshold,
}

ALIASES = {
    "identity": "linear",
    "leakyrelu": "leaky_relu",
    "log_sigmoid": "logsigmoid",
    "logistic": "sigmoid",
    "hard_tanh": "hardtanh",
    "hard_sigmoid": "hardsigmoid",
    "hard_swish": "hardswish",
    "hard_shrink": "hardshrink",
    "soft_shrink": "softshrink",
    "tanh_shrink": "tanhshrink",
    "swish": "silu",
}
