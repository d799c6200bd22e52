"""Activations as torch sees them: named ones, and one at its working point."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from isometry._checks import check_kind
from isometry._typing import Checked
from isometry.theory.activations.lookup import Activation as Phi
from isometry.theory.working_point import WorkingPoint

__all__ = ["WRITTEN_OUT", "Activation", "torch_phi"]

_NOT_TORCH = (
    "`activation` is {!r}, a function that torch cannot differentiate; "
    "pass a torch callable or module instead."
)


WRITTEN_OUT: dict[str, Callable[..., Tensor]] = {
    "erf": torch.erf,
    "sin": torch.sin,
    "sign": torch.sign,
}
"""Named activations that ``torch.nn.functional`` has not under their name, parameters by name."""


def torch_phi(phi: Phi) -> Callable[[Tensor], Tensor]:
    """Return the torch function of a named activation, parameters bound.

    Raises:
        NotImplementedError: If the activation was made from a NumPy callable.
    """
    if isinstance(phi.source, WorkingPoint):
        return Activation(phi.source)
    if phi.source is not None:
        return _differentiable(phi)
    if phi.name == "linear":
        return nn.Identity()
    function = WRITTEN_OUT.get(phi.name) or getattr(nn.functional, phi.name, None)
    if function is None:
        raise NotImplementedError(_NOT_TORCH.format(phi))
    parameters = dict(phi.parameters)
    if phi.name == "prelu":
        weight = torch.tensor(parameters["weight"])
        return lambda h: function(h, weight.to(h))
    return lambda h: function(h, **parameters)


def _differentiable(phi: Phi) -> Callable[[Tensor], Tensor]:
    """Return the callable the activation was made from.

    Raises:
        NotImplementedError: If torch cannot differentiate it.
    """
    h = torch.tensor([0.3], requires_grad=True)
    try:
        with torch.enable_grad():
            image = phi.source(h)
    except (TypeError, ValueError, RuntimeError):
        raise NotImplementedError(_NOT_TORCH.format(phi)) from None
    if not isinstance(image, Tensor) or not image.requires_grad:
        raise NotImplementedError(_NOT_TORCH.format(phi))
    return phi.source


class Activation(nn.Module):
    """An activation at its working point: ``psi(u) = phi(scale u + shift) - mean``.

    Args:
        point: What :func:`isometry.working_point` returned.

    Raises:
        TypeError: If ``point`` is no working point.
        NotImplementedError: If phi is a NumPy function, which torch cannot differentiate.

    Notes:
        Made for pre-activations of mean 0 and variance 1; there psi has mean 0 and the shares that
        the point was asked for. Wrapped around a model's activation it needs its input so scaled.

    Examples:
        >>> from isometry import working_point
        >>> Activation(working_point("relu"))
        Activation('relu', scale=1, shift=0, mean=0.398942)
    """

    def __init__(self, point: Checked[WorkingPoint]) -> None:
        super().__init__()
        known = check_kind("point", point, WorkingPoint, "what `isometry.working_point` returns")
        self.phi = torch_phi(known.activation)
        self.name = known.activation.name
        self.scale, self.shift, self.mean = known.scale, known.shift, known.mean

    def forward(self, u: Tensor) -> Tensor:
        """Return ``psi(u)``, in the shape of ``u``."""
        return self.phi(self.scale * u + self.shift) - self.mean

    def __repr__(self) -> str:
        numbers = f"scale={self.scale:.6g}, shift={self.shift:.6g}, mean={self.mean:.6g}"
        return f"Activation({self.name!r}, {numbers})"
