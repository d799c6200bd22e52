import math

import pytest
import torch
from torch import nn

from isometry.nn.init.schemes import delta_orthogonal_, draw, normal_, orthogonal_

SHAPES = {"tall": (400, 100), "wide": (100, 400), "kernel": (64, 32, 3, 3), "even": (96, 48, 2)}
SCHEMES = {"normal": normal_, "orthogonal": orthogonal_}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_variance_is_sigma_w_squared_over_fan_in_and_depth(name, shape):
    weight = torch.empty(SHAPES[shape])
    fan_in = math.prod(SHAPES[shape][1:])
    SCHEMES[name](weight, 1.5, depth=7, generator=seeded())
    # five standard errors of a sample variance: sqrt(2/n) relative; exact for orthogonal
    error = 5 * math.sqrt(2 / weight.numel()) if name == "normal" else 1e-5
    assert float(weight.square().mean()) == pytest.approx(1.5**2 / (fan_in * 7), rel=error)


def test_fan_in_and_fan_out_are_told_apart():
    up, down = nn.Linear(100, 400), nn.Linear(400, 100)
    for layer in (up, down):
        normal_(layer.weight, generator=seeded())
    assert float(up.weight.detach().std()) == pytest.approx(0.1, rel=0.02)
    assert float(down.weight.detach().std()) == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize(("shape", "side"), [((30, 70), 0), ((70, 30), 1)])
def test_the_smaller_side_of_an_orthogonal_matrix_is_orthogonal(shape, side):
    W = orthogonal_(torch.empty(shape, dtype=torch.float64), 2.0, depth=4, generator=seeded())
    gram = W @ W.T if side == 0 else W.T @ W
    expected = max(shape) / shape[1] * 2.0**2 / 4  # the variance is that of fan_in, here shape[1]
    torch.testing.assert_close(gram, expected * torch.eye(30, dtype=torch.float64))


def test_a_square_orthogonal_matrix_has_singular_values_sigma_w_over_root_depth():
    W = orthogonal_(torch.empty(20, 20), 3.0, depth=9, generator=seeded())
    torch.testing.assert_close(torch.linalg.svdvals(W), torch.ones(20))


def test_orthogonal_signs_are_not_fixed():
    # with the signs of QR left as they are, the first entry of Q is never positive
    firsts = [float(orthogonal_(torch.empty(3, 3), generator=seeded(s))[0, 0]) for s in range(40)]
    assert 8 < sum(first > 0 for first in firsts) < 32


def test_a_delta_kernel_is_an_orthogonal_centre_and_zeros():
    W = delta_orthogonal_(torch.empty(24, 24, 3, 5), 2.0, depth=4, generator=seeded())
    torch.testing.assert_close(torch.linalg.svdvals(W[:, :, 1, 2]), torch.ones(24))
    assert int(W.count_nonzero()) == 24 * 24
    assert float(W.square().mean()) == pytest.approx(2.0**2 / (24 * 15 * 4), rel=1e-5)


@pytest.mark.parametrize("fill", [normal_, orthogonal_])
def test_a_seed_gives_the_same_numbers_in_every_type_and_leaves_the_global_state(fill):
    before = torch.get_rng_state()
    single = fill(torch.empty(9, 5), generator=seeded(3))
    half = fill(torch.empty(9, 5, dtype=torch.bfloat16), generator=seeded(3))
    assert torch.equal(single.bfloat16(), half)
    assert not torch.equal(single, fill(torch.empty(9, 5), generator=seeded(4)))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_parameter_is_written_in_place_and_stays_trainable():
    weight = nn.Parameter(torch.zeros(4, 3))
    assert normal_(weight, generator=seeded()) is weight
    assert weight.requires_grad
    assert weight.count_nonzero() == 12


BAD = {
    "list": (normal_, ([1.0], 1.0), {}, TypeError, "`tensor` is a list"),
    "vector": (normal_, (torch.empty(3), 1.0), {}, ValueError, r"shape \(3,\); expected a weight"),
    "empty": (orthogonal_, (torch.empty(0, 3), 1.0), {}, ValueError, "two non-empty axes"),
    "negative": (normal_, (torch.empty(3, 3), -1.0), {}, ValueError, "`sigma_w` is -1.0"),
    "text": (normal_, (torch.empty(3, 3), "1"), {}, TypeError, "`sigma_w` is '1'"),
    "depth": (normal_, (torch.empty(3, 3), 1.0), {"depth": 0}, ValueError, "`depth` is 0"),
    "matrix": (delta_orthogonal_, (torch.empty(3, 3), 1.0), {}, ValueError, "odd sides"),
    "even": (delta_orthogonal_, (torch.empty(3, 3, 2), 1.0), {}, ValueError, "odd sides"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_arguments_are_refused(case):
    fill, args, options, error, match = BAD[case]
    with pytest.raises(error, match=match):
        fill(*args, **options)


def test_uniform_entries_have_no_mean_and_stay_within_their_bounds():
    W = draw("uniform", (200, 300), std=1.0, generator=seeded(), wide=True)
    assert abs(float(W.mean())) < 5 / 60_000**0.5  # standard errors of entries of unit variance
    assert float(W.square().mean()) == pytest.approx(1.0, rel=0.02)
    assert float(W.abs().max()) <= math.sqrt(3)
