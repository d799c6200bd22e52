"""The ladder of initialisations: what is made equal between activations, one thing after another.

From the two habits (one sigma_w, He's variance) over the paper's proposal (one c) to what c does
not see: the mean an activation adds, the step a weight makes, and how linear and how quadratic the
activation is where it works (docs/theory.md, section 10).
"""

import importlib
import math
import os
import sys
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from isometry.theory.activations.lookup import Activation, activation
from isometry.theory.design import solve_sigma_w
from isometry.theory.dual import dual_activation
from isometry.theory.propagation import ResNetSpec
from isometry.theory.roots import bracketed_root
from isometry.theory.working_point import WorkingPoint, working_point

RUNGS = (
    "equal sigma_w",
    "He",
    "equal c",
    "+ mean removed",
    "+ equal steps",
    "+ linear share",
    "+ quadratic share",
)
TOP = RUNGS[-1]
MODEL = "relu"
"""Whose shares, and whose step at c = 1, all activations get."""

SCHEMES = RUNGS[:3]
"""The rungs of the study that came before: the habits, and the paper's proposal."""

_TOLERANCE = 0.08  # of the linear share alone: leaky ReLU's is .07 from ReLU's at every scale
_SCALES = np.geomspace(0.02, 200.0, 81)
Settings: TypeAlias = dict[str, Any]


def resolve(name: str) -> Activation:
    """Return a named activation, or the callable or module "module:attribute" as one.

    Args:
        name: As :func:`isometry.activation` takes it, or an import path with a colon.

    Raises:
        ValueError: If the module or its attribute is missing, or the name unknown.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        return activation(name)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does; workers start without it
    try:
        return activation(getattr(importlib.import_module(module), attribute))
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"`activation` is {name!r}, which cannot be imported ({error}); expected a name or "
            "module:attribute of a module in this folder or an installed one."
        ) from error


@lru_cache(maxsize=4096)
def scheme_sigma_w(
    scheme: str, activation: str, *, depth: int, value: float, sigma_b: float = 0.0
) -> float:
    """Return the standard deviation sigma_w (1/L convention) that a scheme gives an activation.

    Args:
        scheme: "equal sigma_w" (``value``), "He" (Var W = 2 / N) or "equal c" (c is ``value``).
        activation: Name.
        depth: Number of layers L.
        value: sigma_w or c.
        sigma_b: Standard deviation.

    Raises:
        ValueError: If the scheme is unknown, or if no sigma_w gives the c.
    """
    if scheme == "equal sigma_w":
        return value
    if scheme == "He":
        return math.sqrt(2.0 * depth)
    if scheme == "equal c":
        solved = solve_sigma_w(activation, depth=depth, c=value, sigma_b=sigma_b)
        return float(f"{solved:.10g}")  # a run's id must not hang on the solver's last digits
    raise ValueError(f"`scheme` is {scheme!r}; expected one of {', '.join(map(repr, SCHEMES))}.")


@lru_cache(maxsize=1024)
def rung_settings(rung: str, name: str, *, depth: int, c: float) -> Settings:
    """Return what a rung makes of an activation: the part of a run's settings that differs.

    Args:
        rung: One of ``RUNGS``.
        name: Of the activation, or its import path.
        depth: Number of layers L.
        c: The common c, from the third rung on.

    Returns:
        sigma_w, scale and shift (None where phi is as it is), centre, and the factor of the
        weights' learning rate.

    Raises:
        ValueError: If the rung is unknown, no sigma_w gives c, or the activation has no point
            with the shares.
    """
    if rung not in RUNGS:
        raise ValueError(f"`rung` is {rung!r}; expected one of {', '.join(map(repr, RUNGS))}.")
    place = RUNGS.index(rung)
    act = resolve(name)
    plain: Settings = {"scale": None, "shift": None, "centre": place > 2, "rate": 1.0}
    if place < 2:
        return plain | {"sigma_w": scheme_sigma_w(rung, MODEL, depth=depth, value=1.0)}
    if place < 5:
        sigma_w = solve_sigma_w(act, depth=depth, c=c, centre=place > 2)
        rate = _relative_rate(sigma_w) if place == 4 else 1.0
        return plain | {"sigma_w": _short(sigma_w), "rate": rate}
    point = _point(rung, name)
    sigma_w = math.sqrt(c / point.slope_square)
    return {
        "scale": _short(point.scale),
        "shift": _short(point.shift),
        "centre": True,
        "sigma_w": _short(sigma_w),
        "rate": _relative_rate(sigma_w),
    }


@lru_cache(maxsize=256)
def _point(rung: str, name: str) -> WorkingPoint:
    """Return an activation's point, the same for every depth and c."""
    act = resolve(name)
    return working_point(act, like=MODEL) if rung == TOP else linear_point(act)


def linear_point(act: Activation) -> WorkingPoint:
    """Return the point of smallest scale, unshifted, with the model's linear share.

    Args:
        act: The activation.

    Raises:
        ValueError: If its linear share is nowhere within 0.08 of the model's.
    """
    wanted = float(dual_activation(MODEL).shares(1)[0])

    def gap(log_scale: float) -> float:
        return float(dual_activation(act, math.exp(2 * log_scale)).shares(1)[0]) - wanted

    gaps = [gap(t) for t in np.log(_SCALES).tolist()]
    if abs(gap(0.0)) < 1e-9:
        return WorkingPoint.at(act)
    for k, (low, high) in enumerate(pairwise(gaps)):
        if (low > 0) != (high > 0):
            ends = np.log(_SCALES[k : k + 2]).tolist()
            return WorkingPoint.at(act, math.exp(bracketed_root(gap, *ends, xtol=1e-10)))
    nearest = min(map(abs, gaps))
    if nearest > _TOLERANCE:
        raise ValueError(
            f"`activation` is {act.name!r}, whose linear share stays {nearest:.3f} or "
            f"more from {wanted:.4f}; expected one within {_TOLERANCE:g}. Leave out this rung."
        )
    # what tends to it (ELU, softplus) is taken where the rest is seen no more; one share: scale 1
    near = [t for t, value in zip(_SCALES, gaps, strict=True) if abs(value) <= nearest + 0.005]
    return WorkingPoint.at(act, 1.0 if len(near) == len(gaps) else float(near[0]))


def spec_of(settings: Any) -> ResNetSpec:
    """Return the specification of a run's network.

    Args:
        settings: With activation, depth, sigma_w, sigma_b, and where the run is of a rung its
            scale, shift and centre.
    """
    act: Any = resolve(settings["activation"])
    if settings.get("scale") is not None:
        act = WorkingPoint.at(act, settings["scale"], settings["shift"])
    elif ":" not in settings["activation"]:
        act = settings["activation"]
    return ResNetSpec(
        act,
        depth=settings["depth"],
        sigma_w=settings["sigma_w"],
        sigma_b=settings["sigma_b"],
        centre=settings.get("centre", False),
    )


def _relative_rate(sigma_w: float) -> float:
    """Return the variance of the weights over the model's at c = 1, whose rate is 1."""
    return _short(sigma_w**2 / 2.0)  # ReLU: c = sigma_w^2 / 2


def _short(number: float) -> float:
    return float(f"{number:.10g}")  # a run's id must not hang on a solver's last digits
