import json
import math

import pytest
import torch

from isometry.nn.scale.products import BlockSums, block_sums
from isometry.nn.scale.result import BlockScale


def rotated(s):
    return s + 0.5 * s.roll(1, -1) + s.cos() * 0


def test_a_rotation_has_the_numbers_that_can_be_had_by_hand():
    s = torch.ones(4, 64, dtype=torch.float64)
    (sums,) = block_sums(rotated, s, num_probes=400)
    found = BlockScale.of(sums, 7)
    # X = R / 2: t = 0, tau(X Xᵀ) = 1/4, tau(X^2) = 0; J of all ones is 3/2
    assert (found.index, found.size, found.skip) == (7, 256, 1.0)
    assert found.forward == pytest.approx(1.5)
    error = 5 / math.sqrt(400 * 256)
    assert found.backward == pytest.approx(math.sqrt(1.25), abs=error)
    assert (found.traces.t, found.traces.k) == pytest.approx((0, 0), abs=error)
    assert found.c == pytest.approx(0.25, abs=2 * error)
    assert found.finite


def test_the_backward_gain_counts_what_the_branch_does_along_the_skip():
    products = torch.tensor([[1.0, 3.0], [4.0, 4.0], [0.0, 0.0]])  # of 4 entries: t = 1/2, v = 1
    found = BlockScale.of(BlockSums("b", 2.0, products, torch.ones(2), 4))
    assert found.backward == pytest.approx(math.sqrt(2**2 + 2 * 2 * 0.5 + 1))


def test_a_block_whose_skip_is_no_number_has_no_c():
    sums = BlockSums("head", None, torch.tensor([[0.0], [18.0], [0.0]]), torch.ones(2), 2)
    found = BlockScale.of(sums)
    assert (found.c, found.log_scale, found.backward) == (None, None, 3.0)
    assert found.rows()[0]["c"] is None


def test_a_block_that_is_not_finite_says_so():
    sums = BlockSums("b", 1.0, torch.full((3, 4), math.nan), torch.ones(2), 2)
    assert not BlockScale.of(sums).finite


def test_it_becomes_json():
    (sums,) = block_sums(rotated, torch.ones(2, 8))
    found = json.loads(json.dumps(BlockScale.of(sums).to_dict()))
    assert {"name", "index", "size", "skip", "forward", "backward", "c"} <= set(found)
    assert {"t", "v", "k", "c"} <= set(found["traces"])
