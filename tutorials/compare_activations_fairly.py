"""Compare activations fairly

"tanh learns more slowly than ReLU" is a statement about two initialisations as well. Make equal
what an initialisation decides (c, the mean, the step, the shares of the activation) and look again.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

import isometry as iso
from isometry import nn as inn
from isometry.data import embed, load_images

WIDTH, DEPTH, STEPS, LEVEL = 96, 10, 80, 0.7
NAMES = ("relu", "gelu", "silu", "tanh")

images = load_images("digits", limit=512)
x = torch.stack([torch.as_tensor(embed(image, WIDTH)) for image in images.images]).float()
y = torch.as_tensor(images.labels).long()


def steps_to(net, groups):
    """Train by plain SGD and return the first step at which the loss is below the level."""
    seed = torch.Generator().manual_seed(1)
    head = nn.Linear(WIDTH, 10)
    nn.init.normal_(head.weight, std=WIDTH**-0.5, generator=seed)
    nn.init.zeros_(head.bias)
    optimiser = torch.optim.SGD([*groups, {"params": [*head.parameters()], "lr": 0.02}], lr=0.02)
    losses = []
    for _ in range(STEPS):
        batch = torch.randint(len(x), (128,), generator=seed)
        loss = nn.functional.cross_entropy(head(net(x[batch])), y[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    smooth = [sum(losses[max(i - 4, 0) : i + 1]) / (i + 1 - max(i - 4, 0)) for i in range(STEPS)]
    return next((i for i, loss in enumerate(smooth) if loss < LEVEL), STEPS), smooth


# **By habit**: the same weights for all. Each activation then has its own c, its own mean and its
# own step, and what is compared is all of that.
habit = {}
for name in NAMES:
    spec = iso.ResNetSpec(name, depth=DEPTH, sigma_w=1.5)
    net = inn.ResNet(spec, WIDTH, generator=torch.Generator().manual_seed(0))
    habit[name] = steps_to(net, [{"params": [*net.parameters()], "lr": 0.02}])
    print(f"{name:5} c = {iso.effective_cumulant(spec):.2f}   {habit[name][0]} steps")

# **With everything equal.** A working point is a scale and a shift of the activation's argument
# at which it is as linear and as quadratic as ReLU, its mean taken off. `sigma_w` then gives all
# one c, and `learning_rates` one step.
C = 1.5
fair = {}
for name in NAMES:
    point = iso.working_point(name, like="relu")
    spec = iso.ResNetSpec(point, depth=DEPTH, sigma_w=(C / point.slope_square) ** 0.5)
    net = inn.ResNet(spec, WIDTH, centre=True, generator=torch.Generator().manual_seed(0))
    fair[name] = steps_to(net, inn.learning_rates(net, 0.02))
    print(
        f"{name:5} c = {iso.effective_cumulant(net.spec):.2f}   scale {point.scale:.2f}, shift "
        f"{point.shift:+.2f}   {fair[name][0]} steps"
    )

# The curves on the right are one curve.
_, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
for ax, found, title in ((axes[0], habit, "equal weights"), (axes[1], fair, "all equal")):
    for (name, (_, losses)), dashes in zip(found.items(), ("-", "--", ":", "-."), strict=True):
        ax.plot(losses, dashes, label=name)
    ax.axhline(LEVEL, color="grey", linewidth=0.8)
    ax.set(title=title, xlabel="step")
axes[0].set_ylabel("training loss")
axes[0].legend()


# What the ladder with all its rungs, an image set and your own function says:
# `isometry compare-activations relu tanh my_module:phi`.
def spread(found):
    times = [steps for steps, _ in found.values()]
    return max(times) / min(times)


print(f"slowest over fastest: {spread(habit):.2f} by habit, {spread(fair):.2f} with all equal")
assert spread(fair) < 1.2 < spread(habit)
