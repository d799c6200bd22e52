"""The paper's network with a readout: what the studies train.

The readout sees each sample's trunk output standardised (mean 0, mean square 1, no parameters) and
starts at zero: every network starts at the same loss, log(classes), with features of one size. In a
pilot with the raw output, softplus and sigmoid, whose outputs have a large common mean, diverged
at the learning rate that suited the others, whatever their c.
"""

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from isometry.experiments.parts.samples import planes, vectors
from isometry.nn.resnet import ConvResNet, ResNet
from isometry.theory.design import solve_sigma_w
from isometry.theory.propagation import ResNetSpec

CLASSES = 10
ACTIVATIONS = (
    "relu", "leaky_relu(0.1)", "elu", "selu", "gelu", "silu", "softplus", "sigmoid", "tanh",
    "hardtanh",
)  # fmt: skip
"""What the studies compare unless they say otherwise."""
SCHEMES = ("equal sigma_w", "He", "equal c")


class Classifier(nn.Module):
    """A residual trunk that keeps its input's shape, and a readout of so many features."""

    def __init__(self, trunk: nn.Module, features: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.readout = nn.utils.skip_init(nn.Linear, features, CLASSES)
        for parameter in self.readout.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        features = self.trunk(x).flatten(1)
        return self.readout(nn.functional.layer_norm(features, features.shape[1:]))


@lru_cache(maxsize=4096)
def scheme_sigma_w(
    scheme: str, activation: str, *, depth: int, value: float, sigma_b: float = 0.0
) -> float:
    """Return the standard deviation sigma_w (1/L convention) that a scheme gives an activation.

    Args:
        scheme: "equal sigma_w" (``value``), "He" (Var W = 2 / N) or "equal c" (c is ``value``).
        activation: Name.
        depth: Number of layers L.
        value: sigma_w or c.
        sigma_b: Standard deviation.

    Raises:
        ValueError: If the scheme is unknown, or if no sigma_w gives the c.
    """
    if scheme == "equal sigma_w":
        return value
    if scheme == "He":
        return math.sqrt(2.0 * depth)
    if scheme == "equal c":
        solved = solve_sigma_w(activation, depth=depth, c=value, sigma_b=sigma_b)
        return float(f"{solved:.10g}")  # a run's id must not hang on the solver's last digits
    raise ValueError(f"`scheme` is {scheme!r}; expected one of {', '.join(map(repr, SCHEMES))}.")


def draw_trunk(settings: Any, *, seed: int, dtype: torch.dtype) -> ResNet | ConvResNet:
    """Draw the network of a run's settings.

    Args:
        settings: With activation, depth, sigma_w, sigma_b, width (entries or channels), and side
            (pixels; 0 for a fully connected network).
        seed: Of the weights.
        dtype: Of the weights.
    """
    spec = ResNetSpec(
        settings["activation"],
        depth=settings["depth"],
        sigma_w=settings["sigma_w"],
        sigma_b=settings["sigma_b"],
    )
    generator = torch.Generator().manual_seed(seed)
    kind = ConvResNet if settings["side"] else ResNet
    return kind(spec, settings["width"], generator=generator, dtype=dtype)


def inputs(settings: Any, *, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the samples and classes that a run's settings name.

    Args:
        settings: As for :func:`draw_trunk`, with images (name) and limit (number).
        dtype: Of the samples.
    """
    name, limit, width, side = (settings[key] for key in ("images", "limit", "width", "side"))
    x, y = planes(name, limit, width, side) if side else vectors(name, limit, width)
    return x.to(dtype), y
