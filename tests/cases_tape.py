"""Functions for the tape: every op family, every way to write in place, every fallback."""

import torch
from torch import nn
from torch.nn import functional as F

IMAGE, TOKENS = (2, 4, 4, 4), (2, 3, 8)


class Net(nn.Module):
    """Residual convolutions, as in the paper's model."""

    def __init__(self, channels, depth, phi=torch.tanh):
        super().__init__()
        convs = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(depth)]
        self.convs, self.phi = nn.ModuleList(convs), phi

    def forward(self, x):
        for conv in self.convs:
            x = x + 0.1 * self.phi(conv(x))
        return x


class Recurrent(nn.Module):
    def __init__(self, kind, **kwargs):
        super().__init__()
        self.layer = kind(8, 4, batch_first=True, **kwargs)

    def forward(self, x):
        return self.layer(x)[0]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.layer(x, x, x, need_weights=False)[0]


class Cache(nn.Module):
    """Writes what it computes to a buffer, and reads it from there."""

    def __init__(self):
        super().__init__()
        self.register_buffer("cache", torch.full((3, 4), 2.0))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x):
        self.calls += 1
        before = self.cache * 1.5
        self.cache[1] = x.sin()
        return x * self.cache.sum(0) + before[0] * x


MODULES = {
    "residual convolutions": (lambda: Net(4, 3), IMAGE),
    "linear": (lambda: nn.Linear(8, 3), TOKENS),
    "bilinear form": (lambda: lambda x: x @ x.mT @ x, TOKENS),
    "strided conv": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1), IMAGE),
    "uneven stride": (lambda: nn.Conv2d(4, 3, 2, stride=3), IMAGE),
    "grouped dilated conv": (lambda: nn.Conv2d(4, 4, 2, groups=4, dilation=2), IMAGE),
    "transposed conv": (
        lambda: nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1),
        IMAGE,
    ),
    "wide output padding": (
        lambda: nn.ConvTranspose2d(4, 2, 3, dilation=2, output_padding=1),
        IMAGE,
    ),
    "conv in one dimension": (lambda: nn.Conv1d(3, 2, 3), TOKENS),
    "conv in three dimensions": (lambda: nn.Conv3d(2, 2, 2), (1, 2, 3, 2, 3)),
    "conv of one image": (lambda: nn.Conv2d(4, 2, 3), IMAGE[1:]),
    "circular padding": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), IMAGE),
    "reflection padding": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), IMAGE),
    "layer norm": (lambda: nn.LayerNorm(8), TOKENS),
    "layer norm over two axes": (lambda: nn.LayerNorm((3, 8), elementwise_affine=False), TOKENS),
    "rms norm": (lambda: nn.RMSNorm(8), TOKENS),
    "group norm": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "batch norm": (lambda: nn.BatchNorm2d(4).eval(), IMAGE),
    "batch norm of the batch": (lambda: nn.BatchNorm2d(4), IMAGE),
    "batch norm without statistics": (
        lambda: nn.BatchNorm2d(4, track_running_stats=False),
        IMAGE,
    ),
    "instance norm": (lambda: nn.InstanceNorm2d(4, affine=True), IMAGE),
    "attention": (Attention, TOKENS),
    "causal attention": (
        lambda: lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
        TOKENS,
    ),
    "encoder layer": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu").eval(),
        TOKENS,
    ),
    "LSTM": (lambda: Recurrent(nn.LSTM, bidirectional=True), TOKENS),
    "GRU": (lambda: Recurrent(nn.GRU, num_layers=2), TOKENS),
    "max pool": (lambda: nn.MaxPool2d(2), IMAGE),
    "adaptive max pool": (lambda: nn.AdaptiveMaxPool2d(3), IMAGE),
    "average pool": (lambda: nn.AvgPool2d(3, stride=2, padding=1), IMAGE),
    "global average": (lambda: nn.AdaptiveAvgPool2d(1), IMAGE),
    "adaptive average": (lambda: nn.AdaptiveAvgPool2d(3), IMAGE),
    "nearest": (lambda: nn.Upsample(scale_factor=2), IMAGE),
    "bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
    "pixel shuffle": (lambda: nn.PixelShuffle(2), IMAGE),
    "unfold": (lambda: nn.Unfold(2, stride=2), IMAGE),
    "dropout at rest": (lambda: nn.Dropout(0.5).eval(), IMAGE),
    "embedding of constants": (
        lambda: lambda x: x + F.embedding(torch.arange(3), torch.eye(8, dtype=x.dtype)[:3]),
        TOKENS,
    ),
    "grid sample": (
        lambda: (
            lambda x: F.grid_sample(
                x, torch.full((2, 3, 3, 2), 0.1, dtype=x.dtype), align_corners=False
            )
        ),
        IMAGE,
    ),
    "buffers": (Cache, (4,)),
}

POINTWISE = {
    "relu": torch.relu,
    "gelu": F.gelu,
    "tanh gelu": lambda x: F.gelu(x, approximate="tanh"),
    "silu times a gate": lambda x: F.silu(x) * x.cos(),
    "hardswish": F.hardswish,
    "log-sigmoid": F.logsigmoid,
    "prelu": lambda x: F.prelu(x, torch.full((4,), 0.3, dtype=x.dtype)),
    "glu": lambda x: F.glu(x, 1),
    "sums with factors": lambda x: (
        torch.add(x, x.sin(), alpha=3)
        + torch.sub(x.cos(), x * x, alpha=0.5)
        + torch.rsub(x, x.exp(), alpha=2)
    ),
    "products with factors": lambda x: (
        torch.addcmul(x, x.sin(), x.cos(), value=-2) + torch.addcdiv(x, x, 1 + x * x, value=3)
    ),
    "quotient": lambda x: x / (1 + x * x) + x / 3 - 2 * x / torch.ones(4, dtype=x.dtype),
    "power": lambda x: (1 + x.abs()) ** 1.5 + 2**x,
    "where": lambda x: torch.where(x > 0, x, x * x),
    "masked fill": lambda x: x.masked_fill(x > 1, 0.0),
    "clamp": lambda x: x.clamp(-1, 1) + torch.maximum(x, x.flip(1)),
    "floor": lambda x: x.floor() + x,
    "broadcast": lambda x: x.mean((2, 3), keepdim=True) * x + x.mean(),
    "single precision inside": lambda x: x.float().sin().double() + x,
    "detached factor": lambda x: x.detach() * x,
}

SHAPES = {
    "identity": lambda x: x,
    "view": lambda x: x.view(2, -1),
    "concatenate": lambda x: torch.cat([x, x * x, torch.ones_like(x)], 1),
    "stack": lambda x: torch.stack([x.sin(), x], 2),
    "chunks": lambda x: x.chunk(3, 1)[1] * x[:, :2] + x.split([2, 2], 1)[0],
    "unbind": lambda x: x.unbind(1)[0] * x.select(1, -1),
    "steps and flips": lambda x: x.flip(1).roll(1, 2)[:, :, ::2],
    "windows": lambda x: x.unfold(2, 3, 2),
    "fancy index": lambda x: x[:, [0, 2, 2]],
    "gather": lambda x: x.gather(1, torch.zeros(2, 1, 4, 4, dtype=torch.long)),
    "padding and cropping": lambda x: F.pad(x, (1, -1, 2, 0)),
    "triangle": lambda x: x.tril() + x.diagonal(dim1=2, dim2=3).unsqueeze(-1),
    "index put": lambda x: x.index_put((torch.tensor([0]),), x[1]),
    "index add": lambda x: torch.index_add(x, 0, torch.tensor([0, 0]), x),
    "masked select": lambda x: x[x > 0],
    "einsum": lambda x: torch.einsum("bchw,bdhw->bcd", x, x),
    "affine products with factors": lambda x: (
        torch.addmm(x[0, 0], x[0, 1], x[0, 2], beta=0.5, alpha=3)
        + torch.baddbmm(x[0], x[1], x[0], beta=2, alpha=0.5)[0]
    ),
    "vectors": lambda x: torch.dot(x[0, 0, 0], x[0, 0, 1]) * x[0, 0].mv(x[0, 0, 0]),
    "sums": lambda x: x.sum(1) + x.mean() + x.sum((1, 2), keepdim=True)[:, 0],
    "variance": lambda x: x.var(1) + x.std((1, 2))[:, None] + torch.var_mean(x, 1)[1],
    "norms": lambda x: x.norm(dim=1) + F.normalize(x)[:, 0],
    "logsumexp": lambda x: x.logsumexp((1, 2)),
    "softmax": lambda x: x.softmax(1) + x.log_softmax(2),
    "sorted": lambda x: x.sort(-1)[0] + x.max(1)[0][:, None] + x.topk(1, 2)[0],
    "cumulative": lambda x: x.cumsum(1),
    "largest": lambda x: x.amax(1) + x.max(),
}

GENERIC = {
    "product": lambda x: x.prod(1),
    "cumulative product": lambda x: x.cumprod(2),
    "determinant": lambda x: torch.linalg.det(x + 3 * torch.eye(4, dtype=x.dtype)) / 80,
    "singular values": torch.linalg.svdvals,
    "convolution with itself": lambda x: F.conv2d(x, x[:, :, :3, :3]),
}


def through_views(x):
    out = torch.zeros(2, 4, 4, 4, dtype=x.dtype)
    out[:, 0] = x[:, 1]
    rows = out.view(2, -1)
    out[:, 1:3] = x[:, 1:3] * 2
    rows.mul_(x.reshape(2, -1).sin())
    return out + rows.view_as(x)


def overwritten_operand(x):
    h = x * 1
    y = h * 3 + h.sin().mul_(2).detach() * x
    h[:, 0] = 1.0
    return y + h


def zeroed(x):
    h = x.sin()
    y = h + 1
    h.zero_()
    return y + h


IN_PLACE = {
    "relu_": lambda x: F.relu(2 * x, inplace=True) + x,
    "relu_ on the input": lambda x: F.relu(x, inplace=True),
    "chain": lambda x: (x * 1).add_(x).mul_(x).sigmoid_(),
    "add_ to a slice": lambda x: (y := x * 1)[:, 1:].add_(x[:, :-1]) * y[:, :1],
    "a view of what was written": lambda x: ((y := x * 1).view(-1), y.mul_(2))[0],
    "through views": through_views,
    "an operand is overwritten": overwritten_operand,
    "zeroed": zeroed,
    "scatter_": lambda x: torch.zeros_like(x).scatter_(
        1, torch.zeros(2, 1, 4, 4, dtype=torch.long), x[:, :1]
    ),
    "transpose_": lambda x: x.sin().transpose_(1, 2).mul_(x).unsqueeze_(0),
    "fill with a value": lambda x: torch.zeros_like(x).fill_(x.sum()) * x,
    "masked_fill_": lambda x: x.sin().masked_fill_(x > 0, 1.0),
    "single precision buffer": lambda x: torch.zeros(x.shape).copy_(x).double(),
}


def constant(f):
    return lambda: f


FUNCTIONS = dict(MODULES)
for table in (POINTWISE, SHAPES, GENERIC, IN_PLACE):
    FUNCTIONS |= {name: (constant(f), IMAGE) for name, f in table.items()}
