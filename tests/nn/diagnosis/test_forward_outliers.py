import numpy as np
import pytest
import torch

import isometry as iso
from isometry import nn as inn
from isometry.nn.diagnosis.forward_outliers import _entries, outliers_from_forward

SPEC = iso.ResNetSpec("gelu", depth=20, sigma_w=1.5, sigma_b=0.2, skip=0.95)


def made(spec=SPEC, width=300, *, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    net = inn.ResNet(spec, width, generator=generator, dtype=dtype)
    return net, torch.randn(width, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_is_the_largest_singular_value_of_the_jacobian(dtype):
    net, x = made(dtype=dtype)
    s = torch.linalg.svdvals(net.jacobian(x))
    (found,) = outliers_from_forward(net, x)
    assert found == pytest.approx(float(s[0]), rel=0.06)  # one network's scatter is 0.02
    assert found > 1.2 * float(s[1])


@torch.no_grad()
def test_the_noise_of_a_layer_is_what_its_own_weights_have():
    """Mean square of D W over its rows, which scatters by 1 %; one 10 % larger is rejected."""
    net, x = made()
    alpha = _entries(net, x).overlaps().alpha
    sizes = [
        float((slopes[:, None] * linear.weight).square().sum()) / (300 * SPEC.skip**2)
        for slopes, linear in zip(net.slopes(x), net.linear_maps(), strict=True)
    ]
    assert alpha == pytest.approx(sizes, rel=0.05)
    assert 1.1 * alpha != pytest.approx(sizes, rel=0.05)


def test_the_network_and_the_random_state_stay_as_they_are():
    net, x = made(width=40)
    before, state = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    one = outliers_from_forward(net, x[None])
    assert np.array_equal(one, outliers_from_forward(net, x))
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert not x.requires_grad
    assert all(p.grad is None for p in net.parameters())


def test_odd_activations_have_none():
    net, x = made(iso.ResNetSpec("tanh", depth=12))
    assert outliers_from_forward(net, x).shape == (0,)


def test_others_are_refused_in_a_sentence():
    net, x = made(width=30)
    with pytest.raises(TypeError, match=r"expected a `ResNet`"):
        outliers_from_forward(torch.nn.Linear(3, 3), x)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"expected \(30,\) or \(1, 30\)"):
        outliers_from_forward(net, x[:3])
    bare = inn.ResNet(iso.ResNetSpec("relu", depth=3, skip=0.0), 30)
    with pytest.raises(NotImplementedError, match="skip = 0"):
        outliers_from_forward(bare, x.float())
    far = inn.ResNet(iso.ResNetSpec("relu", depth=5, skip=1e100), 30, dtype=torch.float64)
    with pytest.raises(OverflowError, match="outside float64"):
        outliers_from_forward(far, x * 1e-300)
