"""What does it cost to mix streams? Hyper-connections at initialisation, measured.

Hyper-connections keep several copies of the residual stream; every layer mixes them by a matrix,
reads a mixture and writes to all. A doubly stochastic matrix keeps the mean over the streams, and
nothing else: a difference between two streams is multiplied by something below 1 in every layer.
`HyperResNet` is the paper's network in this form, so the price can be told from the rest.
"""

import math
import textwrap

import numpy as np
import torch

import isometry as iso
from isometry import nn as inn

WIDTH, DEPTH, STREAMS = 96, 24, 4
spec = iso.ResNetSpec("gelu", depth=DEPTH, sigma_w=iso.solve_sigma_w("gelu", depth=DEPTH, c=1.0))
x = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def hyper(logit):
    return inn.HyperResNet(
        spec, WIDTH, streams=STREAMS, logit=logit, generator=seeded(), dtype=torch.float64
    )


def trunk(net):
    """The Jacobian of all streams after the layers by all streams before them."""
    start = x[..., None, :].expand(1, STREAMS, WIDTH).contiguous()
    return inn.JacobianOperator(net.trunk, start)


def singular(operator):
    return np.sqrt(inn.singular_spectrum(operator, "dense").values)


plain = inn.ResNet(spec, WIDTH, generator=seeded(), dtype=torch.float64)
paper = singular(inn.JacobianOperator(plain, x))
print(f"The paper's network at c = 1: s from {paper[0]:.3f} to {paper[-1]:.3f}\n")

# 1. What a mixing keeps. The logits have `logit` on the diagonal and 0 elsewhere.
print("logit   kept by a layer   by all   smallest s   largest s")
kept = {}
for logit in (2.0, 4.0, 6.0, 8.0):
    net = hyper(logit)
    s = singular(trunk(net))
    kept[logit] = net.retained**DEPTH
    print(f"{logit:5.0f} {net.retained:17.4f} {kept[logit]:8.2g} {s[0]:12.2g} {s[-1]:11.3f}")
    # three quarters of the values are that one number, a quarter those of the paper's network
    expected = np.sort(np.append(paper, np.full((STREAMS - 1) * WIDTH, kept[logit])))
    assert np.abs(s - expected).max() < 1e-8

# The blocks have a matrix for a skip: c is not defined, and a diagnosis says so.
found = inn.diagnose(hyper(6.0), x, generator=seeded(2))
print(textwrap.fill(found.reason, 84, initial_indent="\n"), end="\n\n")

# 2. Logits that are drawn. Each layer then mixes in its own way.
net = hyper(4.0)
with torch.no_grad():
    source = seeded(3)
    for layer in net.layers:
        layer.logits += torch.randn(STREAMS, STREAMS, generator=source, dtype=torch.float64)
drawn = singular(trunk(net))
inn.singular_spectrum(trunk(net), "dense").plot(law=iso.UniversalLaw(1.0))
print(f"Logits 4 on the diagonal plus N(0, 1): s from {drawn[0]:.2g} to {drawn[-1]:.2f}")

# The twin turns the channels between layers and leaves the mixing: it is no matter of chance.
twin = singular(inn.twin(net, x, generator=seeded(4)))
apart = np.abs(np.log(np.quantile(twin, [0.1, 0.5, 0.9]) / np.quantile(drawn, [0.1, 0.5, 0.9])))
print(f"Quantiles (10, 50, 90 %) of its rotated twin: within {apart.max():.1%}")

# 3. The remedy is in the depth: for differences to keep half of their size over L layers,
#    retained = 2^(-1/L), which takes a logit that grows like the logarithm of L.
wanted = 0.5 ** (1 / DEPTH)
logit = math.log(1 + STREAMS * wanted / (1 - wanted))
mended = singular(trunk(hyper(logit)))
inn.singular_spectrum(trunk(hyper(logit)), "dense").plot(law=iso.UniversalLaw(1.0))
print(f"\nlogit {logit:.2f}: s from {mended[0]:.3f} to {mended[-1]:.3f}")

assert kept[2.0] < 1e-5 < 0.1 < kept[6.0]
assert drawn[0] < 0.25 * paper[0]
assert apart.max() < 0.2
assert abs(np.quantile(mended, 0.3) - 0.5) < 1e-6
