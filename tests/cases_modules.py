"""Small modules, residual and not, of which the table of models is built."""

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    """skip * x + gain * body(x)."""

    def __init__(self, body, skip=1.0, gain=1.0):
        super().__init__()
        self.body, self.skip, self.gain = body, skip, gain

    def forward(self, x):
        return self.skip * x + self.gain * self.body(x)


class FromEmbeddings(nn.Module):
    """A Hugging Face token model as a map from embeddings to the last hidden state."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(inputs_embeds=x).last_hidden_state


class FromPixels(nn.Module):
    """A Hugging Face vision model as a map from pixels to the last hidden state."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(pixel_values=x).last_hidden_state


class Mixer(nn.Module):
    def __init__(self, tokens, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens, self.channels = mlp(tokens, 2 * tokens), mlp(width, 2 * width)

    def forward(self, x):
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Parallel(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.left, self.right = mlp(width, width), mlp(width, 2 * width)

    def forward(self, x):
        h = self.norm(x)
        return x + self.left(h) + self.right(h)


class Gate(nn.Module):
    def __init__(self, body, value):
        super().__init__()
        self.body, self.alpha = body, nn.Parameter(torch.tensor(value))

    def forward(self, x):
        return x + self.alpha * self.body(x)


class LayerScale(nn.Module):
    def __init__(self, body, width):
        super().__init__()
        self.body, self.gamma = body, nn.Parameter(1e-2 * torch.ones(width))

    def forward(self, x):
        return x + self.gamma * self.body(x)


class DropPath(nn.Module):
    def __init__(self, body, p):
        super().__init__()
        self.body, self.p = body, p

    def forward(self, x):
        branch = self.body(x)
        if self.training:
            branch = branch * (torch.rand(()) > self.p)
        return x + branch


class Averaged(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return (x + self.body(x)) / 2**0.5


class Context(nn.Module):
    """A branch that is broadcast over the positions."""

    def __init__(self, channels):
        super().__init__()
        self.map = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x + self.map(x.mean((2, 3), keepdim=True))


class DenseNet(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width * (i + 1), width) for i in range(3))

    def forward(self, x):
        features = [x]
        for layer in self.layers:
            features.append(torch.relu(layer(torch.cat(features, -1))))
        return torch.cat(features, -1)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, padding=1)
        self.inner = Residual(nn.Conv2d(4, 4, 3, padding=1))
        self.up = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x):
        first = torch.relu(self.down(x))
        inner = self.inner(functional.avg_pool2d(first, 2))
        inner = functional.interpolate(inner, scale_factor=2)
        return self.up(torch.cat([first, inner], 1))


class Highway(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gate, self.map = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        gate = torch.sigmoid(self.gate(x))
        return (1 - gate) * x + gate * torch.tanh(self.map(x))


class Strided(nn.Module):
    """Two convolutions beside a shortcut of one pixel, strided where the width changes."""

    def __init__(self, before, after, act, *, act_last):
        super().__init__()
        stride = 1 if before == after else 2
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.last = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        for conv in (self.first, self.last):
            nn.init.normal_(conv.weight, std=0.7 * (9 * conv.in_channels) ** -0.5)
        self.shortcut = nn.Identity()
        if before != after:
            self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False)
            nn.init.normal_(self.shortcut.weight, std=before**-0.5)
        self.act, self.act_last = act, act_last

    def forward(self, x):
        h = self.first(x if self.act_last else self.act(x))
        y = self.shortcut(x) + self.last(self.act(h))
        return self.act(y) if self.act_last else y


def mlp(width, hidden):
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


def stack(layer, depth=3):
    return nn.Sequential(*[layer() for _ in range(depth)])


def preactivation(channels):
    norm = nn.BatchNorm2d(channels)
    return Residual(nn.Sequential(norm, nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)))


def shared():
    block = Residual(mlp(8, 16))
    return nn.Sequential(block, block, block)


def encoder(norm_first):
    layer = nn.TransformerEncoderLayer(16, 2, 32, norm_first=norm_first, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def strided_stages(act, *, act_last):
    widths = ((24, 24), (24, 24), (24, 48), (48, 48), (48, 96), (96, 96))
    return nn.Sequential(*[Strided(*pair, act, act_last=act_last) for pair in widths])


class Own(torch.autograd.Function):
    """A function with a derivative of its own, which no recording takes for an operation's."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return 2 * g
