"""The paper's network with a readout: what the studies train.

The readout sees each sample's trunk output standardised (mean 0, mean square 1, no parameters) and
starts at zero: every network starts at the same loss, log(classes), with features of one size. In a
pilot with the raw output, softplus and sigmoid, whose outputs have a large common mean, diverged
at the learning rate that suited the others, whatever their c: the ladder takes both readouts.
"""

from typing import Any

import torch
from torch import Tensor, nn

from isometry.experiments.parts.rungs import spec_of
from isometry.experiments.parts.samples import planes, vectors
from isometry.nn.networks.resnet import ConvResNet, ResNet

CLASSES = 10
ACTIVATIONS = (
    "relu", "leaky_relu(0.1)", "elu", "selu", "gelu", "silu", "softplus", "sigmoid", "tanh",
    "hardtanh",
)  # fmt: skip
"""What the studies compare unless they say otherwise."""


class Classifier(nn.Module):
    """A residual trunk that keeps its input's shape, and a readout of so many features."""

    def __init__(self, trunk: nn.Module, features: int, *, raw: bool = False) -> None:
        super().__init__()
        self.trunk = trunk
        self.raw = raw
        self.readout = nn.utils.skip_init(nn.Linear, features, CLASSES)
        for parameter in self.readout.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        features = self.trunk(x).flatten(1)
        if self.raw:
            return self.readout(features)
        return self.readout(nn.functional.layer_norm(features, features.shape[1:]))


def draw_trunk(settings: Any, *, seed: int, dtype: torch.dtype) -> ResNet | ConvResNet:
    """Draw the network of a run's settings.

    Args:
        settings: With activation, depth, sigma_w, sigma_b, width (entries or channels), and side
            (pixels; 0 for a fully connected network).
        seed: Of the weights.
        dtype: Of the weights.
    """
    generator = torch.Generator().manual_seed(seed)
    kind = ConvResNet if settings["side"] else ResNet
    return kind(spec_of(settings), settings["width"], generator=generator, dtype=dtype)


def inputs(settings: Any, *, dtype: torch.dtype, split: str = "train") -> tuple[Tensor, Tensor]:
    """Return the samples and classes that a run's settings name.

    Args:
        settings: As for :func:`draw_trunk`, with images (name), limit and, for the split "test",
            test_limit (numbers).
        dtype: Of the samples.
        split: "train" or "test".
    """
    name, width, side = (settings[key] for key in ("images", "width", "side"))
    limit = settings["limit" if split == "train" else "test_limit"]
    found = planes(name, limit, width, side, split) if side else vectors(name, limit, width, split)
    return found[0].to(dtype), found[1]
