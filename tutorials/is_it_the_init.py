"""My loss is flat: is it the init?

A small residual network does not learn. Before the data, the learning rate and the optimiser are
doubted, one forward pass tells whether the weights are what they were meant to be. Two bugs of
kinds that have been reported are in it: the factor 1/sqrt(2L) for maps that write the residual
stream is applied twice to one of them, and a parent draws the gains of a normalisation with the
weights.
"""

import math

import torch
from torch import nn

from isometry import nn as inn

WIDTH, LAYERS = 48, 6


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mix, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        before = torch.cumsum(self.norm1(x), 1) / torch.arange(1, x.shape[1] + 1)[:, None]
        x = x + self.out(torch.tanh(self.mix(before)))
        return x + self.down(torch.relu(self.up(self.norm2(x))))


def make_model(*, twice):
    torch.manual_seed(0)
    model = nn.Sequential(*[Block() for _ in range(LAYERS)])
    for name, p in model.named_parameters():
        if p.ndim == 1:
            continue
        nn.init.normal_(p, std=1 / math.sqrt(WIDTH))
        if "out" in name or "down" in name:
            nn.init.normal_(p, std=1 / math.sqrt(WIDTH * 2 * LAYERS))
        if twice and "down" in name:  # the constructor's own loop had matched this one already
            p.data.div_(math.sqrt(2 * LAYERS))
    if twice:
        for block in model:
            nn.init.normal_(block.norm2.weight, std=0.02)  # "every parameter from a normal"
    return model


x = torch.randn(4, 12, WIDTH, generator=torch.Generator().manual_seed(1))

print("What was meant:\n")
right = inn.lint(make_model(twice=False), x, recipe="gpt2")
print(right)
assert not right.worst()

print("\nWhat runs:\n")
report = inn.lint(make_model(twice=True), x)
print(report)
report.plot()
named = {f.parameter.split(".", 1)[1] for f in report.worst()}

# Two findings, each with its number. The gains multiply the branch by 0.02, and the map behind them
# is smaller than the other one that writes the stream: half of every block is switched off.
print("\nNamed:", ", ".join(sorted(named)))


def gradient_at_up(model):
    z = torch.randn(16, 12, WIDTH, generator=torch.Generator().manual_seed(2))
    (model(z) - torch.sin(2 * z)).square().mean().backward()
    return math.sqrt(sum(float(block.up.weight.grad.square().sum()) for block in model))


# What is switched off does not learn either: the loss is flat where these maps should carry it.
ratio = gradient_at_up(make_model(twice=False)) / gradient_at_up(make_model(twice=True))
print(f"The gradient at `up` is {ratio:.0f} times smaller than as meant.")
assert named == {"norm2.weight", "down.weight"}
assert ratio > 50
