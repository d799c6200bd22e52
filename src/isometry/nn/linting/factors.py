"""Ratios of standard deviations that have a name."""

import math
from collections.abc import Mapping

_CLOSE = 0.03
"""Relative distance within which a ratio is called by its name."""


def depth_factors(layers: int, branches: int) -> dict[str, float]:
    """Return the factors that rules for depth give maps that write the stream.

    Args:
        layers: Number of layers L.
        branches: Number of maps that write the stream, 2L in most transformers.
    """
    named = {
        "1/sqrt(2L)": (2 * layers) ** -0.5,
        "1/sqrt(L)": layers**-0.5,
        "1/L": 1 / layers,
        "1/(2L)": 1 / (2 * layers),
        "1/sqrt(branches)": branches**-0.5,
        "1/branches": 1 / branches,
    }
    return {name: value for name, value in named.items() if value < 0.97}


def fan_factors(one: tuple[int, int], other: tuple[int, int]) -> dict[str, float]:
    """Return the factors between two maps that a fan counted for the other one makes."""
    (fan_in, fan_out), (in_other, out_other) = one, other
    return {
        "sqrt(fan_in / fan_in')": math.sqrt(fan_in / in_other),
        "sqrt(fan_out / fan_out')": math.sqrt(fan_out / out_other),
        "fan_in / fan_in'": fan_in / in_other,
        "sqrt(fan_out / fan_in)": math.sqrt(fan_out / fan_in),
    }


PLAIN = {"sqrt(2)": math.sqrt(2), "sqrt(3)": math.sqrt(3), "2": 2.0}


def named_factor(ratio: float, known: Mapping[str, float] | None = None) -> str:
    """Return ``", which is NAME = VALUE"`` for a ratio that has a name, else an empty string."""
    if not 0 < ratio < math.inf:
        return ""
    for name, value in (dict(known or {}) | PLAIN).items():
        for text, number in (
            (name, value),
            (f"1/({name})" if "/" in name else f"1/{name}", 1 / value),
        ):
            if abs(math.log(number)) > 0.05 and abs(math.log(ratio / number)) < _CLOSE:
                tidy = _tidy(text)
                return f", which is {tidy}" + ("" if tidy.isdigit() else f" = {number:.3g}")
    return ""


def _tidy(text: str) -> str:
    inner = text.removeprefix("1/(1/")
    return inner.removesuffix(")") if inner != text else text
