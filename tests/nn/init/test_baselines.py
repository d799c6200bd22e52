import math

import pytest
import torch
from torch import nn

from cases_modules import Gate, LayerScale, Residual, mlp, stack
from isometry import nn as inn
from isometry.nn.init import baselines
from isometry.nn.init.baselines import he, lsuv, torch_default, xavier
from isometry.nn.init.init import apply_

ZERO = ("fixup", "skipinit", "rezero")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def model(depth=8, width=64):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return stack(lambda: Residual(mlp(width, 2 * width)), depth)


def applied(rule, net=None, **options):
    net = model() if net is None else net
    x = torch.randn(16, 64, generator=seeded(3))
    made = getattr(baselines, rule)(net, x, generator=seeded(1), **options)
    return apply_(net, made), made


@pytest.mark.parametrize("rule", baselines.__all__)
def test_a_baseline_is_a_plan_with_the_c_that_it_gives(rule):
    net, made = applied(rule)
    assert made.c is None
    assert made.residual == 0.0
    assert len(made.blocks) == 8
    assert (made.c_after == 0.0) == (rule in ZERO)
    assert made.c_after < 40
    again = apply_(net, made)
    assert torch.isfinite(again(torch.ones(1, 64))).all()


VARIANCES = {
    "he": (lambda n, m: 2 / n, 0.0),
    "xavier": (lambda n, m: 2 / (n + m), 0.0),
    "torch_default": (lambda n, m: 1 / (3 * n), 1.0),
}


@pytest.mark.parametrize("rule", VARIANCES)
def test_the_draw_has_the_variance_of_the_rule(rule):
    variance, bias = VARIANCES[rule]
    net, _ = applied(rule)
    up = torch.cat([block.body[0].weight.detach() for block in net])
    down = torch.cat([block.body[2].weight.detach() for block in net])
    # five standard errors of a sample variance of 65536 numbers
    error = 5 * math.sqrt(2 / up.numel())
    assert float(up.var()) == pytest.approx(variance(64, 128), rel=error)
    assert float(down.var()) == pytest.approx(variance(128, 64), rel=error)
    biases = torch.cat([block.body[0].bias.detach() for block in net])
    assert float(biases.var()) == pytest.approx(bias / (3 * 64), rel=5 * math.sqrt(2 / 1024))


def test_torch_default_draws_like_torch():
    net, _ = applied("torch_default")
    assert float(net[0].body[0].weight.detach().abs().max()) == pytest.approx(1 / 8, rel=0.01)


def test_fixup_scales_the_inside_and_zeroes_the_end():
    plain, _ = applied("he")
    net, _ = applied("fixup")
    expected = plain[3].body[0].weight / math.sqrt(8)  # m = 2 layers: L^(-1/2)
    torch.testing.assert_close(net[3].body[0].weight, expected)
    assert net[3].body[2].weight.count_nonzero() == 0


@pytest.mark.parametrize("rule", ["skipinit", "rezero"])
@pytest.mark.parametrize("gain", ["alpha", "gamma"])
def test_a_gain_is_set_to_zero_where_there_is_one(rule, gain):
    layer = {"alpha": lambda: Gate(mlp(64, 64), 1.0), "gamma": lambda: LayerScale(mlp(64, 64), 64)}
    net, made = applied(rule, stack(layer[gain]))
    assert made.c_after == 0.0
    assert getattr(net[1], gain).count_nonzero() == 0
    assert net[1].body[2].weight.count_nonzero() > 0


def test_depth_mup_and_stable_resnet_scale_the_end_of_the_branch():
    plain, _ = applied("he")
    mup, _ = applied("depth_mup")
    stable, _ = applied("stable_resnet")
    torch.testing.assert_close(mup[4].body[2].weight, plain[4].body[2].weight / math.sqrt(8))
    fifth = 1 / (math.sqrt(5) * math.log(6))
    torch.testing.assert_close(stable[4].body[2].weight, plain[4].body[2].weight * fifth)
    assert torch.equal(stable[4].body[0].weight, plain[4].body[0].weight)


def test_deepnet_leaves_queries_and_keys_alone():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q_proj, self.v_proj = nn.Linear(64, 64), nn.Linear(64, 64)

        def forward(self, x):
            return x + self.v_proj(torch.softmax(self.q_proj(x), -1) * x)

    plain, _ = applied("xavier", stack(Attention))
    net, _ = applied("deepnet", stack(Attention))
    assert torch.equal(net[0].q_proj.weight, plain[0].q_proj.weight)
    torch.testing.assert_close(net[0].v_proj.weight, plain[0].v_proj.weight * 12**-0.25)


def test_lsuv_gives_every_map_unit_output_variance():
    net, _ = applied("lsuv")
    x, found = torch.randn(16, 64, generator=seeded(3)), []
    for module in net.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda m, i, o: found.append(float(o.detach().std())))
    net(x)
    assert found == pytest.approx([1.0] * 16, rel=1e-3)


def test_lsuv_leaves_no_hook_behind():
    net, _ = applied("lsuv")
    assert all(not module._forward_hooks for module in net.modules())


def test_a_baseline_initialises_a_model_without_values():
    with torch.device("meta"):
        net = model()
    net = net.to_empty(device="cpu")
    for parameter in net.parameters():
        parameter.detach().fill_(float("nan"))
    net, made = applied("torch_default", net)
    assert 0 < made.c_after < 10
    inn.residual_(net, torch.randn(16, 64, generator=seeded(3)), generator=seeded(1))
    assert all(bool(torch.isfinite(p).all()) for p in net.parameters())


def test_named_blocks_are_taken_as_they_are_named():
    _, made = applied("he", blocks=["0", "3"])
    assert [block.name for block in made.blocks] == ["0", "3"]


def test_rules_rank_as_their_c():
    levels = [applied(rule)[1].c_after for rule in ("depth_mup", "he")]
    assert levels[0] < levels[1] / 4
    assert {he, xavier, torch_default, lsuv} <= {getattr(baselines, n) for n in baselines.__all__}
