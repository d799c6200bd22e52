"""A small model that is streamed, whole and as a skeleton, and its weights as files."""

import torch
from safetensors.torch import save_file

from cases_families import family
from cases_shards import IDS, Tokens
from isometry.nn.init.draw import draw_
from isometry.nn.scale.streaming.measure import LayerCall, measured
from isometry.nn.scale.streaming.skeletons import skeleton

__all__ = ["IDS", "Tokens", "bare", "passed", "shards", "whole"]


def bare(depth=4):
    with skeleton():
        return Tokens(depth=depth).eval()


def whole(recipe="gpt2", seed=0, depth=4):
    return draw_(Tokens(depth=depth), recipe, seed, x=IDS).eval()


def shards(model, folder, prefix="model."):
    """Write the parameters into two files, under the names that a larger model would have."""
    folder.mkdir(exist_ok=True)
    named = [(prefix + name, p.detach().clone()) for name, p in model.named_parameters()]
    save_file(dict(named[::2]), folder / "model-00001-of-00002.safetensors")
    save_file(dict(named[1::2]), folder / "model-00002-of-00002.safetensors")
    return folder


def passed():
    """Measure the first layer of a small GPT-2."""
    model, _ = family("GPT2")
    s = torch.randn(1, 5, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        call = LayerCall(model.h[0].eval(), "h.0", (s,), {})
        return measured(call, seed=0, number=0, num_probes=3, trained=False)
