"""Activations: everything the theory needs to know of phi, by name, from a callable, or a module.

What counts is phi, phi' almost everywhere (what automatic differentiation returns) and the points
at which either is not smooth. torch is never imported here: its objects are recognised only where
torch is already loaded.
"""

import ast
import inspect
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from isometry._checks import check_array, check_real, shown, suggest
from isometry._typing import Real, Reals
from isometry.errors import TheoryWarning
from isometry.theory.activations import torch_bridge
from isometry.theory.activations.callables import wrap
from isometry.theory.activations.catalogue import ALIASES, NAMED
from isometry.theory.activations.definition import Activation, ActivationLike, build

__all__ = ["Activation", "ActivationLike", "activation", "activation_names"]

_CALL = re.compile(r"\s*([A-Za-z_]\w*)\s*(\(.*\))?\s*", re.DOTALL)
_UFUNCS: dict[np.ufunc, str] = {np.tanh: "tanh", np.sin: "sin", np.sign: "sign"}
_SPECIAL = {"erf": "erf", "expit": "sigmoid", "log_expit": "logsigmoid"}


def activation_names() -> tuple[str, ...]:
    """List the named activations, in alphabetical order."""
    return tuple(NAMED)


def activation(
    spec: ActivationLike, *, breakpoints: Reals | None = None, **parameters: Real | str
) -> Activation:
    """Describe an activation given by name, as a callable or as a torch module.

    Args:
        spec: A name as in ``torch.nn.functional``, with arguments if wanted ("elu(alpha=0.5)"); a
            callable of NumPy arrays, torch tensors or numbers; a ``torch.nn.Module``; or an
            :class:`Activation`, which is returned as it is.
        breakpoints: Kinks, jumps and narrow features of a callable, in addition to those found
            by scanning. Named activations know theirs.
        **parameters: Parameters of a named activation, as in ``torch.nn.functional``.

    Returns:
        The activation. torch's own functions and modules become the named ones. The derivative
        of another callable is autograd's for torch, otherwise a complex step where that works,
        otherwise that of a piecewise Chebyshev interpolant. Modules are copied, never changed.

    Raises:
        TypeError: If ``spec`` cannot be called on arrays, or a parameter is not known.
        ValueError: If the name or a parameter's value is not known, or if a callable returns
            values that are not finite or have the wrong shape.
        NotImplementedError: If ``spec`` is not elementwise or not deterministic.

    Notes:
        An activation that jumps gives a ``TheoryWarning`` here, once, when it is made: its
        derivative is taken almost everywhere, as automatic differentiation does. ``rrelu`` is the
        evaluation mode, with slope ``(lower + upper) / 2``. ``prelu`` and ``threshold``, which have
        no defaults in torch, default to weight 0.25 and to (0, 0), the ReLU. Scanning a callable
        takes about 30 ms; features narrower than about 0.003 can go unseen by it.

    Examples:
        >>> activation("leaky_relu", negative_slope=0.1)
        Activation('leaky_relu', negative_slope=0.1)
        >>> activation(lambda h: np.maximum(h - 0.5, 0.0)).breakpoints
        (0.5,)
    """
    if isinstance(spec, (str, Activation)) and breakpoints is not None:
        raise ValueError(
            f"`breakpoints` is {shown(breakpoints)}; expected none, as {shown(spec)} has its own."
        )
    if isinstance(spec, Activation):
        if parameters:
            raise TypeError(
                f"`parameters` are {shown(parameters)}; expected none for an Activation."
            )
        return spec
    made = _from_text(spec, parameters) if isinstance(spec, str) else None
    if made is None:
        made = _from_callable(spec, breakpoints, parameters)
    _warn_of_jumps(made)
    return made


def _from_callable(spec: Any, breakpoints: Any, parameters: dict[str, Any]) -> Activation:
    if not callable(spec):
        raise TypeError(
            f"`spec` is {shown(spec)}; expected a name, a callable, a torch module or an "
            "Activation."
        )
    kind = getattr(spec, "__name__", type(spec).__name__)
    _refuse_mixing(kind)
    known = _known_ufunc(spec) if isinstance(spec, np.ufunc) else None
    own: dict[str, Any] = {}
    found = (known, own) if known else torch_bridge.recognise(spec)
    if found is not None and breakpoints is None:
        return _named(found[0], (), {**found[1], **parameters})
    if parameters:
        raise TypeError(
            f"`parameters` are {shown(parameters)}; expected none for the callable {kind!r}, whose "
            "parameters are its own."
        )
    points = check_array("breakpoints", np.empty(0) if breakpoints is None else breakpoints)
    if np.isinf(points).any():
        raise ValueError("`breakpoints` contains inf; expected finite numbers.")
    return wrap(spec, tuple(points.ravel().tolist()))


def _known_ufunc(spec: np.ufunc) -> str | None:
    name = _SPECIAL.get(spec.__name__)
    if name and spec is getattr(sys.modules.get("scipy.special"), spec.__name__, None):
        return name  # whoever passes it has loaded its module
    return _UFUNCS.get(spec)


def _refuse_mixing(name: str) -> None:
    if name.lower() in torch_bridge.MIXING:
        raise NotImplementedError(
            f"`spec` is {name!r}, which mixes the entries of its input; the theory covers "
            "elementwise activations only."
        )


def _from_text(text: str, parameters: dict[str, Any]) -> Activation:
    match = _CALL.fullmatch(text)
    if match is None:
        raise ValueError(
            f"`spec` is {shown(text)}; expected a name such as 'gelu' or 'elu(alpha=0.5)'."
        )
    name = _canonical(match[1])
    values: list[Any] = []
    if match[2]:
        values, written = _arguments(text, match[2])
        parameters = {**written, **parameters}
    return _named(name, values, parameters)


def _canonical(name: str) -> str:
    lower = name.lower().rstrip("_")
    _refuse_mixing(lower)
    found = ALIASES.get(lower, lower)
    if found not in NAMED:
        hint = suggest(lower, [*NAMED, *ALIASES])
        raise ValueError(
            f"`spec` is {shown(name)}; expected a name that `activation_names()` lists, a callable "
            f"or a torch module.{hint}"
        )
    return found


def _arguments(text: str, written: str) -> tuple[list[Any], dict[str, Any]]:
    try:
        call = ast.parse("f" + written, mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError
        values = [ast.literal_eval(value) for value in call.args]
        pairs = {str(pair.arg): ast.literal_eval(pair.value) for pair in call.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two: nested deeply
        raise ValueError(
            f"`spec` is {shown(text)}; expected literal arguments as in 'elu(alpha=0.5)'."
        ) from None
    return values, pairs


def _named(name: str, values: Sequence[Any], parameters: dict[str, Any]) -> Activation:
    signature = inspect.signature(NAMED[name])
    try:
        bound = signature.bind(*values, **parameters)
    except TypeError as error:
        known = ", ".join(signature.parameters) or "none"
        raise TypeError(f"`{name}`: {error}; its parameters are: {known}.") from None
    bound.apply_defaults()
    checked = {
        key: value if isinstance(signature.parameters[key].default, str) else check_real(key, value)
        for key, value in bound.arguments.items()
    }
    return build(name, checked)


def _warn_of_jumps(made: Activation) -> None:
    """Say that the derivative of a discontinuous activation misses its jumps."""
    if made.jumps:
        places = ", ".join(f"{point:g}" for point in made.jumps[:4])
        places += f" and {len(made.jumps) - 4} more" if len(made.jumps) > 4 else ""
        warnings.warn(
            f"`{made.name}` jumps at h = {places}; its derivative is taken almost everywhere, as "
            "automatic differentiation does, so c does not see the jumps.",
            TheoryWarning,
            stacklevel=3,
        )
