"""Small models with random weights, and what the search for residual blocks must say of each."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cases_modules import (
    Averaged,
    Context,
    DropPath,
    FromEmbeddings,
    FromPixels,
    Gate,
    LayerScale,
    Mixer,
    Parallel,
    Residual,
    UNet,
    encoder,
    mlp,
    preactivation,
    shared,
    stack,
)
from isometry.nn.networks.resnet import ConvResNet, ResNet
from isometry.theory.propagation import ResNetSpec


def transformers_model(wrap, name, config, **options):
    def build():
        import transformers

        made = getattr(transformers, f"{config}Config")(**options)
        extra = {"add_pooling_layer": False} if name in ("BertModel", "ViTModel") else {}
        return wrap(getattr(transformers, name)(made, **extra)).eval()

    return build


def tokens(name, config, **options):
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "vocab_size": 50}
    return transformers_model(FromEmbeddings, name, config, **special, **options)


def pixels(name, config, **options):
    return transformers_model(FromPixels, name, config, **options)


BERT = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
BERT |= {"num_hidden_layers": 2}
LLAMA = BERT | {"num_key_value_heads": 1}
GPT = {"n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": 8}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_heads": 2, "num_layers": 2}
VIT = BERT | {"image_size": 16, "patch_size": 8}
CONVNEXT = {"hidden_sizes": [8, 16], "depths": [2, 1], "num_stages": 2}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 2]}


@dataclass(frozen=True)
class ModelCase:
    """A model, the shape of its input, its blocks and a part of the stream's remark."""

    build: Callable[[], Callable[[Tensor], Tensor]]
    shape: tuple[int, ...]
    blocks: int
    name: str
    """Name of the last block."""
    last: tuple[tuple[str, ...], ...]
    """What `Block.last` of the last block must be."""
    remark: str = ""
    skip: float = 1.0
    batch_norm: str | None = None


def ends(*names: str) -> tuple[tuple[str, ...], ...]:
    return (names,)


MODELS = {
    "sequential": ModelCase(
        lambda: nn.Sequential(nn.Linear(5, 8), stack(lambda: Residual(mlp(8, 16))), nn.ReLU()),
        (2, 5), 3, "1.2", ends("1.2.body.2.weight"),
    ),
    "scaled skip": ModelCase(
        lambda: stack(lambda: Residual(mlp(8, 16), skip=0.9, gain=0.5)),
        (2, 8), 3, "2", ends("2.body.2.weight"), skip=0.9,
    ),
    "sum over root two": ModelCase(
        lambda: stack(lambda: Averaged(mlp(8, 16))),
        (2, 8), 3, "2", ends("2.body.2.weight"), skip=2**-0.5,
    ),
    "rezero": ModelCase(
        lambda: stack(lambda: Gate(mlp(8, 16), 0.0)),
        (2, 8), 3, "2", ends("2.alpha", "2.body.2.weight"),
    ),
    "layer scale": ModelCase(
        lambda: stack(lambda: LayerScale(mlp(8, 16), 8)),
        (2, 8), 3, "2", ends("2.gamma", "2.body.2.weight"),
    ),
    "stochastic depth": ModelCase(
        lambda: stack(lambda: DropPath(mlp(8, 16), 0.5)).eval(),
        (2, 8), 3, "2", ends("2.body.2.weight"),
    ),
    "nested": ModelCase(
        lambda: stack(lambda: Residual(nn.Sequential(Residual(mlp(8, 16)), nn.Linear(8, 8)))),
        (2, 8), 3, "2", ends("2.body.1.weight"),
    ),
    "parallel": ModelCase(
        lambda: stack(lambda: Parallel(8)),
        (2, 8), 3, "2", (("2.left.2.weight",), ("2.right.2.weight",)),
    ),
    "shared weights": ModelCase(shared, (2, 8), 3, "0 [3]", ends("0.body.2.weight")),
    "broadcast branch": ModelCase(
        lambda: stack(lambda: Context(4)), (1, 4, 3, 3), 3, "2", ends("2.map.weight")
    ),
    "preactivation": ModelCase(
        lambda: stack(lambda: preactivation(4)),
        (2, 4, 5, 5), 3, "2", ends("2.body.2.weight"), batch_norm="batch",
    ),
    "mixer": ModelCase(
        lambda: stack(lambda: Mixer(5, 8), 2),
        (1, 5, 8), 4, "1.channels", ends("1.channels.2.weight"),
    ),
    "own": ModelCase(
        lambda: ResNet(ResNetSpec(activation="tanh", depth=4, skip=0.95), 16),
        (1, 16), 4, "layers.3", ends("layers.3.linear.weight"), skip=0.95,
    ),
    "own convolutional": ModelCase(
        lambda: ConvResNet(ResNetSpec(activation="relu", depth=4), 4),
        (1, 4, 5, 5), 4, "layers.3", ends("layers.3.linear.weight"),
    ),
    "torch pre-norm": ModelCase(
        lambda: encoder(True).eval(),
        (1, 3, 16), 4, "layers.1 (linear1, linear2)", ends("layers.1.linear2.weight"),
    ),
    "torch post-norm": ModelCase(
        lambda: encoder(False).eval(),
        (1, 3, 16), 4, "layers.1 (linear1, linear2)", ends("layers.1.linear2.weight"),
        remark="3 x layer norm (first at `layers.0.norm1`): the law covers the 4 stages",
    ),
    "gpt2": ModelCase(
        tokens("GPT2Model", "GPT2", **GPT),
        (1, 3, 16), 4, "model.h.1.mlp", ends("model.h.1.mlp.c_proj.weight"),
    ),
    "gptj": ModelCase(
        tokens("GPTJModel", "GPTJ", rotary_dim=4, **GPT),
        (1, 3, 16), 2, "model.h.1",
        (("model.h.1.attn.out_proj.weight",), ("model.h.1.mlp.fc_out.weight",)),
    ),
    "llama": ModelCase(
        tokens("LlamaModel", "Llama", **LLAMA),
        (1, 3, 16), 4, "model.layers.1.mlp", ends("model.layers.1.mlp.down_proj.weight"),
    ),
    "bert": ModelCase(
        tokens("BertModel", "Bert", **BERT),
        (1, 3, 16), 4, "model.encoder.layer.1 (intermediate, output.dense)",
        ends("model.encoder.layer.1.output.dense.weight"),
        remark="3 x layer norm (first at `model.encoder.layer.0.attention.output.LayerNorm`)",
    ),
    "t5": ModelCase(
        tokens("T5EncoderModel", "T5", **T5),
        (1, 3, 16), 4, "model.encoder.block.1.layer.1",
        ends("model.encoder.block.1.layer.1.DenseReluDense.wo.weight"),
    ),
    "vit": ModelCase(
        pixels("ViTModel", "ViT", **VIT),
        (1, 3, 16, 16), 4, "model.layers.1.mlp", ends("model.layers.1.mlp.fc2.weight"),
    ),
    "convnext": ModelCase(
        pixels("ConvNextModel", "ConvNext", **CONVNEXT),
        (1, 3, 32, 32), 3, "model.encoder.stages.1.layers.0",
        ends(
            "model.encoder.stages.1.layers.0.layer_scale_parameter",
            "model.encoder.stages.1.layers.0.pwconv2.weight",
        ),
        remark="convolution (at `model.encoder.stages.1.downsampling_layer.1`): the law covers "
        "the 2 stages",
    ),
    "resnet basic": ModelCase(
        pixels("ResNetModel", "ResNet", layer_type="basic", **RESNET),
        (1, 3, 32, 32), 3, "model.encoder.stages.1.layers.1.layer",
        ends("model.encoder.stages.1.layers.1.layer.1.normalization.weight"),
        remark="3 x ReLU (first at `model.encoder.stages.0.layers.0.activation`), "
        "Add of 8 operations (around `model.encoder.stages.1.layers.0 (layer, shortcut)`)",
        batch_norm="batch",
    ),
    "resnet bottleneck": ModelCase(
        pixels("ResNetModel", "ResNet", layer_type="bottleneck", **RESNET),
        (1, 3, 32, 32), 3, "model.encoder.stages.1.layers.1.layer",
        ends("model.encoder.stages.1.layers.1.layer.2.normalization.weight"),
        remark="Add of 11 operations",
        batch_norm="batch",
    ),
}  # fmt: skip

NOT_RESIDUAL = {
    "chain": (lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU()), (2, 8), "2 operations form"),
    "u-net": (UNet, (1, 3, 4, 4), "join in torch.cat of 7 operations (around `inner`)"),
}


def make(build, shape):
    """Return the model and an input, drawn from a fixed seed, the global state left alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(), torch.randn(shape)
