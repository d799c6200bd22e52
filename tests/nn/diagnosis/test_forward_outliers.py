import numpy as np
import pytest
import torch

import isometry as iso
from isometry import nn as inn
from isometry.nn.diagnosis.forward_outliers import (
    _blocks_entries,
    _entries,
    _passed,
    outliers_from_forward,
)

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
    with pytest.raises(ValueError, match="no residual block"):
        outliers_from_forward(torch.nn.Linear(30, 30), x.float())
    with pytest.raises(ValueError, match=r"expected \(30,\) or \(1, 30\)"):
        outliers_from_forward(net, x[:3])
    bare = inn.ResNet(iso.ResNetSpec("relu", depth=3, skip=0.0), 30)
    with pytest.raises(NotImplementedError, match="skip = 0"):
        outliers_from_forward(bare, x.float())
    far = inn.ResNet(iso.ResNetSpec("relu", depth=5, skip=1e100), 30, dtype=torch.float64)
    with pytest.raises(OverflowError, match="outside float64"):
        outliers_from_forward(far, x * 1e-300)


class Perceptron(torch.nn.Module):
    """x + phi(W_2 phi(W_1 x + b)): phi is last, so that its mean goes into the stream."""

    def __init__(self, width=200, depth=40, seed=0, *, last=torch.relu):
        super().__init__()
        generator, self.last = torch.Generator().manual_seed(seed), last
        shapes = [(2 * width, width), (width, 2 * width)]
        self.maps = torch.nn.ParameterList(
            torch.randn(shape, generator=generator) * (gain / shape[1]) ** 0.5
            for _ in range(depth)
            for shape, gain in zip(shapes, (2.0, 1.0 / depth), strict=True)
        )

    def forward(self, x):
        for one, two in zip(self.maps[::2], self.maps[1::2], strict=True):
            x = x + self.last(torch.relu(x @ one.T) @ two.T)
        return x


@pytest.mark.parametrize("seed", [0, 1])
def test_a_perceptron_of_ones_own_has_the_outlier_that_its_forward_pass_tells(seed):
    """Off by O(1/depth) and 2 % of scatter; an outlier 10 % larger is rejected."""
    model = Perceptron(seed=seed)
    x = torch.randn(1, 200, generator=torch.Generator().manual_seed(seed))
    s = torch.linalg.svdvals(inn.JacobianOperator(model, x).to_dense())
    (found,) = outliers_from_forward(model, x, generator=torch.Generator().manual_seed(0))
    assert found == pytest.approx(float(s[0]), rel=0.06)
    assert 1.1 * found != pytest.approx(float(s[0]), rel=0.06)
    assert found > 2.0 * float(s[1])


def test_a_branch_that_ends_in_a_map_has_none():
    model = Perceptron(last=torch.nn.Identity())
    x = torch.randn(1, 200, generator=torch.Generator().manual_seed(0))
    s = torch.linalg.svdvals(inn.JacobianOperator(model, x).to_dense())
    assert len(outliers_from_forward(model, x)) == 0
    assert s[0] < 1.1 * s[1]


def test_the_papers_network_is_told_by_its_blocks_as_by_its_maps():
    net, x = made()
    own, source = _entries(net, x), torch.Generator().manual_seed(0)
    stream, inputs = _passed(lambda z: net(z), x)
    traces = inn.block_traces(stream.blocks, generator=source)
    seen = _blocks_entries(stream.blocks, traces, inputs, source)
    assert np.allclose(seen.x, own.x)
    # the drift t of a width of 300 is some 1e-3 of the skip, and its part of X x is taken off
    assert np.abs(seen.u - own.u).max() < 0.02 * np.abs(own.u).max()
    assert seen.alpha.mean() == pytest.approx(own.alpha.mean(), rel=0.05)
    one = [np.corrcoef(a, b)[0, 1] for a, b in zip(seen.alpha, own.alpha, strict=True)]
    assert min(one) > 0.8  # of 16 probes an entry's is off by a third
    (whole,) = outliers_from_forward(net, x)
    (parts,) = outliers_from_forward(lambda z: net(z), x, generator=source)
    assert parts == pytest.approx(whole, rel=0.03)
    assert 1.1 * parts != pytest.approx(whole, rel=0.03)


def test_a_model_that_is_measured_stays_as_it_is():
    model = Perceptron(30, 3)
    x, state = torch.randn(1, 30), torch.get_rng_state()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match="expected one sample"):
        outliers_from_forward(model, torch.randn(2, 30))
    torch.set_rng_state(state)
    outliers_from_forward(model, x, generator=torch.Generator().manual_seed(0))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_what_acts_between_blocks_is_named():
    layers = [part for _ in range(3) for part in (Perceptron(20, 1), torch.nn.LayerNorm(20))]
    with pytest.raises(NotImplementedError, match=r"layer norm.*inn\.twin"):
        outliers_from_forward(torch.nn.Sequential(*layers), torch.randn(1, 20))


def test_an_input_that_is_written_to_is_kept_as_the_block_got_it():
    model = Perceptron(40, 6)

    def written(x):
        y = x.clone()
        for one, two in zip(model.maps[::2], model.maps[1::2], strict=True):
            branch = torch.relu(torch.relu(y.clone() @ one.T) @ two.T)
            y += branch
        return y

    x = torch.randn(1, 40, generator=torch.Generator().manual_seed(0))
    for one, two in zip(_passed(model, x)[1], _passed(written, x)[1], strict=True):
        assert torch.equal(one, two)
