"""Did my initialisation land?

GPT-2 draws the last layer of every residual branch with a standard deviation that is smaller by
1/sqrt(2L), L being the number of layers: two branches a layer then add up to the variance of one.
In code this is a loop over parameter *names*. Rename `c_proj` to `out_proj`, wrap the model, or
initialise a module twice, and the loop matches nothing: no error, no warning, a worse start.
"""

import math

import torch
from transformers import GPT2Config, GPT2Model

from isometry.nn.diagnosis.diagnosis import diagnose

LAYERS, WIDTH, TOKENS = 6, 64, 8


def make_model(projection="c_proj"):
    """A small GPT-2 with weights as large, seen from a neuron, as those of the real one."""
    torch.manual_seed(0)
    std = 0.02 * math.sqrt(768 / WIDTH)
    config = GPT2Config(
        n_embd=WIDTH, n_layer=LAYERS, n_head=4, n_positions=TOKENS, vocab_size=50,
        bos_token_id=0, eos_token_id=0, initializer_range=std,
    )  # fmt: skip
    model = GPT2Model(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("c_proj.weight"):
            matched = name.endswith(f"{projection}.weight")
            torch.nn.init.normal_(parameter, std=std / math.sqrt(2 * LAYERS) if matched else std)
    return model


# The Jacobian is taken with respect to the embeddings: tokens have no derivative.
embeddings = torch.randn(1, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))


def look(model):
    return diagnose(
        lambda e: model(inputs_embeds=e).last_hidden_state,
        embeddings,
        generator=torch.Generator().manual_seed(2),
    )


landed = look(make_model())
missed = look(make_model(projection="out_proj"))  # the loop that matches nothing

print("As intended:\n")
print(landed)
landed.plot()

# With a name that matches nothing.
print(missed)
missed.plot()

# Every branch is sqrt(2L) too large, so its part of c is 2L = 12 times what it should be. In the
# first blocks that is what is seen; further on the stream itself has grown by then, and a layer
# norm divides by it.
ratios = [wrong.c / right.c for wrong, right in zip(missed.blocks, landed.blocks, strict=True)]
print("\nHow much larger every block's part of c is than intended (expected: at most 12):")
for block, ratio in zip(missed.blocks, ratios, strict=True):
    print(f"  {block.name:10} {ratio:5.1f}")
print(f"  {'all':10} {missed.c / landed.c:5.1f}")

assert abs(ratios[0] / (2 * LAYERS) - 1) < 0.15
assert all(3 < ratio < 1.3 * 2 * LAYERS for ratio in ratios)
assert missed.c > 6 * landed.c
