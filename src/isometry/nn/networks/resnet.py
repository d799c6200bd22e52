r"""The paper's network as a ``torch.nn.Module``, built 1:1 from its specification.

    x_l = phi(W_l x_{l-1} + b_l) + a x_{l-1},  Var W = sigma_w^2 / (fan_in L),  Var b = sigma_b^2

and its convolutional sibling.  The specification is :class:`isometry.ResNetSpec`, so the
network and the law that predicts its spectrum come from one object and cannot drift apart.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from isometry._checks import check_integer, check_kind
from isometry._typing import Checked, Integer
from isometry._words import Padding
from isometry.nn.networks.activation import torch_phi
from isometry.nn.sandbox._typing import Generator
from isometry.nn.sandbox.precision import wide
from isometry.nn.sandbox.random import generator_or_fresh
from isometry.theory.activations.lookup import activation
from isometry.theory.propagation import ResNetSpec, propagate

_RESCALE_EVERY = 8
_RESCALE_BELOW = 1e-12


class ResidualLayer(nn.Module):
    """One layer ``x -> signs * (size * phi(linear(x) / size) - mean) + skip * x``."""

    linear: nn.Linear | nn.Conv2d
    signs: Tensor | None

    def __init__(self, linear: nn.Module, phi: Callable[[Tensor], Tensor], skip: float) -> None:
        super().__init__()
        self.linear = linear  # pyright: ignore[reportAttributeAccessIssue]
        self.phi = phi
        self.skip = skip
        self.size = 1.0
        self.mean = 0.0
        self.register_buffer("signs", None)

    def scaled(self, h: Tensor) -> Tensor:
        """Return ``size * phi(h / size)``, in the shape of ``h``."""
        return self.phi(h) if self.size == 1.0 else self.size * self.phi(h / self.size)

    def activate(self, h: Tensor) -> Tensor:
        """Return what the layer makes of its pre-activations, in their shape."""
        y = self.scaled(h)
        if self.mean != 0.0:
            y = y - self.mean
        return y if self.signs is None else self.signs * y

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, in the shape of ``x``."""
        stream = x if self.skip == 1.0 else self.skip * x
        return stream + self.activate(self.linear(x))


class _ResidualStack(nn.Module):
    """What both networks share: the layers, their order and their Gaussian draw."""

    def __init__(self, spec: ResNetSpec, layers: list[nn.Module]) -> None:
        super().__init__()
        phi = torch_phi(activation(spec.activation))
        self.layers = nn.ModuleList(ResidualLayer(layer, phi, spec.skip) for layer in layers)
        self.spec = spec

    @property
    def spec(self) -> ResNetSpec:
        """The specification that the layers' means and scales are those of."""
        return self._spec

    @spec.setter
    def spec(self, spec: ResNetSpec) -> None:
        self._spec = spec
        if not (spec.centre or spec.unit):
            return
        signal = propagate(spec)
        for layer, q, mean in zip(self._layers(), signal.q, signal.mean, strict=True):
            layer.size = math.sqrt(q) if spec.unit and q > 0 else 1.0
            layer.mean = float(mean) if spec.centre else 0.0

    def _layers(self) -> Iterator[ResidualLayer]:
        yield from self.layers  # pyright: ignore[reportReturnType]

    def linear_maps(self) -> Iterator[nn.Linear | nn.Conv2d]:
        """Yield the linear map of every layer, from the input on."""
        for layer in self._layers():
            yield layer.linear

    @torch.no_grad()
    def centre_(self, x: Tensor) -> None:
        """Let every layer subtract the mean it has on a batch, instead of the theory's.

        Args:
            x: A batch of inputs; the mean is over all entries, layer after layer.
        """
        for layer in self._layers():
            layer.mean = float(layer.scaled(layer.linear(x)).mean())
            x = layer(x)

    @torch.no_grad()
    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Draw every weight, bias and sign anew with the specification's variances; none on meta.

        Args:
            generator: Source of the draw; without one, a seed is drawn from torch's global one.
        """
        for layer in self._layers():
            weight, bias = layer.linear.weight, layer.linear.bias
            if weight.is_meta:
                continue
            source = generator = generator_or_fresh(generator, device=weight.device)
            deviation = self.spec.sigma_w / math.sqrt(weight[0].numel() * self.spec.depth)
            weight.normal_(0.0, deviation, generator=source)
            if bias is not None:
                bias.normal_(0.0, self.spec.sigma_b, generator=source)
            if self.spec.signs:
                shape = (len(weight), *(1,) * (weight.ndim - 2))
                drawn = torch.rand(shape, generator=source, device=weight.device)
                layer.signs = torch.where(drawn < 0.5, -1.0, 1.0).to(weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x_L``, in the shape of ``x``."""
        for layer in self.layers:
            x = layer(x)
        return x


def _switched(spec: object, centre: object, signs: object) -> ResNetSpec:
    """Return the specification with the switches that are given.

    Raises:
        TypeError: If ``spec`` is no specification, or a switch is not True or False.
    """
    checked = check_kind("spec", spec, ResNetSpec, "a ResNetSpec, e.g. `ResNetSpec('relu')`")
    given: dict[str, Any] = {"centre": centre, "signs": signs}
    return replace(checked, **{name: on for name, on in given.items() if on is not None})


class ResNet(_ResidualStack):
    """The paper's fully connected residual network at its random initialisation.

    Args:
        spec: Activation, depth L, ``sigma_w``, ``sigma_b`` (standard deviations) and skip; the
            weights have variance ``sigma_w^2 / (width L)``, the biases ``sigma_b^2``.
        width: N, the number of entries of ``x``.
        centre: Whether layers subtract the theory's mean, instead of what ``spec`` says.
        signs: Whether random signs multiply the units, instead of what ``spec`` says.
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
        centre: Checked[bool] | None = None,
        signs: Checked[bool] | None = None,
        generator: Generator = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        spec = _switched(spec, centre, signs)
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
        skip = self.spec.skip
        with torch.no_grad():
            x, rows = self._one_sample(x), []
            for layer in self._layers():
                rows.append(layer.linear(x))
                x = torch.add(layer.activate(rows[-1].clone()), x, alpha=skip)  # phi in place?
        H = torch.stack(rows).requires_grad_()
        with torch.enable_grad():
            images = [layer.activate(h.clone()) for layer, h in zip(self._layers(), H, strict=True)]
            image = torch.stack(images)
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
            (wide(d) ** 2 @ wide(linear.weight).square().sum(1)) / self.width
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
        centre: As for :class:`ResNet`.
        signs: As for :class:`ResNet`.
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
        centre: Checked[bool] | None = None,
        signs: Checked[bool] | None = None,
        generator: Generator = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        spec = _switched(spec, centre, signs)
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
