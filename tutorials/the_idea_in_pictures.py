"""The idea in pictures

A deep network stretches some directions of its input and squeezes others, before it has learnt
anything. How much is seen in the singular values of its input-output Jacobian, and for residual
networks one number says all of them. Five pictures.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import isometry as iso
from isometry import nn as inn
from isometry.plotting import plot_collapse, plot_law, plot_spectrum

WIDTH, DEPTH = 200, 40
x = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def spectrum(activation, sigma_w, seed=1):
    """The squared singular values of one network of x + phi(W x), drawn and measured."""
    spec = iso.ResNetSpec(activation, depth=DEPTH, sigma_w=sigma_w)
    generator = torch.Generator().manual_seed(seed)
    net = inn.ResNet(spec, WIDTH, generator=generator, dtype=torch.float64)
    return inn.singular_spectrum(inn.JacobianOperator(net, x), method="dense")


# **1. A network is locally a matrix.** Near an input, the output moves by J times what the input
# moves by. A small circle of inputs becomes an ellipse, whose half axes are the singular values s
# of J. Here a residual network of two units, the circle after 0, 10 and 40 layers.
angles = torch.linspace(0, 2 * torch.pi, 200, dtype=torch.float64)
circle = torch.stack([angles.cos(), angles.sin()], 1)
spec = iso.ResNetSpec("tanh", depth=DEPTH, sigma_w=2.0)
net = inn.ResNet(spec, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
fig, axes = plt.subplots(1, 3, figsize=(7, 2.6), layout="constrained")
for ax, layers in zip(axes, (0, 10, DEPTH), strict=True):
    J = torch.eye(2, dtype=torch.float64)
    point = x[:, :2]
    for layer in net.layers[:layers]:
        J = torch.func.jacrev(lambda z, f=layer: f(z[None])[0])(point[0]) @ J
        point = layer(point).detach()
    ellipse = circle @ J.T.detach()
    ax.plot(*ellipse.T)
    ax.set(aspect="equal", xlim=(-1.5, 1.5), ylim=(-1.5, 1.5))
    s = torch.linalg.svdvals(J.detach())
    ax.set_title(f"{layers} layers: s = {s[0].item():.2f}, {s[1].item():.2f}", fontsize="small")

# **2. With many units there is a whole distribution of s.** If all s are near 1, signals and
# gradients pass as they are; that is dynamical isometry. If they spread over decades, some
# directions explode and others are lost, whatever the loss is.
narrow, wide = spectrum("tanh", 0.7), spectrum("tanh", 2.5)
for found in (narrow, wide):
    s = np.sqrt(found.values)
    print(f"s from {s[0]:.3g} to {s[-1]:.3g}: a factor {s[-1] / s[0]:.3g}")
_, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained", sharex=True)
plot_spectrum(axes[0], narrow, label="sigma_w = 0.7")
plot_spectrum(axes[1], wide, label="sigma_w = 2.5")

# **3. The shape is known, and one number sets it.** The number is c: how much the layers multiply
# a gradient's square, added up. It comes from the activation and from the variance of the weights.
laws = {c: iso.UniversalLaw(c) for c in (0.25, 1.0, 4.0)}
_, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
for (c, law), dashes in zip(laws.items(), ("-", "--", ":"), strict=True):
    plot_law(ax, law, label=f"c = {c:g}: s_max / s_min = {law.condition_number():.3g}")
    ax.lines[-1].set_linestyle(dashes)
ax.set_ylim(0, 0.6)
ax.legend()

# **4. Whatever the activation, c is all that counts.** Left: four activations with equal weights
# have four spectra. Right: with weights that give each the same c they have one, the law.
names = ("relu", "tanh", "gelu", "sigmoid")
solved = {name: iso.solve_sigma_w(name, depth=DEPTH, c=1.0) for name in names}
equal_weights = {name: spectrum(name, 1.0) for name in names}
equal_c = {name: spectrum(name, solved[name]) for name in names}
law = laws[1.0]
_, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
plot_collapse(axes[0], equal_weights, law)
plot_collapse(axes[1], equal_c, law)
axes[0].set_title("sigma_w = 1", fontsize="medium")
axes[1].set_title("c = 1", fontsize="medium")
ks = {}
for name in names:
    before, after = (iso.compare(found[name], law).ks for found in (equal_weights, equal_c))
    ks[name] = before, after
    print(f"{name:8} sigma_w = {solved[name]:5.3f}   distance {before:.3f} -> {after:.3f}")

# **5. What the law leaves out.** The triangles above are outliers: an activation whose output has
# a mean, as ReLU's, feeds one direction in every layer. They are reported apart, and predicted.
spec = iso.ResNetSpec("relu", depth=DEPTH, sigma_w=solved["relu"])
measured = float(np.sqrt(equal_c["relu"].values[-1]))
print(
    f"ReLU's outlier: s = {measured:.3g} measured, {iso.predict_outliers(spec)[-1]:.3g} in theory"
)

assert all(after < 0.04 for _, after in ks.values())
assert max(before for before, _ in ks.values()) > 0.3
