"""A network's own outliers, from one forward pass and without a Jacobian product."""

import torch
from torch import Tensor

from isometry._checks import check_kind
from isometry._typing import Checked, FloatArray
from isometry.nn.networks.resnet import ResNet
from isometry.nn.sandbox.precision import wide_on_cpu
from isometry.theory.outliers import outliers_of
from isometry.theory.overlaps import Entries
from isometry.theory.prediction import scaled_outliers


@torch.no_grad()
def outliers_from_forward(net: Checked[ResNet], x: Tensor) -> FloatArray:
    """Return the singular values of a network's Jacobian outside the bulk, ascending.

    The rank-one terms of its layers are known from its forward pass, and the rest of each layer
    is free noise: (37) to (39) of docs/theory.md.

    Args:
        net: The paper's network, at its initialisation: the noise must be fresh.
        x: One sample, of shape ``(width,)`` or ``(1, width)``.

    Returns:
        The singular values s (not squared): none, mostly one, or more.

    Raises:
        TypeError: If ``net`` is another module.
        ValueError: If ``x`` has another shape.
        NotImplementedError: If the skip is 0: there is no bulk to leave.
        OverflowError: If an outlier leaves the range of float64.

    Notes:
        What the forward pass does not tell is the noise, so that the largest singular value
        scatters about the answer; `predict_outliers` has the limit of a large width.
        ``benchmarks/bench_outliers.py`` prints both against measurement.

    References:
        Derived here.

    Examples:
        >>> import isometry as iso
        >>> net = ResNet(iso.ResNetSpec("tanh", depth=20), width=100)
        >>> outliers_from_forward(net, torch.ones(100))
        array([], dtype=float64)
    """
    check_kind("net", net, ResNet, "a `ResNet`: of other models no layer is phi(W x) + a x")
    spec = net.spec

    def found() -> list[float]:
        entries = _entries(net, x)
        return outliers_of(entries.overlaps(), entries)

    return scaled_outliers(spec, found, c=float(net.layer_cumulants(x).sum()))


def _entries(net: ResNet, x: Tensor) -> Entries:
    """Return what the entries do in a forward pass, in the units of the skip."""
    layer, inputs, images = x.detach().reshape(net.width), [], []
    for block, linear in zip(net.layers, net.linear_maps(), strict=True):
        inputs.append(layer)
        images.append(linear.weight @ layer)  # without the bias
        layer = block(layer)
    d = _array(net.slopes(x)) / net.spec.skip
    size = net.spec.sigma_w**2 / net.spec.depth
    return Entries(d * _array(torch.stack(images)), _array(torch.stack(inputs)), size * d * d)


def _array(values: Tensor) -> FloatArray:
    return wide_on_cpu(values).numpy()
