"""The table of functions whose Jacobian products are tested, each in float64 and small."""

import copy
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

ROUNDING = 1e-12
"""Two exact float64 routes through fewer than a hundred operations differ by less."""


@dataclass(frozen=True)
class Case:
    """A function, a point, and what to call for finite differences (``f`` itself if None)."""

    f: Callable[..., Tensor]
    x: Tensor
    batch_norm: str | None = None
    reference: Callable[..., Tensor] | None = None

    def evaluate(self, x: Tensor) -> Tensor:
        """Call a fresh copy, so that state changed by one call does not reach the next."""
        return copy.deepcopy(self.reference or self.f)(x.requires_grad_().clone()).detach()


def case(f: Callable[..., Tensor], *shape: int, **options) -> Case:
    x = torch.randn(shape, dtype=torch.float64)
    if isinstance(f, nn.Module):
        f = f.double()
    return Case(f, x, **options)


def build(name: str) -> Case:
    """The row of that name, with its own seed and without a trace in the global generator."""
    with torch.random.fork_rng():
        torch.manual_seed(zlib.crc32(name.encode()))
        return OPERATORS[name]()


def relative(error: Tensor, reference: Tensor) -> float:
    return float(error.norm() / reference.norm())


def random_block(rows: int, columns: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(1), dtype=dtype)


def small_mlp() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def finite_difference_jacobian(row: Case) -> Tensor:
    """Central differences; h = 1e-5 leaves h^2 |f'''| + eps |f| / h, about 1e-10."""
    h, columns = 1e-5, []
    for j in range(row.x.numel()):
        step = torch.zeros_like(row.x).flatten()
        step[j] = h
        step = step.reshape(row.x.shape)
        difference = row.evaluate(row.x + step) - row.evaluate(row.x - step)
        columns.append(difference.flatten() / (2 * h))
    return torch.stack(columns, dim=1)


class Pick(nn.Module):
    """The first of several outputs."""

    def __init__(self, inner: nn.Module, copies: int = 1) -> None:
        super().__init__()
        self.inner, self.copies = inner, copies

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(*[x] * self.copies)[0]


class Attention(nn.Module):
    """Multi-head attention written with the fused function."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.mix, self.heads, self.causal = nn.Linear(width, 3 * width), heads, causal

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.mix(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return x + y.transpose(1, 2).flatten(2)


class Counting(nn.Module):
    """A forward pass that updates a buffer and uses it."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Tensor
        self.register_buffer("count", torch.ones(()))
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return torch.sin(self.linear(x)) * self.count


class Checkpointed(nn.Module):
    """Two checkpointed segments."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(2))
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = x + checkpoint(part, x, use_reentrant=self.reentrant)
        return x


class Cube(torch.autograd.Function):
    """A custom function without a forward derivative."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient


class OpaqueCube(torch.autograd.Function):
    """A custom function with a forward derivative whose backward cannot be differentiated."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient

    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * tangent


def randomised(model: nn.Module) -> nn.Module:
    """Give every parameter and floating buffer of a norm a generic value."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data.uniform_(0.5, 1.5)
    return model


def with_batch_statistics(model: nn.Module, x: Tensor) -> nn.Module:
    """Return a copy in eval mode whose running statistics are those of the batch at ``x``."""
    model = copy.deepcopy(model).double().train()
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    counts = []
    for norm in norms:
        norm.momentum = 1.0
        norm.register_forward_pre_hook(
            lambda module, args: counts.append((module, args[0].numel() / args[0].shape[1]))
        )
    model(x)
    for norm, count in counts:
        norm.running_var *= (count - 1) / count  # torch keeps the unbiased variance
        norm._forward_pre_hooks.clear()
    return model.eval()


def batch_norm_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.Conv2d(3, 2, 3),
        nn.BatchNorm2d(2),
        nn.Tanh(),
    )


def batch_norm_row(*, batch: bool) -> Case:
    row = case(batch_norm_net(), 1, 2, 4, 4)
    if batch:
        frozen = with_batch_statistics(row.f, row.x)
        return Case(row.f.train(), row.x, "batch", frozen)
    trained = with_batch_statistics(row.f, torch.randn(5, 2, 4, 4, dtype=torch.float64))
    return Case(copy.deepcopy(trained).train(), row.x, "eval", trained)


def sequential(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


def grid_sample(x: Tensor) -> Tensor:
    grid = torch.tanh(x[..., :2])[None]
    image = torch.outer(x[..., 2].flatten(), x[..., 2].flatten())[None, None]
    return functional.grid_sample(image, grid, align_corners=False)


def in_place_first(x: Tensor) -> Tensor:
    x[..., 0] *= 2
    x.sigmoid_()
    return x.cumsum(-1).mul_(3)


def spectrum_of_signal(x: Tensor) -> Tensor:
    return torch.view_as_real(torch.fft.rfft(x)) ** 2


def gradient_of_energy() -> Callable[[Tensor], Tensor]:
    layer = small_mlp().double()
    return torch.func.grad(lambda x: layer(x).square().sum())


def parametrised() -> nn.Module:
    weights = nn.utils.parametrizations
    return sequential(
        weights.spectral_norm(nn.Linear(4, 5)), nn.SiLU(), weights.weight_norm(nn.Linear(5, 3))
    )


def shared(layer: nn.Module) -> nn.Module:
    return sequential(layer, nn.GELU(), layer)


def encoder_layer(*, norm_first: bool) -> nn.Module:
    return nn.TransformerEncoderLayer(
        4, 2, 6, dropout=0.1, norm_first=norm_first, batch_first=True
    ).eval()


def compiled() -> Case:
    inner = case(sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)), 4)
    outer = torch.compile(inner.f, backend="eager")
    return Case(lambda x: outer(x) * 2, inner.x, reference=lambda x: inner.f(x) * 2)


OPERATORS: dict[str, Callable[[], Case]] = {
    "mlp": lambda: case(sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), 4),
    "tall mlp": lambda: case(sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 7)), 1, 2),
    "identity": lambda: case(nn.Identity(), 2, 3),
    "number to number": lambda: case(torch.exp),
    "shared layer": lambda: case(shared(nn.Linear(3, 3)), 2, 3),
    "strided grouped conv": lambda: case(
        sequential(nn.Conv2d(4, 6, 3, stride=2, groups=2, padding=1), nn.SELU()), 1, 4, 4, 4
    ),
    "circular dilated conv": lambda: case(
        nn.Conv1d(2, 3, 3, padding=2, dilation=2, padding_mode="circular"), 2, 6
    ),
    "transposed conv": lambda: case(
        sequential(nn.ConvTranspose2d(2, 3, 3, stride=2, output_padding=1), nn.ELU()), 1, 2, 3, 3
    ),
    "pooling": lambda: case(sequential(nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)), 1, 2, 4, 4),
    "upsampling": lambda: case(nn.Upsample(scale_factor=2, mode="bilinear"), 1, 2, 3, 3),
    "layer norm": lambda: case(randomised(nn.LayerNorm(5)), 2, 5),
    "rms norm": lambda: case(randomised(nn.RMSNorm(5)), 2, 5),
    "group norm": lambda: case(randomised(nn.GroupNorm(2, 4)), 1, 4, 3),
    "instance norm": lambda: case(nn.InstanceNorm1d(3), 1, 3, 4),
    "batch norm, running statistics": lambda: batch_norm_row(batch=False),
    "batch norm, statistics of x": lambda: batch_norm_row(batch=True),
    "softmax": lambda: case(lambda x: x.softmax(-1).log1p(), 3, 4),
    "fused attention": lambda: case(Attention(4, 2, causal=False), 1, 3, 4),
    "causal fused attention": lambda: case(Attention(4, 2, causal=True), 1, 3, 4),
    "multi-head attention": lambda: case(
        Pick(nn.MultiheadAttention(4, 2, dropout=0.1, batch_first=True), 3).eval(), 1, 3, 4
    ),
    "post-norm encoder layer": lambda: case(encoder_layer(norm_first=False), 1, 3, 4),
    "pre-norm encoder layer": lambda: case(encoder_layer(norm_first=True), 1, 3, 4),
    "lstm": lambda: case(Pick(nn.LSTM(3, 4, num_layers=2, dropout=0.0)), 4, 3),
    "bidirectional gru": lambda: case(Pick(nn.GRU(3, 2, bidirectional=True)), 4, 3),
    "in-place first operation": lambda: case(in_place_first, 2, 4),
    "buffer updated in forward": lambda: case(Counting(), 3),
    "reentrant checkpoint": lambda: case(Checkpointed(reentrant=True), 2, 4),
    "checkpoint": lambda: case(Checkpointed(reentrant=False), 2, 4),
    "custom function without jvp": lambda: case(lambda x: Cube.apply(x.tanh()), 2, 3),
    "custom function with jvp only": lambda: case(lambda x: OpaqueCube.apply(x.tanh()), 2, 3),
    "parametrised weights": lambda: case(parametrised(), 4),
    "compiled": compiled,
    "dropout with p = 0": lambda: case(sequential(nn.Linear(3, 3), nn.Dropout(0.0)), 3),
    "dropout in eval mode": lambda: case(sequential(nn.Linear(3, 3), nn.Dropout(0.5)).eval(), 3),
    "grid sample": lambda: case(grid_sample, 2, 2, 3),
    "complex inside": lambda: case(spectrum_of_signal, 5),
    "inside grad": lambda: case(gradient_of_energy(), 3),
    "inside vmap": lambda: case(torch.vmap(small_mlp().double()), 2, 3),
    "gather and scatter": lambda: case(lambda x: x.sort(-1).values[..., ::2].repeat(1, 3), 2, 4),
    "matrix functions": lambda: case(lambda x: torch.linalg.inv(x @ x.T + torch.eye(3)), 3, 3),
}

WITHOUT_TAPE = {"complex inside"}
"""Rows whose products go through autograd."""
