"""A gate for initialisation in CI

An initialisation breaks when somebody renames a layer, changes a base class or wraps the model. A
test can hold it: to itself (lint), to a recipe, and to a golden file that says what it was like.
"""

import math
import tempfile
from pathlib import Path

import torch
from torch import nn

from isometry import nn as inn
from isometry.nn.linting.golden import save_golden

WIDTH, LAYERS = 256, 4


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.gate, self.up = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, 2 * WIDTH)
        self.down = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x):
        z = self.norm(x)
        return x + self.down(nn.functional.silu(self.gate(z)) * self.up(z))


def make_model(seed=0, scale=1.0):
    torch.manual_seed(seed)
    model = nn.Sequential(*[Block() for _ in range(LAYERS)])
    for name, p in model.named_parameters():
        if p.ndim == 2:
            depth = 1 / math.sqrt(2 * LAYERS) if "down" in name else 1.0
            nn.init.normal_(p, std=0.1 * depth * (scale if "up" in name else 1.0))
    return model


x = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(1))

# In a test: one line. A recipe of your own says what the model is meant to be.
recipe = {
    "name": "ours",
    "roles": {"reader": {"std": 0.1}, "writer": {"std": 0.1, "depth": "1/sqrt(2L)"}},
}
report = inn.assert_initialised(make_model(), x, recipe=recipe)
print(report)
report.plot()

# A golden file: another seed passes, and a scale that is 6 % off does not.
with tempfile.TemporaryDirectory() as folder:
    golden = Path(folder, "golden.json")
    save_golden(report, golden)
    inn.assert_initialised(make_model(seed=7), x, golden=golden)
    try:
        inn.assert_initialised(make_model(seed=7, scale=1.06), x, golden=golden)
        said = ""
    except AssertionError as error:
        said = str(error)

print("\nA scale that is 6 % off:\n")
print(said)

# On the command line, with exit status 1 where it fails:
#     isometry lint my_module:make_model --input x.pt --against golden.json --fail-on warning
assert "0.up.weight" in said
