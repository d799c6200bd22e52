"""The model families that bench_init compares rules on: small, on one core, of seven kinds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        return x + self.body(x)


class FromEmbeddings(nn.Module):
    """A token model as a map from embeddings."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the last hidden state."""
        return self.model(inputs_embeds=x).last_hidden_state


class FromPixels(FromEmbeddings):
    """A vision model as a map from pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the last hidden state."""
        return self.model(pixel_values=x).last_hidden_state


@dataclass(frozen=True)
class Family:
    """How a model is built, the shape of its batches and where its residual stream runs."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    """Batch that a rule sees; `shape[1:]` is one sample."""
    stages: tuple[tuple[str, str], ...]
    """Of every stage the module whose input, and the one whose output, are the stream's ends."""
    options: dict[str, str] = field(default_factory=dict)

    def build(self, seed: int) -> nn.Module:
        """Return a new model, drawn by its own code."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.make()

    def batch(self, seed: int) -> Tensor:
        """Return a batch of standard normal samples."""
        return torch.randn(self.shape, generator=seeded(seed))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def perceptron() -> nn.Module:
    def body() -> nn.Module:
        return nn.Sequential(nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 256))

    return nn.Sequential(*[Residual(body()) for _ in range(16)])


def convolutional() -> nn.Module:
    def body() -> nn.Module:
        return nn.Sequential(nn.GELU(), nn.Conv2d(32, 32, 3, padding=1))

    return nn.Sequential(*[Residual(body()) for _ in range(12)])


def transformer(name: str, wrap: type[nn.Module] = FromEmbeddings, **options: Any) -> nn.Module:
    import transformers

    config = getattr(transformers, f"{name}Config")(**options)
    extra = {"add_pooling_layer": False} if name == "ViT" else {}
    return wrap(getattr(transformers, f"{name}Model")(config, **extra)).eval()


TOKENS = {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 0}
GPT = {"n_embd": 64, "n_head": 4, "n_layer": 4, "n_positions": 16}
GPT |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
SMALL |= {"num_hidden_layers": 4}
CONV = {"hidden_sizes": [32, 64], "depths": [2, 2]}
STAGE = "model.encoder.stages.{}.layers.{}".format
FAMILIES = {
    "residual perceptron": Family(perceptron, (16, 256), (("0", "15"),)),
    "convolutional": Family(convolutional, (16, 32, 6, 6), (("0", "11"),)),
    "GPT-2": Family(
        lambda: transformer("GPT2", **GPT, **TOKENS),
        (16, 16, 64), (("model.h.0", "model.h.3"),),
    ),
    "Llama": Family(
        lambda: transformer("Llama", num_key_value_heads=2, **SMALL, **TOKENS),
        (16, 16, 64), (("model.layers.0", "model.layers.3"),),
    ),
    "ViT": Family(
        lambda: transformer("ViT", FromPixels, image_size=16, patch_size=4, **SMALL),
        (16, 3, 16, 16), (("model.layers.0", "model.layers.3"),),
    ),
    "ConvNeXt": Family(
        lambda: transformer("ConvNext", FromPixels, num_stages=2, **CONV),
        (16, 3, 32, 32), ((STAGE(0, 0), STAGE(0, 1)), (STAGE(1, 0), STAGE(1, 1))),
    ),
    "ResNet": Family(
        lambda: transformer("ResNet", FromPixels, embedding_size=32, layer_type="basic", **CONV),
        (16, 3, 32, 32), ((STAGE(0, 0), STAGE(0, 1)), (STAGE(1, 1), STAGE(1, 1))),
        {"batch_norm": "batch"},
    ),
}  # fmt: skip
