"""Commands that need only the mathematics: they answer in under a second, without torch."""

import math
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from isometry.cli.answers import (
    ActivationRow,
    ActivationsAnswer,
    CumulantAnswer,
    EdgeRow,
    LawAnswer,
    QuantileRow,
    SigmaAnswer,
)
from isometry.cli.output import PICTURES, check_place, complain, emit, write_plot
from isometry.cli.reference import load_object
from isometry.errors import TheoryWarning
from isometry.theory.activations.lookup import Activation, activation, activation_names
from isometry.theory.design import cumulant_from_condition_number, solve_sigma_w
from isometry.theory.finite_width import WidthBands, width_bands
from isometry.theory.laws import UniversalLaw
from isometry.theory.prediction import jacobian_law, predict_outliers
from isometry.theory.propagation import ResNetSpec, effective_cumulant

_LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def law(
    *,
    c: float | None = None,
    condition_number: float | None = None,
    scale: float = 1.0,
    width: int | None = None,
    plot: Path | None = None,
    json: bool = False,
) -> None:
    """Print the universal law: edges, moments and quantiles of the singular values.

    Args:
        c: The one parameter of the law, >= 0.
        condition_number: Choose c so that s_max/s_min has this value instead, >= 1.
        scale: Factor on lam = s^2, > 0.
        width: Also print where 95 % of networks of this width have their edges and quantiles, from
            16 on.
        plot: Also write a picture of the density: .svg, .png or .pdf.
        json: Print JSON.

    Raises:
        ValueError: If neither or both of c and the condition number are given.
    """
    if (c is None) == (condition_number is None):
        raise ValueError("Give exactly one of `--c` and `--condition-number`.")
    check_place("--plot", plot, *PICTURES)
    if condition_number is not None:
        c = cumulant_from_condition_number(condition_number)
    spectrum = UniversalLaw(c=c if c is not None else 0.0, scale=scale)
    quantiles = [float(spectrum.icdf(p)) for p in _LEVELS]
    bands = None if width is None else width_bands(spectrum, width, probabilities=_LEVELS)
    ranges = [(None, None)] * len(_LEVELS) if bands is None else map(_roots, bands.quantiles)
    rows = [
        QuantileRow(p, lam, math.sqrt(lam), *ends)
        for p, lam, ends in zip(_LEVELS, quantiles, ranges, strict=True)
    ]
    record = LawAnswer(
        c=spectrum.c,
        scale=spectrum.scale,
        **_edges(spectrum),
        quantiles=rows,
        width=width,
        ks_allowed=None if bands is None else bands.ks,
        edges_at_width=None if bands is None else _edge_rows(bands),
    )
    emit(record, as_json=json, tables=["quantiles", "edges_at_width"])
    write_plot(plot, spectrum.plot)


def cumulant(
    name: str,
    /,
    *,
    depth: int,
    sigma_w: float = 1.0,
    sigma_b: float = 0.0,
    skip: float = 1.0,
    m1: float = 0.0,
    m2: float = 1.0,
    json: bool = False,
) -> None:
    """Print c of a residual network, from its activation and its initialisation.

    Args:
        name: Activation, such as gelu or leaky_relu(0.1), or module:callable of your own.
        depth: Number of layers L.
        sigma_w: Standard deviation: Var W = sigma_w^2 / (N L).
        sigma_b: Standard deviation: Var b = sigma_b^2.
        skip: Factor a of the skip connection.
        m1: Mean of the entries of the input.
        m2: Mean square of the entries of the input.
        json: Print JSON.
    """
    act = _activation(name)
    spec = ResNetSpec(act, depth=depth, sigma_w=sigma_w, sigma_b=sigma_b, skip=skip)
    c, more = effective_cumulant(spec, m1=m1, m2=m2), {}
    try:
        more = _edges(jacobian_law(spec, m1=m1, m2=m2))
        more["outliers_s"] = [float(s) for s in predict_outliers(spec, m1=m1, m2=m2)]
    except (ValueError, OverflowError, NotImplementedError) as error:
        complain("warning", f"c is known but not its law: {error}")
    emit(CumulantAnswer(str(act), depth, sigma_w, sigma_b, skip, c, **more), as_json=json)


def sigma_w(
    name: str,
    /,
    *,
    depth: int,
    c: float | None = None,
    condition_number: float | None = None,
    sigma_b: float = 0.0,
    skip: float = 1.0,
    m1: float = 0.0,
    m2: float = 1.0,
    json: bool = False,
) -> None:
    """Print the sigma_w that gives a chosen c (1 unless said) or condition number.

    Args:
        name: Activation, such as gelu or leaky_relu(0.1), or module:callable of your own.
        depth: Number of layers L.
        c: Wanted c, >= 0.
        condition_number: Wanted condition number of the bulk at unit skip, instead of c.
        sigma_b: Standard deviation: Var b = sigma_b^2.
        skip: Factor a of the skip connection.
        m1: Mean of the entries of the input.
        m2: Mean square of the entries of the input.
        json: Print JSON.

    Raises:
        ValueError: If both c and the condition number are given.
    """
    if c is not None and condition_number is not None:
        raise ValueError("Give at most one of `--c` and `--condition-number`.")
    target = 1.0 if c is None else c
    if condition_number is not None:
        target = cumulant_from_condition_number(condition_number) * skip**2
    act = _activation(name)
    solved = solve_sigma_w(
        act, depth=depth, c=target, sigma_b=sigma_b, skip=skip, m1=m1, m2=m2
    )  # fmt: skip
    spec = ResNetSpec(act, depth=depth, sigma_w=solved, sigma_b=sigma_b, skip=skip)
    reached = effective_cumulant(spec, m1=m1, m2=m2)
    edges = _edges(jacobian_law(spec, m1=m1, m2=m2))
    fan_in = solved / math.sqrt(depth)
    emit(SigmaAnswer(str(act), depth, solved, fan_in, reached, **edges), as_json=json)


def activations(*, json: bool = False) -> None:
    """List the named activations with their parameters and kinks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TheoryWarning)  # nothing is computed here
        listed = [activation(name) for name in activation_names()]
    rows = [ActivationRow(str(act), list(act.breakpoints), act.odd) for act in listed]
    emit(ActivationsAnswer(rows), as_json=json, tables=["activations"])


def _activation(name: str) -> Activation:
    """Return a named activation, or the user's own, found by ``module:callable``."""
    if ":" not in name:
        return activation(name)
    return activation(load_object("NAME", name, "an activation"))


def _roots(ends: Iterable[float]) -> tuple[float, float]:
    low, high = ends
    return math.sqrt(low), math.sqrt(high)


def _edge_rows(bands: WidthBands) -> list[EdgeRow]:
    ends = {"smallest s": bands.lower_edge, "largest s": bands.upper_edge}
    return [EdgeRow(name, *_roots(pair)) for name, pair in ends.items()]


def _edges(spectrum: UniversalLaw) -> dict[str, Any]:
    low, high = spectrum.support()
    return {
        "lam_min": float(low),
        "lam_max": float(high),
        "s_min": math.sqrt(low),
        "s_max": math.sqrt(high),
        "condition_number": float(spectrum.condition_number()),
        "mean_lam": float(spectrum.mean()),
    }
