import math

import numpy as np
import pytest
import torch
from torch import nn

import isometry as iso
from cases_modules import Residual, mlp, stack
from isometry import nn as inn
from isometry.errors import ConvergenceError
from isometry.nn.init.condition import NoProductLawError, conditioned
from isometry.nn.init.plans import InitPlan, PlannedBlock, PlannedCondition

UNIVERSAL = iso.cumulant_from_condition_number(20.0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def points(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


def perceptron(width=64, depth=3):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return stack(lambda: Residual(mlp(width, 2 * width)), depth)


class CausalAttention(nn.Module):
    def __init__(self, width, heads=4):
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


def gpt(width, layers=6):
    def layer():
        return nn.Sequential(
            Residual(nn.Sequential(nn.LayerNorm(width), CausalAttention(width))),
            Residual(nn.Sequential(nn.LayerNorm(width), mlp(width, 4 * width))),
        )

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(*(layer() for _ in range(layers)))


def product_law(model, x):
    """Return the product law of the blocks as they are, by probes of its own where it takes any."""
    blocks, method = inn.residual_blocks(model, x), "dense" if x.numel() <= 768 else None
    spectra = inn.block_spectra(blocks, method, num_probes=48, generator=seeded(99))
    return iso.ProductLaw(spectra)


def bulk_ratio(law):
    """Return the ratio of the 98 % to the 2 % quantile of s."""
    low, high = law.icdf(np.array([0.02, 0.98]))
    return math.sqrt(high / low)


def measured_ratio(model, x):
    return bulk_ratio(inn.singular_spectrum(inn.JacobianOperator(model, x), "dense"))


def values(model):
    return [p.detach().clone() for p in model.parameters()]


def test_the_product_law_of_the_planned_blocks_has_the_condition_number_asked():
    model, x = perceptron(), points(4, 64)
    made = inn.plan(model, x, condition_number=20.0, generator=seeded())
    assert made.condition is not None
    assert (made.condition.asked, made.condition.law) == (20.0, "product")
    assert made.condition.after == pytest.approx(20.0, rel=0.04)  # 2 % of c
    assert "by the product law" in str(made)
    law = product_law(inn.apply_(model, made), x)
    assert law.condition_number() == pytest.approx(
        made.condition.after, rel=1e-3
    )  # dense: no noise
    assert measured_ratio(model, x) == pytest.approx(bulk_ratio(law), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "tokens"), [(48, 16), (64, 32)])
def test_a_transformers_bulk_is_as_wide_as_the_product_law_of_the_condition_number(width, tokens):
    model, x = gpt(width), points(1, tokens, width, seed=5)
    inn.residual_(model, x, condition_number=20.0, generator=seeded())
    law = product_law(model, x)
    # 4 % for c within 2 %, and three standard errors of the edges of 2,048 values by probes
    assert law.condition_number() == pytest.approx(20.0, rel=0.04 if tokens == 16 else 0.2)
    expected = bulk_ratio(law)
    assert measured_ratio(model, x) == pytest.approx(expected, rel=0.1)
    by_c = inn.residual_(gpt(width), x, c=UNIVERSAL, generator=seeded())
    assert measured_ratio(by_c, x) > 1.5 * expected


@pytest.mark.parametrize("convolutional", [False, True])
def test_the_papers_networks_are_planned_by_the_universal_law_as_before(convolutional):
    def network():
        spec = iso.ResNetSpec("gelu", depth=6, sigma_b=0.2)
        kind = inn.ConvResNet if convolutional else inn.ResNet
        return kind(spec, 16, generator=seeded())

    x = points(2, 16, 4, 4) if convolutional else points(4, 16)
    made = inn.plan(network(), x, condition_number=20.0, generator=seeded())
    assert made.condition is None
    one = inn.apply_(network(), made)
    other = inn.residual_(network(), x, c=UNIVERSAL, generator=seeded())
    assert all(map(torch.equal, values(one), values(other)))
    far = inn.residual_(network(), x, c=1.1 * UNIVERSAL, generator=seeded())
    assert not all(map(torch.equal, values(one), values(far)))


def test_the_universal_law_stands_in_where_there_is_nothing_to_multiply():
    model, x = perceptron(depth=1), points(4, 64)
    made = inn.plan(model, x, condition_number=3.0, generator=seeded())
    assert made.condition is not None
    assert made.condition.law == "universal"
    assert "no two residual blocks" in made.condition.reason
    assert "no product law" in str(made)
    c = iso.cumulant_from_condition_number(3.0)
    by_c = inn.plan(perceptron(depth=1), x, c=c, generator=seeded())
    applied = inn.apply_(perceptron(depth=1), made), inn.apply_(perceptron(depth=1), by_c)
    assert all(map(torch.equal, *map(values, applied)))


def test_the_universal_law_stands_in_where_something_acts_between_the_blocks():
    first, second = perceptron(depth=2)
    model = nn.Sequential(first, nn.LayerNorm(64), second)
    made = inn.plan(model, points(4, 64), condition_number=3.0, generator=seeded())
    assert made.condition is not None
    assert made.condition.law == "universal"
    assert "Between the blocks" in made.condition.reason


def fitted(c):
    return InitPlan(c, "data", (PlannedBlock("b", None, c, c, ("w",), 1.0, ""),), 1, {})


@pytest.mark.parametrize(("size", "power"), [(2.0, 1.3), (0.3, 0.8), (4.0, 1.0)])
def test_four_rounds_find_the_c_of_a_power_law(size, power):
    def kappa(made):
        return iso.UniversalLaw(size * made.c_after**power).condition_number()

    made = conditioned(fitted, kappa, 20.0, 0.02)
    assert made.condition is not None
    assert size * made.c_after**power == pytest.approx(UNIVERSAL, rel=0.02)
    assert made.condition.rounds <= 4


def test_a_condition_number_that_no_c_gives_is_said_with_the_nearest():
    with pytest.raises(ConvergenceError, match=r"`condition_number` is 20 .* has 15 at c"):
        conditioned(fitted, lambda made: 15.0, 20.0, 0.02)


def test_a_c_that_the_blocks_do_not_reach_is_said_with_what_they_have():
    def limited(c):
        if c > 1.01 * UNIVERSAL:
            raise ValueError("`c` is out of reach. Lower it.")
        return fitted(c)

    with pytest.raises(ValueError, match=r"needs c = .*has 15\); expected .*out of reach"):
        conditioned(limited, lambda made: 15.0, 20.0, 0.02)


def test_a_law_that_is_refused_later_leaves_the_universal_laws_plan():
    def kappa(made):
        if made.c_after != UNIVERSAL:
            raise NoProductLawError("The solver refuses.")
        return 60.0

    made = conditioned(fitted, kappa, 20.0, 0.02)
    assert made.c == UNIVERSAL
    after = iso.UniversalLaw(UNIVERSAL).condition_number()
    assert made.condition == PlannedCondition(20.0, after, "universal", 2, "The solver refuses.")
