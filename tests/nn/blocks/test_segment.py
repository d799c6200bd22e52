from math import prod

import pytest
import torch
from torch import nn

from cases_models import MODELS, make
from cases_modules import Residual, mlp
from isometry.nn.blocks.blocks import residual_blocks, residual_stream
from isometry.nn.blocks.segment import Segment
from isometry.nn.blocks.traces import block_traces


def net(depth=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 6), *(Residual(mlp(6, 6)) for _ in range(depth))).double()


def by_autograd(segment):
    return Segment(segment.source, segment.target, segment.ranks)


def test_the_recording_and_autograd_give_the_same_products():
    stream = residual_stream(net(), torch.ones(2, 6, dtype=torch.float64))
    for segment in (stream.trunk, *(block.segment for block in stream.blocks)):
        assert segment.tape is not None
        oracle = by_autograd(segment)
        assert oracle.tape is None
        probes = torch.randn(4, 2, 6, dtype=torch.float64)
        assert torch.allclose(segment.vjp(probes), oracle.vjp(probes), rtol=1e-12, atol=1e-13)
        assert torch.allclose(segment.jvp(probes), oracle.jvp(probes), rtol=1e-12, atol=1e-13)


def test_a_pass_that_cannot_be_recorded_leaves_its_blocks_to_autograd():
    def model(x):
        h = torch.view_as_real(torch.view_as_complex(x.reshape(2, 3, 2)) * (1 + 1j))
        return x + torch.tanh(h.reshape(2, 6))

    x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(2, 6)
    (block,) = residual_blocks(model, x)
    assert block.segment.tape is None
    dense = torch.autograd.functional.jacobian(lambda x: model(x) - x, x).reshape(12, 12)
    (traces,) = block_traces([block])
    assert traces.t == pytest.approx(float(dense.trace()) / 12, abs=1e-12)


FAST = ("sequential", "scaled skip", "sum over root two")


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in MODELS]
)
def test_the_trunk_has_one_spectrum_by_the_recording_and_by_autograd(name):
    pytest.importorskip("transformers")
    case = MODELS[name]
    model, x = make(case.build, case.shape)
    trunk = residual_stream(model.double().eval(), x.double()).trunk
    assert trunk.tape is not None
    eye = torch.eye(prod(trunk.target_shape), dtype=torch.float64)
    rows = eye.reshape(-1, *trunk.target_shape).to(**trunk.options)
    spectra = [
        torch.linalg.svdvals(segment.vjp(rows).flatten(1))
        for segment in (trunk, by_autograd(trunk))
    ]
    # some models normalise in single precision whatever their own
    assert torch.allclose(*spectra, rtol=1e-6, atol=1e-6 * float(spectra[0][0]))
