r"""Random weights at the variance of the 1/L convention, in the style of ``torch.nn.init``.

    Var W_ij = sigma_w^2 / (fan_in L)

averaged over the entries, whatever the scheme: the effective cumulant c of a residual layer sees
the variance only. Numbers are drawn on the generator's device in float32 (float64 for a float64
tensor) and then converted, so a seed means the same weights for every type and device.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from isometry._checks import check_integer, check_real, suggest
from isometry._typing import Checked, Integer, Real
from isometry.nn.sandbox._typing import Generator
from isometry.nn.sandbox.random import generator_or_fresh


def normal_(
    tensor: Checked[Tensor],
    sigma_w: Real = 1.0,
    *,
    depth: Integer = 1,
    generator: Generator = None,
) -> Tensor:
    """Fill a weight with independent Gaussian numbers.

    Args:
        tensor: Weight of shape ``(out, in, *kernel)``, written in place; for the transposed
            layout ``(in, out)`` pass ``weight.T``. A DTensor gets its part of the whole draw.
        sigma_w: Standard deviation >= 0 with ``Var W = sigma_w^2 / (fan_in L)``.
        depth: Number L of residual layers.
        generator: Source of the draw; without one `torch.manual_seed` decides.

    Returns:
        The tensor.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If the tensor has fewer than two axes or a number is out of range.
    """
    return _write_("normal", tensor, sigma_w, depth, generator)


def orthogonal_(
    tensor: Checked[Tensor],
    sigma_w: Real = 1.0,
    *,
    depth: Integer = 1,
    generator: Generator = None,
) -> Tensor:
    """Fill a weight with a random matrix whose rows, or columns, are orthogonal.

    A kernel is taken as the matrix ``(out, in * kernel)``. The smaller side is orthogonal.

    Args:
        tensor: As for :func:`normal_`.
        sigma_w: As for :func:`normal_`; a square matrix has the singular values
            ``sigma_w / sqrt(L)``.
        depth: Number L of residual layers.
        generator: As for :func:`normal_`.

    Returns:
        The tensor.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If the tensor has fewer than two axes or a number is out of range.

    References:
        [saxe2014] arXiv:1312.6120, orthogonal weights.
    """
    return _write_("orthogonal", tensor, sigma_w, depth, generator)


def delta_orthogonal_(
    tensor: Checked[Tensor],
    sigma_w: Real = 1.0,
    *,
    depth: Integer = 1,
    generator: Generator = None,
) -> Tensor:
    """Fill a kernel with zeros around an orthogonal matrix at its centre.

    Args:
        tensor: Kernel of shape ``(out, in, *kernel)`` with odd sides, written in place.
        sigma_w: As for :func:`normal_`: the variance is averaged over the zeros too, so a
            square centre has the singular values ``sigma_w / sqrt(L)``.
        depth: Number L of residual layers.
        generator: As for :func:`normal_`.

    Returns:
        The tensor.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If the tensor is no kernel with odd sides or a number is out of range.

    References:
        [xiao2018] arXiv:1806.05393, delta-orthogonal kernels.
    """
    return _write_("delta_orthogonal", tensor, sigma_w, depth, generator)


def draw(
    scheme: str, shape: tuple[int, ...], *, std: float, generator: torch.Generator, wide: bool
) -> Tensor:
    """Return a random weight of root mean square entry ``std``; float64 if ``wide``."""
    dtype = torch.float64 if wide else torch.float32
    return std * _SCHEMES[scheme](shape, dtype, generator)


def check_scheme(scheme: object, shapes: dict[str, tuple[int, ...]]) -> None:
    """Refuse an unknown scheme, or one that a shape does not allow; ``shapes`` are by name.

    Raises:
        ValueError: If so.
    """
    if scheme not in _SCHEMES:
        raise ValueError(
            f"`scheme` is {scheme!r}; expected one of {', '.join(_SCHEMES)}."
            f"{suggest(str(scheme), _SCHEMES)}"
        )
    for name, shape in shapes.items():
        if len(shape) < 2 or 0 in shape:
            raise ValueError(
                f"`{name}` has shape {shape}; expected a weight of at least two non-empty axes, "
                "(out, in, *kernel)."
            )
        if scheme == "delta_orthogonal" and (len(shape) < 3 or any(k % 2 == 0 for k in shape[2:])):
            raise ValueError(
                f"`{name}` has shape {shape}; expected a kernel (out, in, *kernel) with odd "
                "sides. Use the orthogonal scheme for other weights."
            )


@torch.no_grad()
def _write_(
    scheme: str,
    tensor: Checked[Tensor],
    sigma_w: Real,
    depth: Integer,
    generator: torch.Generator | None,
) -> Tensor:
    """Check, draw the whole weight and copy it, or the part of it that is here.

    Raises:
        TypeError: If ``tensor`` is no tensor.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"`tensor` is a {type(tensor).__name__}; expected a weight.")
    check_scheme(scheme, {"tensor": tuple(tensor.shape)})
    sigma_w = check_real("sigma_w", sigma_w, minimum=0.0)
    depth = check_integer("depth", depth, minimum=1)
    fan_in = math.prod(tensor.shape[1:])
    values = draw(
        scheme,
        tuple(tensor.shape),
        std=sigma_w / math.sqrt(fan_in * depth),
        generator=generator_or_fresh(generator),
        wide=tensor.dtype == torch.float64,
    )
    return tensor.copy_(placed_like(values, tensor))


def placed_like(values: Tensor, tensor: Tensor) -> Tensor:
    """Return the values in the type, on the device and with the sharding of a tensor."""
    values = values.to(device=tensor.device, dtype=tensor.dtype)
    mesh = getattr(tensor, "device_mesh", None)
    if mesh is None:
        return values
    from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415 (optional in torch)

    return distribute_tensor(values, mesh, tensor.placements, src_data_rank=None)  # pyright: ignore[reportAttributeAccessIssue]


def _normal(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, dtype=dtype, device=generator.device, generator=generator)


def _uniform(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Return entries of unit mean square between -sqrt(3) and sqrt(3)."""
    unit = torch.rand(shape, dtype=dtype, device=generator.device, generator=generator)
    return math.sqrt(3) * (2 * unit - 1)


def _orthogonal(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Return entries of unit mean square: Q of a tall Gaussian matrix, its signs made unique."""
    rows, columns = shape[0], math.prod(shape[1:])
    tall = _normal((max(rows, columns), min(rows, columns)), dtype, generator)
    q, r = torch.linalg.qr(tall)
    q = q * torch.where(r.diagonal() < 0, -1.0, 1.0) * math.sqrt(len(tall))
    return (q if rows >= columns else q.T).reshape(shape)


def _delta_orthogonal(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator
) -> Tensor:
    kernel = torch.zeros(shape, dtype=dtype, device=generator.device)
    centre = (..., *(k // 2 for k in shape[2:]))
    kernel[centre] = math.sqrt(math.prod(shape[2:])) * _orthogonal(shape[:2], dtype, generator)
    return kernel


_SCHEMES: dict[str, Callable[[tuple[int, ...], torch.dtype, torch.Generator], Tensor]] = {
    "normal": _normal,
    "uniform": _uniform,
    "orthogonal": _orthogonal,
    "delta_orthogonal": _delta_orthogonal,
}
