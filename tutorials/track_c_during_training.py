"""Track c during training

A monitor measures the Jacobian every so many steps and hands the numbers to any logger. It leaves
nothing behind in the model: modes are put back and no random number is taken from the loop.
"""

import textwrap
import warnings

import torch
from torch import nn

import isometry as iso
from isometry import nn as inn
from isometry.data import embed, load_images

WIDTH, DEPTH, STEPS = 64, 12, 60

images = load_images("digits", limit=512)
x = torch.stack([torch.as_tensor(embed(image, WIDTH)) for image in images.images]).float()
y = torch.as_tensor(images.labels).long()


def train(c, lr=0.05):
    """Train the paper's network from one c, and return its monitor and its losses."""
    seed = torch.Generator().manual_seed(0)
    spec = iso.ResNetSpec("tanh", depth=DEPTH, sigma_w=iso.solve_sigma_w("tanh", depth=DEPTH, c=c))
    trunk, head = inn.ResNet(spec, WIDTH, generator=seed), nn.Linear(WIDTH, 10, bias=False)
    nn.init.zeros_(head.weight)
    monitor = inn.JacobianMonitor(every=15, generator=seed)
    optimiser = torch.optim.SGD([*trunk.parameters(), *head.parameters()], lr=lr, momentum=0.9)
    losses = []
    for step in range(STEPS + 1):
        monitor(trunk, x[:1], step)
        batch = torch.randint(len(x), (64,), generator=seed)
        loss = nn.functional.cross_entropy(head(trunk(x[batch])), y[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return monitor, losses


# The monitor is called with the model, one input and the step; it returns the numbers where it
# measured and None elsewhere. `log=` takes any callable `log(numbers, step)`, such as `wandb.log`.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    found = {c: train(c) for c in (0.3, 3.0)}
for c, (monitor, losses) in found.items():
    print(f"started at c = {c}")
    for step, numbers in monitor.history:
        loss = sum(losses[max(step - 4, 0) : step + 1]) / len(losses[max(step - 4, 0) : step + 1])
        print(
            f"  step {step:3}  c = {numbers['jacobian/c']:.3f}  "
            f"s_max = {numbers['jacobian/s_max']:.2f}  KS = {numbers['jacobian/ks']:.3f}  "
            f"loss {loss:.3f}"
        )

# What is seen: the network that starts at c = 0.3 is moved far. Its largest singular value grows
# more than tenfold, and the distance to the law (KS) says that its layers are no longer free of
# each other. The one that starts at c = 3 keeps its spectrum. One run each, of a small network at
# one learning rate: a picture, no rule.
monitor, losses = found[0.3]
monitor.plot()

# The last measurement is a whole diagnosis.
print(textwrap.fill(monitor.last.findings[0], 84))
monitor.last.plot()


def growth(monitor):
    sizes = [numbers["jacobian/s_max"] for _, numbers in monitor.history]
    return max(sizes) / sizes[0]


assert growth(found[0.3][0]) > 3 * growth(found[3.0][0])
starts = {c: monitor.history[0][1]["jacobian/c"] for c, (monitor, _) in found.items()}
assert all(abs(start / c - 1) < 0.15 for c, start in starts.items())
assert all(losses[-1] < losses[0] for _, losses in found.values())
