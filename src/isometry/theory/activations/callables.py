"""Turn any callable into phi, phi' and the points where they are not smooth, or refuse it."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from isometry._typing import Function
from isometry.theory.activations import torch_bridge
from isometry.theory.activations.chebyshev import CORE, Panels, resolve
from isometry.theory.activations.definition import Activation

# Both signs, no two of one size, no 0, no integer: what distinguishes implementations is met.
_PROBE = np.array([-2.9, -1.7, -0.6, -0.1, 0.3, 0.8, 1.9, 2.7])
_STEP = 1e-20  # of the complex step: h + 1j * step is h to the last digit, nothing cancels


def wrap(spec: Any, breakpoints: Sequence[float]) -> Activation:
    """Return the activation of an unknown callable."""
    name = str(getattr(spec, "__name__", type(spec).__name__))
    raw, slope = _adapt(spec, name)
    phi = _checked(raw, name)
    _check_values(phi, name)
    with np.errstate(all="ignore"):
        panels = resolve([phi] if slope is None else [phi, slope], breakpoints)
        slope_error = None
        if slope is None:
            slope, slope_error = _derivative(raw, panels)
    # Whether phi is odd is asked on a grid of its own, off every round number, and in all panels.
    inner = np.diff(panels.edges)[:, None] * np.array([0.1, 0.45, 0.8]) + panels.edges[:-1, None]
    h = np.concatenate((np.linspace(0.0137, CORE, 997), inner.ravel()))
    value = phi(h)
    # 1e-15: an odd implementation agrees to the last digit or two, another's averages are not 0
    odd = bool(np.all((np.abs(phi(-h) + value) <= 1e-15 * np.abs(value)) | ~np.isfinite(value)))
    return Activation(
        name,
        phi,
        slope,
        tuple(sorted({*panels.kinks, *breakpoints})),
        panels.jumps,
        odd,
        panels=tuple(panels.edges.tolist()),
        slope_error=slope_error,
        source=spec,
        recipe=(wrap, (spec, breakpoints)),
    )


def _adapt(spec: Any, name: str) -> tuple[Function, Function | None]:
    torch = torch_bridge.torch_module()
    if torch_bridge.is_module(spec):
        return torch_bridge.bridge(spec)
    with np.errstate(all="ignore"):
        try:
            out = spec(_PROBE.copy())
        except Exception as error:  # any failure of foreign code is answered by the next attempt
            if torch is not None and _accepts(lambda: spec(torch.tensor(_PROBE))):
                return torch_bridge.bridge(spec)
            if _accepts(lambda: [float(spec(float(x))) for x in _PROBE]):
                return _pointwise(spec), None
            raise _failure(name, error) from error
    if torch is not None and isinstance(out, torch.Tensor):
        return torch_bridge.bridge(spec)
    return spec, None


def _failure(name: str, error: Exception) -> TypeError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return TypeError(
        f"`spec` {name!r} fails on a float64 array ({reason}); expected an elementwise function "
        "of NumPy arrays, torch tensors or numbers."
    )


def _accepts(attempt: Callable[[], Any]) -> bool:
    try:
        attempt()
    except Exception:  # whatever foreign code raises means no
        return False
    return True


def _pointwise(spec: Callable[[float], Any]) -> Function:
    def value(x: float) -> float:
        try:
            return float(spec(x))
        except (ArithmeticError, ValueError):
            return np.nan

    return lambda h: np.array([value(x) for x in h.ravel().tolist()]).reshape(h.shape)


def _checked(raw: Function, name: str) -> Function:
    def phi(h: np.ndarray) -> np.ndarray:
        try:
            with np.errstate(all="ignore"):
                out = np.asarray(raw(h.copy()))
        except Exception as error:  # foreign code may raise anything
            raise _failure(name, error) from error
        if out.shape != h.shape:
            raise ValueError(
                f"`spec` {name!r} returns shape {out.shape} for an input of shape {h.shape}; "
                "expected an elementwise function."
            )
        if out.dtype.kind not in "biuf":
            raise TypeError(f"`spec` {name!r} returns dtype {out.dtype}; expected real numbers.")
        return out.astype(np.float64)

    return phi


def _check_values(phi: Function, name: str) -> None:
    h = np.linspace(-8.0, 8.0, 321)  # no activation in use is infinite here
    value = phi(h)
    if not np.isfinite(value).all():
        worst = np.flatnonzero(~np.isfinite(value))[0]
        raise ValueError(
            f"`spec` {name!r} returns {value[worst]} at h = {h[worst]:g}; expected finite numbers."
        )
    size = np.abs(value).max()
    # Reversed and rolled: a position-dependent, random or mixing function answers differently, one
    # in float32 (1e-7) or with other rounding for other memory layouts does not.
    for again in (phi(h[::-1])[::-1], phi(np.roll(h, 7))[np.arange(7, 7 + h.size) % h.size]):
        if np.abs(again - value).max() > 1e-5 * size:
            raise NotImplementedError(
                f"`spec` {name!r} gives one h different values at different places or times; "
                "the theory covers elementwise, deterministic activations only."
            )
    part = phi(h[:5])
    if np.abs(part - value[:5]).max() > 1e-5 * size:
        raise NotImplementedError(
            f"`spec` {name!r} mixes the entries of its input; the theory covers elementwise "
            "activations only."
        )


def _derivative(raw: Function, panels: Panels) -> tuple[Function, Function]:
    """Return the derivative and its error: a complex step where that agrees with the panels."""

    def step(h: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.imag(raw(h + 1j * _STEP)) / _STEP

    def slope(h: np.ndarray) -> np.ndarray:
        found = step(h)
        return np.where(np.isfinite(found), found, panels.slope(h))

    def slope_error(h: np.ndarray) -> np.ndarray:
        return np.where(np.isfinite(step(h)), 0.0, panels.slope_error(h))

    middle = (panels.edges[1:] + panels.edges[:-1]) / 2
    middle = middle[np.abs(middle) < CORE]
    wanted, slack = panels.slope(middle), panels.slope_error(middle)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = step(middle)
    except Exception:  # a function of real numbers only
        return panels.slope, panels.slope_error
    # A complex step is right to rounding, or wrong by the order of the slope (through abs, max or a
    # cast): 1e-6 tells them apart and leaves the polynomials room.
    size = np.maximum(np.abs(wanted), 1e-3 * np.abs(wanted).max())
    if found.shape == middle.shape and (np.abs(found - wanted) <= 1e-6 * size + slack).all():
        return slope, slope_error
    return panels.slope, panels.slope_error
