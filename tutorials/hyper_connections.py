"""A connection that looks like a skip and is not: gains on the way in and on the way out.

Hyper-connections keep several copies of the residual stream; a block reads a mixture of them and
writes its output back to all. Whatever the mixing, at initialisation one such block is

    x + write * f(read * x),

and in one published implementation read = 2.231 and write = 1.462, not 1. Both multiply the
branch's Jacobian, so c is (read * write)^2 = 10.6 times what the initialisation was made for.
"""

import torch
from torch import nn

from isometry.nn.diagnosis.diagnosis import diagnose

WIDTH, BLOCKS = 256, 24


class Connection(nn.Module):
    """x + write * relu(W read x), with W drawn for c = 1 over all blocks where the gains are 1."""

    def __init__(self, read, write, generator):
        super().__init__()
        self.read, self.write = read, write
        self.linear = nn.Linear(WIDTH, WIDTH, bias=False)
        # c = sum over blocks of E relu'^2 * WIDTH * variance = BLOCKS * 1/2 * WIDTH * variance
        nn.init.normal_(self.linear.weight, std=(2 / (WIDTH * BLOCKS)) ** 0.5, generator=generator)

    def forward(self, x):
        return x + self.write * torch.relu(self.linear(self.read * x))


def stack(read=1.0, write=1.0):
    generator = torch.Generator().manual_seed(0)
    return nn.Sequential(*[Connection(read, write, generator) for _ in range(BLOCKS)])


x = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(1))


def look(model):
    return diagnose(model, x, generator=torch.Generator().manual_seed(2))


plain, hyper = look(stack()), look(stack(read=2.231, write=1.462))
print("Plain residual connections:\n")
print(plain)
print("\nWith the gains:\n")
print(hyper)


def mean_square(d):
    return float(d.spectrum.values @ d.spectrum.weights)


print(f"\nMean squared singular value: {mean_square(plain):.3g} and {mean_square(hyper):.3g}")

# The remedy is one division where the weights are drawn.
model = stack(read=2.231, write=1.462)
with torch.no_grad():
    for connection in model:
        connection.linear.weight /= connection.read * connection.write
mended = look(model)
print(f"c = {plain.c:.3f} plain, {hyper.c:.3f} with the gains, {mended.c:.3f} mended")

assert abs(hyper.c / plain.c - (2.231 * 1.462) ** 2) < 0.5
assert mean_square(hyper) > 1000 * mean_square(plain)
assert abs(mended.c - plain.c) < 0.05
