"""What a spectrum can be measured of, and by which route."""

import torch

from isometry._checks import suggest
from isometry._typing import Checked
from isometry.nn.sandbox._typing import Operator
from isometry.nn.spectrum.wide import NARROW

DENSE_LIMIT = 2048
"""Up to this many singular values the dense route takes a few times Lanczos' products at most."""
DENSE_ENTRIES = 2**26
"""Up to this many entries (512 MiB in float64) J is written out without being asked to."""


def check_operator(J: object) -> None:
    """Refuse what has no products.

    Raises:
        TypeError: With what is expected in its place.
    """
    if isinstance(J, torch.nn.Module) or not isinstance(J, Operator):
        advice = " Make one: `JacobianOperator(model, x)`." if callable(J) else ""
        raise TypeError(
            f"`J` is a {type(J).__name__}; expected an operator such as `JacobianOperator`.{advice}"
        )
    if len(J.shape) != 2:
        raise TypeError(f"`J` has shape {tuple(J.shape)}; expected (n_out, n_in).")


def check_method(J: Checked[Operator], method: object) -> str:
    """Return the route to take for ``J``.

    Raises:
        TypeError: If it is no operator, or its dtype is too coarse to measure with.
        ValueError: If it is empty or the method unknown.
    """
    check_operator(J)
    if J.dtype not in {torch.float32, torch.float64, *NARROW}:
        raise TypeError(
            f"`J` has dtype {J.dtype}; expected torch.float32, float64, bfloat16 or float16. "
            "Convert the model and its input with `.float()` first."
        )
    if min(J.shape) < 1:
        raise ValueError(f"`J` has shape {tuple(J.shape)}; expected at least one row and column.")
    if method is None:
        small = min(J.shape) <= DENSE_LIMIT and J.shape[0] * J.shape[1] <= DENSE_ENTRIES
        return "dense" if small else "lanczos"
    if not isinstance(method, str) or method not in {"dense", "lanczos"}:
        hint = suggest(method, ("dense", "lanczos")) if isinstance(method, str) else ""
        raise ValueError(f"`method` is {method!r}; expected 'dense', 'lanczos' or None.{hint}")
    return method
