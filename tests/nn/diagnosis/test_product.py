import math

import numpy as np
import pytest
import torch
from torch import nn

from cases_modules import shared, strided_stages
from isometry.nn.blocks.blocks import residual_stream
from isometry.nn.blocks.operator import SegmentOperator
from isometry.nn.diagnosis.product import (
    _without_ends,
    predict_product,
    what_if,
    what_if_smaller,
)
from isometry.nn.spectrum.dense import matrix_spectrum
from isometry.theory.spectrum import Spectrum


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Matrix(nn.Module):
    """x + X x."""

    def __init__(self, width, size, source):
        super().__init__()
        noise = torch.randn(width, width, generator=source)
        self.weight = nn.Parameter(size * noise / math.sqrt(width))

    def forward(self, x):
        return x + x @ self.weight.T


SIZES = (0.25, 0.25, 0.65, 0.25, 0.25, 0.25, 0.25, 0.25)


def measured(sizes=SIZES, width=400):
    source = seeded(3)
    model = nn.Sequential(*[Matrix(width, size, source) for size in sizes])
    stream = residual_stream(model, torch.randn(1, width, generator=source))
    return stream, matrix_spectrum(SegmentOperator(stream.trunk).to_dense())


def span(spectrum):
    low, high = spectrum.icdf([0.02, 0.98])
    return math.sqrt(high / low)


def test_the_product_law_describes_large_blocks_that_are_free():
    stream, spectrum = measured()
    found = predict_product(stream, spectrum, "dense", seeded(1))
    assert found.comparison.ks < 6 / 400
    assert found.moved == found.standard_error == 0.0
    assert len(found.contributions) == 8
    assert predict_product(stream, spectrum, None, seeded(1)).standard_error > 0
    wrong = measured([1.1 * size for size in SIZES])[1]
    assert predict_product(stream, wrong, "dense", seeded(1)).comparison.ks > 2 * 6 / 400


def test_it_does_not_describe_blocks_that_share_their_weights():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = Matrix(200, 0.4, seeded())
    stream = residual_stream(nn.Sequential(*[block] * 6), torch.ones(1, 200))
    spectrum = matrix_spectrum(SegmentOperator(stream.trunk).to_dense())
    assert predict_product(stream, spectrum, "dense", seeded(1)).comparison.ks > 0.1


def test_what_if_one_branch_were_smaller_is_what_is_measured_then():
    stream, spectrum = measured()
    law = predict_product(stream, spectrum, "dense", seeded(1)).law
    found = what_if(stream.blocks[2], 0.5, law, "dense", seeded(1))
    smaller = measured([*SIZES[:2], 0.325, *SIZES[3:]])[1]
    # quantiles of one matrix of 400: level errors of 3/N at 2 %, where log s has the slope 4
    assert found.before == pytest.approx(span(spectrum), rel=0.06)
    assert found.after == pytest.approx(span(smaller), rel=0.06)
    assert found.after < 0.85 * found.before


def test_the_heaviest_block_is_brought_to_the_size_of_the_others():
    stream, spectrum = measured()
    product = predict_product(stream, spectrum, "dense", seeded(1))
    found = what_if_smaller(stream, product, "dense", seeded(1))
    assert found.block == stream.blocks[2].name
    # c goes like the square of the size
    assert found.factor == pytest.approx(0.25 / 0.65, rel=0.2)
    even = measured([0.3] * 6)
    product = predict_product(*even, "dense", seeded(1))
    assert what_if_smaller(even[0], product, "dense", seeded(1)) is None


def test_a_contribution_is_about_what_is_lost_without_the_block():
    stream, spectrum = measured()
    found = predict_product(stream, spectrum, "dense", seeded(1))
    without = what_if(stream.blocks[2], 0.0, found.law, "dense", seeded(1))
    lost = math.log(without.before / without.after)
    # to first order: a block with a third of all c loses a fifth more than its part
    assert found.contributions[2] == pytest.approx(lost, rel=0.25)
    small = what_if(stream.blocks[0], 0.0, found.law, "dense", seeded(1))
    lost = math.log(small.before / small.after)
    assert found.contributions[0] == pytest.approx(lost, rel=0.1)


def test_one_block_or_none_has_no_product():
    stream, spectrum = measured(sizes=(0.5,), width=30)
    assert "no two residual blocks" in predict_product(stream, spectrum, None, seeded()).reason
    assert predict_product(None, spectrum, None, seeded()).law is None
    few = measured(sizes=(0.5, 0.5), width=10)
    assert "10 singular values are too few" in predict_product(*few, None, seeded()).reason


def test_a_normalisation_between_blocks_belongs_to_the_block_before():
    class Positive(nn.Module):
        def forward(self, x):
            return torch.relu(x)

    source = seeded(5)
    model = nn.Sequential(
        Matrix(200, 0.5, source), Positive(), Matrix(200, 0.5, source), Matrix(200, 0.5, source)
    )
    stream = residual_stream(model, torch.randn(1, 200, generator=source))
    assert "ReLU" in stream.remark
    spectrum = matrix_spectrum(SegmentOperator(stream.trunk).to_dense())
    found = predict_product(stream, spectrum, None, seeded(1))
    zeros = float(spectrum.cdf([0.0])[0])
    assert 0.3 < zeros < 0.7
    assert found.law.atoms()[1][0] == pytest.approx(zeros, abs=0.01)
    assert found.comparison.ks < 0.04


def test_ends_are_moved_to_the_bulk():
    values = np.array([1e-6, 1.0, 1.5, 2.0, 50.0])
    factor = Spectrum(values, np.array([0.001, 0.4, 0.3, 0.297, 0.002]))
    moved = _without_ends(factor, 0.005)
    np.testing.assert_array_equal(np.unique(moved.values), [1.0, 1.5, 2.0])
    assert moved.weights.sum() == pytest.approx(1.0)
    assert _without_ends(factor, 0.0) is factor


def test_shared_weights_of_an_ordinary_model_have_a_product_law():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stream = residual_stream(shared(), torch.randn(4, 8))
    spectrum = matrix_spectrum(SegmentOperator(stream.trunk).to_dense())
    assert predict_product(stream, spectrum, None, seeded()).law is not None


def test_the_distance_of_a_trunk_that_narrows_is_that_of_its_own_values():
    """The law has a value per column, 864 of them, the trunk 384; padding more than halves KS."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = strided_stages(torch.tanh, act_last=False)
        x = torch.randn(1, 24, 6, 6)
    stream = residual_stream(model, x)
    own = matrix_spectrum(SegmentOperator(stream.trunk).to_dense())
    found = predict_product(stream, own, "dense", seeded())
    zeros = 1 - 384 / 864
    at = found.law.icdf(zeros + (1 - zeros) * np.linspace(0.01, 0.99, 99))
    gap = np.abs(own.cdf(at) - np.linspace(0.01, 0.99, 99)).max()
    assert own.dimension == 384
    # the largest gap lies between two of the 99 levels
    assert found.comparison.ks == pytest.approx(gap, abs=0.01)
    assert found.comparison.ks > 0.08
