import math

import numpy as np
import pytest
import torch
from torch import nn

from cases_modules import Residual, mlp, shared, stack
from isometry.nn.blocks.blocks import residual_blocks, residual_stream
from isometry.nn.blocks.operator import SegmentOperator
from isometry.nn.blocks.segment import Segment
from isometry.nn.blocks.spectra import block_spectra, operator_spectra
from isometry.nn.blocks.traces import block_traces, measured_law
from isometry.nn.jacobian.jacobian import JacobianOperator
from isometry.nn.networks.resnet import ResNet
from isometry.nn.spectrum.spectrum import singular_spectrum
from isometry.theory.comparison import compare
from isometry.theory.laws.product import ProductLaw
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.propagation import ResNetSpec
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


def large_blocks(width=400, size=0.5, depth=4):
    source = seeded(5)
    model = nn.Sequential(*[Matrix(width, size, source) for _ in range(depth)])
    return model, torch.randn(1, width, generator=source)


def dense(block):
    return torch.linalg.svdvals(SegmentOperator.of_block(block).to_dense().double()).numpy() ** 2


@pytest.mark.parametrize("method", ["dense", None])
def test_small_blocks_have_their_moments(method):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = stack(lambda: Residual(mlp(24, 48), skip=0.9, gain=0.5)).double()
    blocks = residual_blocks(model, torch.ones(1, 24, dtype=torch.float64))
    for block, found in zip(blocks, block_spectra(blocks, method), strict=True):
        lam = dense(block)
        assert found.dimension == 24
        for order in range(4):
            assert found.weights @ found.values**order == pytest.approx((lam**order).mean())


def test_the_product_law_of_large_blocks_lies_on_the_spectrum():
    model, x = large_blocks()
    stream = residual_stream(model, x)
    spectrum = singular_spectrum(SegmentOperator(stream.trunk), "dense")
    for method in ("dense", "lanczos"):
        law = ProductLaw(block_spectra(stream.blocks, method, generator=seeded(1)))
        # one matrix of 400 is within 6/N of its law, the probes add 0.004 of standard error
        assert compare(spectrum, law).ks < 6 / 400 + 0.01
    wrong = residual_blocks(large_blocks(size=0.55)[0], x)
    assert compare(spectrum, ProductLaw(block_spectra(wrong, generator=seeded(1)))).ks > 0.03


def test_the_noise_of_probes_is_as_documented():
    model, x = large_blocks(width=300, size=0.3)
    blocks = residual_blocks(model, x)
    known = block_spectra(blocks, "dense")
    means = np.array([f.weights @ f.values for f in known])
    spread = sum(
        float(f.weights @ (f.values / m - 1) ** 2) for f, m in zip(known, means, strict=True)
    )
    runs = []
    for seed in range(1, 61):
        found = block_spectra(
            blocks, "lanczos", num_probes=8, num_matvecs=4, generator=seeded(seed)
        )
        runs.append(sum(np.log([f.weights @ f.values for f in found] / means)))
    # log lam has the density 1 / (pi sqrt(spread)) at the median; 60 runs know a spread to 9 %
    noise = np.std(runs) / math.pi / math.sqrt(spread)
    assert noise == pytest.approx(0.45 / math.sqrt(300 * 8), rel=0.3)


def test_the_blocks_cost_no_more_than_the_trunk(monkeypatch):
    model, x = large_blocks(width=2100, size=0.3, depth=6)
    stream = residual_stream(model, x)
    counted = [0]
    for name in ("jvp", "vjp"):
        product = getattr(Segment, name)

        def counting(self, V, product=product):
            counted[0] += len(V)
            return product(self, V)

        monkeypatch.setattr(Segment, name, counting)
    block_spectra(stream.blocks, generator=seeded())
    blocks = counted[0]
    singular_spectrum(SegmentOperator(stream.trunk), generator=seeded())
    assert blocks < len(stream.blocks) * (counted[0] - blocks)


def test_heavier_blocks_take_more_nodes():
    few, many = (
        block_spectra(residual_blocks(*large_blocks(size=size, depth=8)), "dense")[0].provenance
        for size in (0.05, 1.5)
    )
    nodes = [int(text.split()[3]) for text in (few, many)]
    assert nodes[0] <= 8 < nodes[1]


def test_multiples_of_the_identity_are_a_point():
    blocks = residual_blocks(lambda x: 1.5 * x + torch.relu(-x), torch.ones(1, 300))
    (found,) = block_spectra(blocks, generator=seeded())
    np.testing.assert_allclose(found.values, 2.25, rtol=1e-5)


def test_shared_weights_are_measured_at_every_use():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = residual_blocks(shared().double(), torch.ones(2, 8, dtype=torch.float64))
    means = [float(found.weights @ found.values) for found in block_spectra(blocks)]
    assert means == pytest.approx([dense(block).mean() for block in blocks])


def test_rows_that_are_zero_become_an_atom():
    class Halved(nn.Module):
        def forward(self, x):
            return torch.cat([x[:, :150] * 2, 0 * x[:, 150:]], 1)

    model, x = large_blocks(300)
    across = JacobianOperator(nn.Sequential(model, Halved()), x)
    for method in ("dense", "lanczos"):
        (found,) = operator_spectra([across], method, generator=seeded(), holed=True)
        assert found.values[0] == 0.0
        assert found.weights[0] == pytest.approx(0.5)
        assert found.values[1] > 0


def test_the_same_generator_gives_the_same_spectra():
    blocks = residual_blocks(ResNet(ResNetSpec("relu", depth=3), 300), torch.ones(1, 300))
    one, two = (block_spectra(blocks, generator=seeded(7)) for _ in range(2))
    assert all((a.values == b.values).all() for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "lanzcos"}, ValueError, "Did you mean 'lanczos'"),
        ({"num_probes": 0}, ValueError, "`num_probes` is 0; expected an integer >= 1"),
        ({"num_matvecs": 1.5}, TypeError, "`num_matvecs` is 1.5"),
    ],
)
def test_wrong_options_are_named(options, error, words):
    blocks = residual_blocks(lambda x: x + torch.tanh(x), torch.ones(1, 4))
    with pytest.raises(error, match=words):
        block_spectra(blocks, **options)


def test_what_is_no_list_of_blocks_is_refused():
    with pytest.raises(TypeError, match="expected what `residual_blocks` returns"):
        block_spectra(nn.Linear(3, 3))
    with pytest.raises(ValueError, match="`blocks` is empty"):
        block_spectra([])


def test_the_law_fitted_to_a_spectrum_is_that_of_the_blocks_traces():
    def traced(size):
        stream = residual_stream(*large_blocks(300, size, 40))
        return stream, measured_law(block_traces(stream.blocks, generator=seeded(1)))

    stream, law = traced(0.16)
    trunk = SegmentOperator(stream.trunk).to_dense().double()
    found = UniversalLaw.fit(Spectrum(torch.linalg.svdvals(trunk).numpy() ** 2))
    # one matrix of 300 has levels right to 1/N, and the law is that of 40 blocks to 1/L
    assert found.c == pytest.approx(law.c, rel=0.05)
    assert found.scale == pytest.approx(law.scale, rel=0.05)
    wrong = traced(0.16 * 1.1**0.5)[1]  # c is 10 % larger
    assert abs(found.c / wrong.c - 1) > 0.05
