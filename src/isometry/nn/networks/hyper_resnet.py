r"""The paper's network with several streams: hyper-connections with a doubly stochastic mixing.

    X_l = a M_l X_{l-1} + 1 (S phi(W_l mean(X_{l-1}) + b_l))ᵀ,   X of n streams, each of `width`

Every layer mixes the streams by an n x n matrix M_l, reads their mean and writes to all of them.
M_l is Sinkhorn's scaling of exp(logits): rows and columns sum to 1, so the mean over the streams
goes through it unchanged and is the paper's network.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from isometry._checks import check_integer, check_real
from isometry._typing import Checked, Integer, Real
from isometry.nn.networks.resnet import ResidualLayer, ResNet
from isometry.nn.sandbox._typing import Generator
from isometry.theory.propagation import ResNetSpec

_SCALINGS = 20


class HyperLayer(nn.Module):
    """One layer of several streams around one of the paper's; `HyperResNet` makes them."""

    def __init__(self, layer: ResidualLayer, logits: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.logits = nn.Parameter(logits)

    def mixing(self) -> Tensor:
        """Return M, of shape (streams, streams): doubly stochastic up to Sinkhorn's rounds."""
        M = torch.exp(self.logits - self.logits.max())
        for _ in range(_SCALINGS):
            M = M / M.sum(0, keepdim=True)
            M = M / M.sum(1, keepdim=True)
        return M

    def forward(self, X: Tensor) -> Tensor:
        """Return the streams after the layer, of shape (..., streams, width) as they came."""
        layer = self.layer
        written = layer.activate(layer.linear(X.mean(-2)))
        return layer.skip * (self.mixing() @ X) + written[..., None, :]


class HyperResNet(nn.Module):
    """The paper's fully connected network with ``streams`` copies of its stream.

    The skip is a matrix, so that c is defined for the mean of the streams alone, where it is the
    specification's. The other directions of the streams only shrink.

    Args:
        spec: As for :class:`ResNet`; weights have variance ``sigma_w^2 / (width L)``.
        width: Entries of each stream.
        streams: n, at least 2.
        logit: Diagonal of the logits of every M_l at initialisation, 0 elsewhere: a layer keeps
            ``retained`` of a difference between two streams.
        generator: Source of the draw; without one `torch.manual_seed` decides.
        device: Where the parameters live.
        dtype: Their type; torch's default without one.

    Attributes:
        retained: (e^logit - 1) / (e^logit + n - 1), the other eigenvalue of M_l.

    Raises:
        TypeError: If ``spec`` is no specification, or a size is not an integer.
        ValueError: If ``width`` is smaller than 1, ``streams`` than 2, or ``logit`` not finite.
        NotImplementedError: If the activation is a NumPy function, which torch cannot
            differentiate.

    Notes:
        Of the n N singular values of the trunk, N are those of the paper's network at the same
        weights, and the other (n - 1) N are all (skip * retained)^L: exact while the logits are
        those of initialisation (derived here, docs/theory.md, section 12).

    Examples:
        >>> import torch
        >>> from isometry import ResNetSpec
        >>> from isometry.nn import residual_blocks
        >>> net = HyperResNet(ResNetSpec("tanh", depth=3), 16, streams=4)
        >>> residual_blocks(net, torch.ones(1, 16))[0]
        Block('layers.0', skip=matrix, shape=(1, 4, 16))
    """

    def __init__(
        self,
        spec: Checked[ResNetSpec],
        width: Integer,
        *,
        streams: Integer = 4,
        logit: Real = 6.0,
        generator: Generator = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        plain = ResNet(spec, width, generator=generator, device=device, dtype=dtype)
        self.spec, self.width = plain.spec, plain.width
        self.streams = check_integer("streams", streams, minimum=2)
        logit = check_real("logit", logit)
        eye = torch.eye(self.streams, device=device, dtype=dtype)
        layers = [cast(ResidualLayer, layer) for layer in plain.layers]
        self.layers = nn.ModuleList(HyperLayer(layer, logit * eye) for layer in layers)
        others = math.exp(-abs(logit))
        on, off = (1.0, others) if logit >= 0 else (others, 1.0)
        self.retained = (on - off) / (on + (self.streams - 1) * off)

    def trunk(self, X: Tensor) -> Tensor:
        """Return the streams after all layers.

        Args:
            X: The streams, of shape ``(..., streams, width)``.

        Returns:
            The streams in the shape of ``X``.
        """
        for layer in self.layers:
            X = layer(X)
        return X

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean over the streams, which all start from ``x``, in the shape of ``x``."""
        X = x[..., None, :].expand(*x.shape[:-1], self.streams, self.width)
        return self.trunk(X).mean(-2)
