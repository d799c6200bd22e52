r"""The paper's network as a ``torch.nn.Module``, built 1:1 from its specification.

    x_l = phi(W_l x_{l-1} + b_l) + a x_{l-1},  Var W = sigma_w^2 / (fan_in L),  Var b = sigma_b^2

and its convolutional sibling.  The specification is :class:`isometry.ResNetSpec`, so the
network and the law that predicts its spectrum come from one object and cannot drift apart.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from isometry._checks import check_integer, check_kind
from isometry._typing import Checked, Integer
from isometry._words import Padding
from isometry.nn._typing import Generator
from isometry.nn.sandbox.random import generator_or_fresh
from isometry.theory.activations.lookup import Activation, activation
from isometry.theory.propagation import ResNetSpec

_RESCALE_EVERY = 8
_RESCALE_BELOW = 1e-12
_NOT_TORCH = (
    "`activation` is {!r}, a function that torch cannot differentiate; "
    "pass a torch callable or module instead."
)


WRITTEN_OUT: dict[str, Callable[[Tensor], Tensor]] = {
    "erf": torch.erf,
    "sin": torch.sin,
    "sign": torch.sign,
}
"""Named activations that ``torch.nn.functional`` has not under their name."""


def torch_phi(phi: Activation) -> Callable[[Tensor], Tensor]:
    """Return the torch function of a named activation, parameters bound.

    Raises:
        NotImplementedError: If the activation was made from a NumPy callable.
    """
    if phi.source is not None:
        return _differentiable(phi)
    if phi.name == "linear":
        return nn.Identity()
    if phi.name in WRITTEN_OUT:
        return WRITTEN_OUT[phi.name]
    function = getattr(nn.functional, phi.name, None)
    if function is None:
        raise NotImplementedError(_NOT_TORCH.format(phi))
    parameters = dict(phi.parameters)
    if phi.name == "prelu":
        weight = torch.tensor(parameters["weight"])
        return lambda h: function(h, weight.to(h))
    return lambda h: function(h, **parameters)


def _differentiable(phi: Activation) -> Callable[[Tensor], Tensor]:
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


class ResidualLayer(nn.Module):
    """One layer ``x -> phi(linear(x)) + skip * x``."""

    def __init__(self, linear: nn.Module, phi: Callable[[Tensor], Tensor], skip: float) -> None:
        super().__init__()
        self.linear = linear
        self.phi = phi
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, in the shape of ``x``."""
        stream = x if self.skip == 1.0 else self.skip * x
        return stream + self.phi(self.linear(x))


class _ResidualStack(nn.Module):
    """What both networks share: the layers, their order and their Gaussian draw."""

    def __init__(self, spec: ResNetSpec, layers: list[nn.Module]) -> None:
        super().__init__()
        self.spec = spec
        phi = torch_phi(activation(spec.activation))
        self.layers = nn.ModuleList(ResidualLayer(layer, phi, spec.skip) for layer in layers)

    @property
    def _phi(self) -> Callable[[Tensor], Tensor]:
        return self.layers[0].phi  # pyright: ignore[reportReturnType]

    def linear_maps(self) -> Iterator[nn.Linear | nn.Conv2d]:
        """Yield the linear map of every layer, from the input on."""
        for layer in self.layers:
            yield layer.linear  # pyright: ignore[reportReturnType]

    @torch.no_grad()
    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Draw every weight and bias anew with the specification's variances; none on meta.

        Args:
            generator: Source of the draw; without one, a seed is drawn from torch's global one.
        """
        for linear in self.linear_maps():
            weight = linear.weight
            if weight.is_meta:
                continue
            source = generator = generator_or_fresh(generator, device=weight.device)
            deviation = self.spec.sigma_w / math.sqrt(weight[0].numel() * self.spec.depth)
            weight.normal_(0.0, deviation, generator=source)
            if linear.bias is not None:
                linear.bias.normal_(0.0, self.spec.sigma_b, generator=source)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x_L``, in the shape of ``x``."""
        for layer in self.layers:
            x = layer(x)
        return x


class ResNet(_ResidualStack):
    """The paper's fully connected residual network at its random initialisation.

    Args:
        spec: Activation, depth L, ``sigma_w``, ``sigma_b`` (standard deviations) and skip; the
            weights have variance ``sigma_w^2 / (width L)``, the biases ``sigma_b^2``.
        width: N, the number of entries of ``x``.
        generator: Source of the draw; without one `torch.manual_seed` decides.
        device: Where the parameters live.
        dtype: Their type; torch's default without one.

    Raises:
        TypeError: If ``spec`` is no specification, or ``width`` not an integer.
        ValueError: If ``width`` is smaller than 1.
        NotImplementedError: If the activation is a NumPy function, which torch cannot
            differentiate.

    References:
        [tarnowski2019] arXiv:1809.08848, the model.
    """

    def __init__(
        self,
        spec: Checked[ResNetSpec],
        width: Integer,
        *,
        generator: Generator = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_kind("spec", spec, ResNetSpec, "a ResNetSpec, e.g. `ResNetSpec('relu')`")
        width = check_integer("width", width, minimum=1)
        layers: list[nn.Module] = [
            nn.utils.skip_init(nn.Linear, width, width, device=device or "cpu", dtype=dtype)
            for _ in range(spec.depth)
        ]
        super().__init__(spec, layers)
        self.width = width
        self.reset_parameters(generator=generator)

    def slopes(self, x: Tensor) -> Tensor:
        """Return ``phi'(h_l)`` at one input, as autograd sees it.

        Args:
            x: One sample, of shape ``(width,)`` or ``(1, width)``.

        Returns:
            The diagonals of D_l, of shape ``(depth, width)``.

        Raises:
            ValueError: If ``x`` has another shape.
        """
        phi, skip = self._phi, self.spec.skip
        with torch.no_grad():
            x, rows = self._one_sample(x), []
            for linear in self.linear_maps():
                rows.append(linear(x))
                x = torch.add(phi(rows[-1].clone()), x, alpha=skip)  # phi may work in place
        H = torch.stack(rows).requires_grad_()
        with torch.enable_grad():
            image = phi(H.clone())
            if not image.requires_grad:  # a step function: its derivative is 0 a.e.
                image = image + 0 * H
            return torch.autograd.grad(image.sum(), H)[0]

    @torch.no_grad()
    def jacobian(self, x: Tensor) -> Tensor:
        """Return the exact Jacobian ``dx_L/dx_0 = prod_l (D_l W_l + a 1)`` as L - 1 products.

        The product is rescaled by powers of two on the way, so that a vanishing Jacobian costs
        no denormal arithmetic.

        Args:
            x: One sample, of shape ``(width,)`` or ``(1, width)``.

        Returns:
            The matrix, of shape ``(width, width)``.

        Raises:
            ValueError: If ``x`` has another shape.

        Notes:
            Agrees with reverse-mode differentiation to rounding; its time over that of L plain
            matrix products is printed by ``benchmarks/bench_jacobian_dense.py``.
        """
        product = spare = layer = torch.empty(0)
        exponent = 0
        for index, (linear, d) in enumerate(zip(self.linear_maps(), self.slopes(x), strict=True)):
            if index == 0:
                product, spare = d[:, None] * linear.weight, torch.empty_like(linear.weight)
                product.diagonal().add_(self.spec.skip)
                layer = torch.empty_like(product)
                continue
            torch.mul(linear.weight, d[:, None], out=layer)
            layer.diagonal().add_(self.spec.skip)
            torch.mm(layer, product, out=spare)
            product, spare = spare, product
            if index % _RESCALE_EVERY == 0:
                exponent += _rescale_(product)
        return product if exponent == 0 else torch.ldexp(product, torch.tensor(exponent))  # pyright: ignore[reportReturnType, reportArgumentType]

    @torch.no_grad()
    def layer_cumulants(self, x: Tensor) -> Tensor:
        """Return each layer's ``|D_l W_l|_F^2 / N`` at one input; their sum is the measured c.

        Args:
            x: One sample, of shape ``(width,)`` or ``(1, width)``.

        Returns:
            Array of shape ``(depth,)``, float64.

        Raises:
            ValueError: If ``x`` has another shape.
        """
        rows = [
            (d.double() ** 2 @ linear.weight.double().square().sum(1)) / self.width
            for linear, d in zip(self.linear_maps(), self.slopes(x), strict=True)
        ]
        return torch.stack(rows)

    def _one_sample(self, x: Tensor) -> Tensor:
        if x.shape not in {(self.width,), (1, self.width)}:
            raise ValueError(
                f"`x` has shape {tuple(x.shape)}; expected ({self.width},) or (1, {self.width}): "
                "a Jacobian is taken at one sample."
            )
        return x.detach().reshape(self.width)


class ConvResNet(_ResidualStack):
    """The convolutional sibling: 2-D convolutions that keep the number of channels and the size.

    Args:
        spec: As for :class:`ResNet`; the weights have variance
            ``sigma_w^2 / (channels kernel_size^2 L)``.
        channels: Channels of the input, of every layer and of the output.
        kernel_size: Odd side of the square kernel.
        padding_mode: ``"circular"`` or ``"zeros"``.
        generator: Source of the draw; without one `torch.manual_seed` decides.
        device: Where the parameters live.
        dtype: Their type; torch's default without one.

    Raises:
        TypeError: If ``channels`` or ``kernel_size`` is not an integer.
        ValueError: If one is smaller than 1, ``kernel_size`` is even or ``padding_mode`` unknown.
        NotImplementedError: If the activation is a NumPy function.

    Notes:
        The theory's c holds for circular padding; with zero padding the pixels at the border see
        fewer weights, so the measured c is a little smaller (derived here, see docs/theory.md).
    """

    def __init__(
        self,
        spec: Checked[ResNetSpec],
        channels: Integer,
        *,
        kernel_size: Integer = 3,
        padding_mode: Checked[Padding] = "circular",
        generator: Generator = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_kind("spec", spec, ResNetSpec, "a ResNetSpec, e.g. `ResNetSpec('relu')`")
        channels = check_integer("channels", channels, minimum=1)
        kernel_size = check_integer("kernel_size", kernel_size, minimum=1)
        if kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` is {kernel_size}; expected an odd number.")
        if padding_mode not in {"circular", "zeros"}:
            raise ValueError(f"`padding_mode` is {padding_mode!r}; expected 'circular' or 'zeros'.")
        layers: list[nn.Module] = [
            nn.utils.skip_init(
                nn.Conv2d, channels, channels, kernel_size, padding=kernel_size // 2,
                padding_mode=padding_mode, device=device or "cpu", dtype=dtype,
            )
            for _ in range(spec.depth)
        ]  # fmt: skip
        super().__init__(spec, layers)
        self.channels = channels
        self.reset_parameters(generator=generator)


def _rescale_(matrix: Tensor) -> int:
    """Multiply a vanishing matrix by a power of two, in place; return the exponent taken out."""
    largest = float(matrix.abs().amax())
    if largest >= _RESCALE_BELOW or largest == 0.0:
        return 0
    exponent = math.frexp(largest)[1]
    matrix.mul_(2.0**-exponent)
    return exponent
