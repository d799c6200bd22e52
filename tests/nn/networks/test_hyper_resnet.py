import math

import pytest
import torch

from isometry.nn.blocks.blocks import residual_blocks, residual_stream
from isometry.nn.blocks.operator import SegmentOperator
from isometry.nn.diagnosis.twin import twin
from isometry.nn.init.init import plan
from isometry.nn.networks.hyper_resnet import HyperResNet
from isometry.nn.networks.resnet import ResNet
from isometry.theory.propagation import ResNetSpec

F64 = torch.float64
SPEC = ResNetSpec("gelu", depth=6, sigma_b=0.1, skip=0.9)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def built(**options):
    x = torch.randn(1, 24, generator=seeded(1), dtype=F64)
    return HyperResNet(SPEC, 24, generator=seeded(), dtype=F64, **options), x


@pytest.mark.parametrize("streams", [2, 3, 5])
@pytest.mark.parametrize("logit", [-1.0, 0.5, 4.0])
def test_a_mixing_is_doubly_stochastic_and_keeps_what_is_said(streams, logit):
    net, _ = built(streams=streams, logit=logit)
    M = net.layers[0].mixing()
    ones = torch.ones(streams, dtype=F64)
    for sums in (M.sum(0), M.sum(1)):
        torch.testing.assert_close(sums, ones, rtol=1e-12, atol=0)
    values = torch.linalg.eigvalsh(M).tolist()
    assert min(abs(value - net.retained) for value in values) < 1e-12
    assert net.retained == pytest.approx(math.expm1(logit) / (math.exp(logit) + streams - 1))


def test_the_mean_over_the_streams_is_the_papers_network():
    net, x = built()
    plain = ResNet(SPEC, 24, generator=seeded(), dtype=F64)
    torch.testing.assert_close(net(x), plain(x), rtol=1e-12, atol=1e-12)
    with torch.no_grad():  # any logits: the mean does not see them
        for layer in net.layers:
            layer.logits += torch.randn(4, 4, generator=seeded(2), dtype=F64)
    # Sinkhorn's rounds leave 1e-9 here
    torch.testing.assert_close(net(x), plain(x), rtol=1e-6, atol=1e-6)


def test_the_trunk_has_the_papers_singular_values_and_those_of_the_mixing():
    net, x = built(streams=3, logit=3.0)
    found = torch.linalg.svdvals(SegmentOperator(residual_stream(net, x).trunk).to_dense())
    own = torch.linalg.svdvals(ResNet(SPEC, 24, generator=seeded(), dtype=F64).jacobian(x))
    kept = torch.full((48,), (SPEC.skip * net.retained) ** 6, dtype=F64)
    torch.testing.assert_close(found, torch.cat([own, kept]).sort(descending=True).values)


def test_its_blocks_have_matrices_and_its_twin_rotates_the_width():
    net, x = built(streams=3)
    assert [block.matrix for block in residual_blocks(net, x)] == [True] * 6
    assert set(twin(net, x).axes) == {2}
    made = plan(net, x, branch_gain=0.5, generator=seeded(4))
    assert (made.quantity, len(made.blocks)) == ("branch gain", 6)
    assert made.residual <= 0.02


def test_gradients_reach_the_logits():
    net, _ = built()
    net.trunk(torch.randn(4, 24, generator=seeded(3), dtype=F64)).square().sum().backward()
    assert all(float(layer.logits.grad.abs().max()) > 0 for layer in net.layers)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="`streams` is 1"):
        built(streams=1)
    with pytest.raises(ValueError, match="`logit` is inf"):
        built(logit=math.inf)
