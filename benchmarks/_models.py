"""The models of docs/models.md: small, with random weights of seed 0, built offline."""

import importlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isometry.nn.networks.resnet import ConvResNet, ResNet
from isometry.theory.propagation import ResNetSpec

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
cases: Any = importlib.import_module("cases_models")
modules: Any = importlib.import_module("cases_modules")

WIDTH, TOKENS, DEPTH = 48, 16, 12
COMMON = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 4}
COMMON |= {"num_hidden_layers": DEPTH // 2}
GPT: dict[str, Any] = {"n_embd": WIDTH, "n_head": 4, "n_layer": DEPTH // 2, "n_positions": 64}
T5 = {"d_model": WIDTH, "d_kv": 12, "d_ff": 4 * WIDTH, "num_heads": 4, "num_layers": DEPTH // 2}
STD = 0.02 * math.sqrt(768 / WIDTH)
"""The standard deviation that a neuron of a model 768 wide sees at 0.02."""


class Matrix(nn.Module):
    """x + W x with a given W."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + x @ self.weight.T


class Attention(nn.Module):
    """x + attention(x) with one head, no bias and no layer norm."""

    def __init__(self, width: int, gain: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 1, bias=False, batch_first=True)
        nn.init.normal_(self.attention.in_proj_weight, std=width**-0.5)
        nn.init.normal_(self.attention.out_proj.weight, std=gain * width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(x, x, x, need_weights=False)[0]


def matrices(symmetry: float, width: int = 300, depth: int = 60) -> nn.Module:
    """Return blocks W with variance 1/(N L), symmetric (1), skew (-1) or free (0)."""
    draw = [torch.randn(width, width) / math.sqrt(width * depth) for _ in range(depth)]
    return nn.Sequential(*[
        Matrix((X + symmetry * X.T) / math.sqrt(1 + symmetry**2)) for X in draw
    ])  # fmt: skip


def own(activation: str) -> nn.Module:
    seeded = torch.Generator().manual_seed(0)
    return ResNet(ResNetSpec(activation=activation, depth=50), 300, generator=seeded)


def conv() -> nn.Module:
    seeded = torch.Generator().manual_seed(0)
    return ConvResNet(ResNetSpec(activation="tanh", depth=30), 16, generator=seeded)


def shared() -> nn.Module:
    block = cases.Residual(nn.Sequential(nn.Linear(300, 300), nn.Tanh()), gain=0.35)
    return nn.Sequential(*[block] * 24)


def torch_encoder(norm_first: bool) -> nn.Module:
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, norm_first=norm_first, batch_first=True)
    return nn.TransformerEncoder(layer, DEPTH // 2, enable_nested_tensor=False).eval()


def redrawn() -> nn.Module:
    """Return the pre-norm encoder with different weights in every layer."""
    model = torch_encoder(True)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
    return model


def text(config: str, **options: Any) -> Callable[[], nn.Module]:
    return cases.tokens(f"{config}Model", config, **{"initializer_range": STD, **options})


def pixels(config: str, **options: Any) -> Callable[[], nn.Module]:
    return cases.pixels(f"{config}Model", config, **options)


def strided(activation: Callable[[Tensor], Tensor], *, act_last: bool) -> Callable[[], nn.Module]:
    return lambda: modules.strided_stages(activation, act_last=act_last)


@dataclass(frozen=True)
class Row:
    """A model, its input and what of its build matters for a law; numbers are the table's."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    fact: str = ""
    batch_norm: str | None = None
    dtype: torch.dtype = torch.float32

    def built(self) -> tuple[nn.Module, Tensor]:
        """Return the model and its input, of seed 0."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.build().to(self.dtype), torch.randn(self.shape).to(self.dtype)


SEQUENCE = (1, TOKENS, WIDTH)
POST_NORM = (
    "A layer norm acts on the stream after every block and removes the same direction of each "
    "token again and again; in the twin they remove different ones."
)
ZERO_TOKEN = (
    "The class token starts at exactly 0 in this library, where a layer norm multiplies by 10^6; "
    "measured in float64."
)
GROUPED: dict[str, Any] = {"num_key_value_heads": 2, **COMMON}
IMAGE: dict[str, Any] = {"image_size": 16, "patch_size": 4, **COMMON}
PIXELS = (1, 3, 16, 16)
STAGES: dict[str, Any] = {"num_channels": 3, "hidden_sizes": [24, 48]}

PIXEL_SHORTCUT = (
    "A strided 1 x 1 shortcut picks the same pixels in all channels, and a map of all entries, as "
    "the product law takes it, forgets which."
)
PLAIN = {
    "the paper's network, tanh": Row(lambda: own("tanh"), (1, 300)),
    "the paper's network, ReLU": Row(
        lambda: own("relu"),
        (1, 300),
        "The outlier is the mean direction of a non-odd activation, which all blocks share and "
        "rotations turn away before each: the twin has none.",
    ),
    "its convolutional sibling, tanh": Row(conv, (1, 16, 6, 6)),
    "conv, strided stages, tanh before": Row(
        strided(torch.tanh, act_last=False), (1, 24, 6, 6), PIXEL_SHORTCUT
    ),
    "conv, strided stages, ReLU after": Row(
        strided(torch.relu, act_last=True),
        (1, 24, 6, 6),
        PIXEL_SHORTCUT + " ReLU on the stream gives all blocks one mean direction besides.",
    ),
    "linear blocks, free": Row(lambda: matrices(0.0), (1, 300)),
    "linear blocks, symmetric": Row(lambda: matrices(1.0), (1, 300)),
    "linear blocks, skew-symmetric": Row(
        lambda: matrices(-1.0),
        (1, 300),
        "c = 0: the law is a point at the scale, so its distance says nothing; what is left is of "
        "order 1/depth.",
    ),
    "one tanh block used 24 times": Row(
        shared, (1, 300), "One weight matrix in all blocks: they are equal."
    ),
    "MLP-Mixer": Row(lambda: cases.stack(lambda: cases.Mixer(TOKENS, WIDTH), DEPTH // 2), SEQUENCE),
    "attention only, 16 tokens": Row(
        lambda: cases.stack(lambda: Attention(WIDTH, 0.5), DEPTH).eval(), SEQUENCE
    ),
    "attention only, 4 tokens": Row(
        lambda: cases.stack(lambda: Attention(WIDTH, 0.5), DEPTH).eval(), (1, 4, WIDTH)
    ),
    "torch encoder, pre-norm": Row(
        lambda: torch_encoder(True),
        SEQUENCE,
        "`nn.TransformerEncoder` copies one layer, weights included: compare the redrawn row.",
    ),
    "torch encoder, pre-norm, redrawn": Row(redrawn, SEQUENCE),
    "torch encoder, post-norm": Row(
        lambda: torch_encoder(False), SEQUENCE, POST_NORM + " Its layers are copies, too."
    ),
    "DenseNet-like": Row(
        lambda: modules.DenseNet(WIDTH),
        (1, WIDTH),
        "Concatenation in place of addition: a block keeps all that was computed before it and "
        "adds channels, so that its skip is a matrix, and c is not defined.",
    ),
}
TEXT = {
    "GPT-2": Row(text("GPT2", **GPT), SEQUENCE),
    "GPT-2, weights 3 times as large": Row(
        text("GPT2", **GPT | {"initializer_range": 3 * STD}), SEQUENCE
    ),
    "GPT-2, weights 3 times as large, 2 tokens": Row(
        text("GPT2", **GPT | {"initializer_range": 3 * STD}), (1, 2, WIDTH)
    ),
    "GPT-J": Row(text("GPTJ", rotary_dim=4, **GPT), SEQUENCE),
    "GPT-NeoX": Row(text("GPTNeoX", **COMMON), SEQUENCE),
    "OPT": Row(
        text(
            "OPT",
            hidden_size=WIDTH,
            ffn_dim=4 * WIDTH,
            num_attention_heads=4,
            num_hidden_layers=DEPTH // 2,
            word_embed_proj_dim=WIDTH,
            init_std=STD,
        ),
        SEQUENCE,
    ),
    "Bloom": Row(text("Bloom", hidden_size=WIDTH, n_head=4, n_layer=DEPTH // 2), SEQUENCE),
    "MPT": Row(
        text("Mpt", d_model=WIDTH, n_heads=4, n_layers=DEPTH // 2, max_seq_len=64), SEQUENCE
    ),
    "Falcon": Row(
        text("Falcon", hidden_size=WIDTH, num_attention_heads=4, num_hidden_layers=DEPTH // 2),
        SEQUENCE,
    ),
    "Phi": Row(text("Phi", **COMMON), SEQUENCE),
    "Llama": Row(text("Llama", **GROUPED), SEQUENCE),
    "Mixtral (experts)": Row(
        text("Mixtral", num_local_experts=4, experts_implementation="eager", **GROUPED), SEQUENCE
    ),
    "Qwen2": Row(text("Qwen2", **GROUPED), SEQUENCE),
    "Qwen3": Row(text("Qwen3", head_dim=WIDTH // 4, **GROUPED), SEQUENCE),
    "Gemma": Row(text("Gemma", head_dim=WIDTH // 4, **GROUPED), SEQUENCE),
    "Gemma 2": Row(text("Gemma2", head_dim=WIDTH // 4, **GROUPED), SEQUENCE),
    "OLMo": Row(text("Olmo", **GROUPED), SEQUENCE),
    "OLMo 2": Row(text("Olmo2", **GROUPED), SEQUENCE),
    "Cohere": Row(text("Cohere", **GROUPED), SEQUENCE),
    "Granite": Row(text("Granite", **GROUPED), SEQUENCE),
    "T5 encoder": Row(cases.tokens("T5EncoderModel", "T5", **T5), SEQUENCE),
    "BERT (post-norm)": Row(text("Bert", **COMMON), SEQUENCE, POST_NORM),
    "RoBERTa (post-norm)": Row(text("Roberta", **COMMON), SEQUENCE, POST_NORM),
}
VISION = {
    "ViT": Row(pixels("ViT", initializer_range=STD, **IMAGE), PIXELS),
    "CLIP, vision": Row(pixels("CLIPVision", **IMAGE), PIXELS),
    "DINOv2": Row(pixels("Dinov2", initializer_range=STD, **IMAGE), PIXELS),
    "DeiT": Row(
        pixels("DeiT", initializer_range=STD, **IMAGE), PIXELS, ZERO_TOKEN, dtype=torch.float64
    ),
    "BEiT": Row(
        pixels("Beit", initializer_range=STD, **IMAGE), PIXELS, ZERO_TOKEN, dtype=torch.float64
    ),
    "Swin": Row(
        pixels(
            "Swin",
            image_size=32,
            patch_size=4,
            embed_dim=12,
            depths=[2, 2],
            num_heads=[2, 4],
            window_size=4,
            initializer_range=STD,
        ),
        (1, 3, 32, 32),
    ),
    "ConvNeXt, two stages": Row(
        pixels("ConvNext", patch_size=4, depths=[3, 3], num_stages=2, **STAGES), (1, 3, 24, 24)
    ),
    "ResNet, basic blocks, two stages": Row(
        pixels("ResNet", embedding_size=24, depths=[3, 3], layer_type="basic", **STAGES),
        (1, 3, 24, 24),
        batch_norm="batch",
    ),
}
MODELS = PLAIN | TEXT | VISION
