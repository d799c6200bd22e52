"""Activations: everything the theory needs to know of phi, by name, from a callable, or a module.

What counts is phi, phi' almost everywhere (what automatic differentiation returns) and the points
at which either is not smooth. torch is never imported here: its objects are recognised only where
torch is already loaded.
"""

import ast
import inspect
import re
import warnings
from collections.abc import Sequence
from typing import Any

from isometry._checks import check_real, suggest
from isometry.errors import TheoryWarning
from isometry.theory._activation import Activation
from isometry.theory._catalogue import ALIASES, NAMED

__all__ = ["Activation", "activation", "activation_names"]

_CALL = re.compile(r"\s*([A-Za-z_]\w*)\s*(\(.*\))?\s*", re.DOTALL)
_GRADES = (1.0, 2.0, 4.0, 8.0, *(4.0**k for k in range(2, 42)))


def activation_names() -> tuple[str, ...]:
    """List the named activations, in alphabetical order."""
    return tuple(NAMED)


def activation(
    spec: Any, *, breakpoints: Sequence[float] | None = None, **parameters: Any
) -> Activation:
    """Describe an activation given by name, as a callable or as a module.

    Raises:
        TypeError: If ``spec`` is none of these.
    """
    if isinstance(spec, Activation):
        made = spec
    elif isinstance(spec, str):
        made = _from_text(spec, parameters)
    else:
        raise TypeError(f"`spec` is {spec!r}; expected a name.")
    _warn_of_jumps(made)
    return made


def _from_text(text: str, parameters: dict[str, Any]) -> Activation:
    match = _CALL.fullmatch(text)
    if match is None:
        raise ValueError(f"`spec` is {text!r}; expected a name such as 'gelu' or 'elu(alpha=0.5)'.")
    name = _canonical(match[1])
    values: list[Any] = []
    if match[2]:
        values, written = _arguments(text, match[2])
        parameters = {**written, **parameters}
    return _named(name, values, parameters)


def _canonical(name: str) -> str:
    lower = name.lower().rstrip("_")
    found = ALIASES.get(lower, lower)
    if found not in NAMED:
        hint = suggest(lower, [*NAMED, *ALIASES])
        raise ValueError(
            f"`spec` is {name!r}; expected a name that `activation_names()` lists, a callable or "
            f"a torch module.{hint}"
        )
    return found


def _arguments(text: str, written: str) -> tuple[list[Any], dict[str, Any]]:
    try:
        call = ast.parse("f" + written, mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError
        values = [ast.literal_eval(value) for value in call.args]
        pairs = {str(pair.arg): ast.literal_eval(pair.value) for pair in call.keywords}
    except (SyntaxError, ValueError):
        raise ValueError(
            f"`spec` is {text!r}; expected literal arguments as in 'elu(alpha=0.5)'."
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
    shape = NAMED[name](**checked)
    edges = [shape.length * grade for grade in _GRADES]
    return Activation(
        name,
        shape.phi,
        shape.dphi,
        shape.breakpoints,
        shape.jumps,
        shape.odd,
        checked,
        closed=shape.closed,
        panels=tuple([-edge for edge in reversed(edges)] + [0.0] + edges),
    )


def _warn_of_jumps(made: Activation) -> None:
    """Say that the derivative of a discontinuous activation misses its jumps."""
    if made.jumps:
        places = ", ".join(f"{point:g}" for point in made.jumps)
        warnings.warn(
            f"`{made.name}` jumps at h = {places}; its derivative is taken almost everywhere, as "
            "automatic differentiation does, so c does not see the jumps.",
            TheoryWarning,
            stacklevel=3,
        )
