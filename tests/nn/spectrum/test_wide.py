import copy

import numpy as np
import pytest
import torch
from torch import nn

from cases_matrices import seeded
from cases_modules import Residual, mlp, stack
from isometry import nn as inn
from isometry.nn.spectrum.extremes import largest_singular_values, smallest_singular_values
from isometry.nn.spectrum.lanczos import rounding_floor
from isometry.nn.spectrum.spectrum import singular_spectrum
from isometry.nn.spectrum.wide import NARROW, Widened, precision_of, widened


def made(build, width, dtype):
    """Return a model in half precision, one with the same weights in float32, and an input."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        narrow, x = build().to(dtype), torch.randn(1, width).to(dtype)
    return narrow, copy.deepcopy(narrow).float(), x


def distance(one, other):
    at = np.union1d(one.values, other.values)
    return float(np.abs(one.cdf(at) - other.cdf(at)).max())


@pytest.mark.parametrize("dtype", NARROW)
def test_vectors_are_single_precision_and_products_are_the_operators(dtype):
    narrow, _, x = made(lambda: nn.Linear(6, 4), 6, dtype)
    J = inn.JacobianOperator(narrow, x)
    wide = widened(J)
    assert isinstance(wide, Widened)
    assert (wide.dtype, precision_of(wide), wide.T.shape) == (torch.float32, dtype, (6, 4))
    v = torch.linspace(-1, 1, 6)
    assert torch.equal(wide @ v, (J @ v.to(dtype)).float())
    assert torch.equal(wide.to_dense(), narrow.weight.detach().float())
    other = inn.JacobianOperator(narrow.float(), x.float())
    assert widened(other) is other
    assert precision_of(other) == torch.float32


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_the_spectrum_is_that_of_the_same_weights_to_the_products_rounding(dtype, method):
    narrow, single, x = made(lambda: stack(lambda: Residual(mlp(300, 300)), 6), 300, dtype)
    exact = singular_spectrum(inn.JacobianOperator(single, x.float()), method,
                              generator=torch.Generator().manual_seed(0))  # fmt: skip
    received = singular_spectrum(inn.JacobianOperator(narrow, x), method,
                                 generator=torch.Generator().manual_seed(0))  # fmt: skip
    assert str(dtype).removeprefix("torch.") in received.provenance
    # every s is off by at most about eps |J|: a shift of the cdf by the density times that
    assert distance(received, exact) < 2 * torch.finfo(dtype).eps + 5e-3
    wrong, _, _ = made(lambda: stack(lambda: Residual(mlp(300, 300)), 7), 300, dtype)
    other = singular_spectrum(inn.JacobianOperator(wrong, x), method)
    assert distance(other, exact) > 2 * torch.finfo(dtype).eps + 5e-3


@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_what_the_products_cannot_tell_from_zero_is_zero(method):
    def build():
        model = nn.Sequential(nn.Linear(200, 200), nn.Identity())
        with torch.no_grad():
            model[0].weight.copy_(torch.diag(torch.cat([torch.ones(120), torch.full((80,), 1e-3)])))
        return model

    narrow, _, x = made(build, 200, torch.bfloat16)
    spectrum = singular_spectrum(inn.JacobianOperator(narrow, x), method, generator=seeded())
    assert rounding_floor(torch.bfloat16) > 1e-3
    assert spectrum.cdf(0.0) == pytest.approx(0.4, abs=0.03)


def test_a_rank_that_the_recording_shows_is_known_in_half_precision_too():
    narrow, _, x = made(lambda: nn.Sequential(nn.Linear(100, 20), nn.Linear(20, 90)), 100,
                        torch.bfloat16)  # fmt: skip
    spectrum = singular_spectrum(inn.JacobianOperator(narrow, x), "dense")
    assert (spectrum.values == 0).sum() == 70


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("extremes", [largest_singular_values, smallest_singular_values])
def test_extremes_in_half_precision_are_known_to_the_error_they_state(extremes, dtype):
    narrow, single, x = made(lambda: stack(lambda: Residual(mlp(64, 64)), 4), 64, dtype)
    found = extremes(inn.JacobianOperator(narrow, x), 3, generator=seeded())
    exact = extremes(inn.JacobianOperator(single, x.float()), 3, generator=seeded())
    assert (np.abs(found.s - exact.s) <= found.error).all()
    top = inn.largest_singular_values(inn.JacobianOperator(single, x.float())).s[0]
    assert (found.error >= 0.98 * torch.finfo(dtype).eps * top).all()  # rounding is a part of it
    assert (exact.error < 0.02 * found.error).all()


def test_a_model_in_half_precision_is_diagnosed():
    narrow, single, x = made(lambda: stack(lambda: Residual(mlp(256, 256)), 5), 256, torch.bfloat16)
    found = inn.diagnose(narrow, x, generator=torch.Generator().manual_seed(0))
    exact = inn.diagnose(single, x.float(), generator=torch.Generator().manual_seed(0))
    assert found.dtype == "bfloat16"
    assert found.c == pytest.approx(exact.c, rel=0.03)
    assert distance(found.spectrum, exact.spectrum) < 0.02
