import math

import numpy as np
import pytest
import torch
from torch import nn

from cases_models import MODELS, make
from cases_modules import Residual, mlp
from isometry.errors import AccuracyWarning
from isometry.nn.blocks.blocks import residual_blocks, residual_stream
from isometry.nn.blocks.traces import BlockTraces, block_traces, measured_law
from isometry.nn.networks.resnet import ConvResNet, ResNet
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.propagation import ResNetSpec


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Matrix(nn.Module):
    """x -> x + X x, with a weight that belongs to the branch."""

    def __init__(self, X):
        super().__init__()
        self.weight = nn.Parameter(X)

    def forward(self, x):
        return x + x @ self.weight.T


def ginibre(width, variance, source):
    noise = torch.randn(width, width, generator=source, dtype=torch.float64)
    return noise * math.sqrt(variance / width)


def matrices(kind, width, depth, square=1.0):
    """Random blocks; apart from the drift the sum of tau(X X^T) over the blocks is `square`."""
    source = generator(1)
    identity = torch.eye(width, dtype=torch.float64)
    drawn = []
    for index in range(depth):
        X = ginibre(width, square / depth, source)
        symmetric, skew = (X + X.T) / 2**0.5, (X - X.T) / 2**0.5
        drift = 0.5 / depth * identity
        chosen = {
            "independent": X,
            "symmetric": symmetric,
            "symmetric with drift": symmetric + drift,
            "skew": skew,
            "mixed": (X, symmetric + drift, 0.5 * skew)[index % 3],
        }
        drawn.append(chosen[kind])
    return nn.Sequential(*map(Matrix, drawn))


def distance(model, x, law):
    """Kolmogorov-Smirnov distance between the trunk's lam and the law."""
    trunk = residual_stream(model, x).trunk
    n = math.prod(trunk.target_shape)
    probes = torch.eye(n, dtype=x.dtype).reshape(n, *trunk.target_shape)
    J = trunk.vjp(probes).reshape(n, -1).double()
    cdf = law.cdf(np.sort(torch.linalg.svdvals(J).numpy() ** 2))
    steps = np.arange(n + 1) / n
    return max(np.abs(cdf - steps[1:]).max(), np.abs(cdf - steps[:-1]).max())


def exact(X, skip=1.0):
    """t, v, k of a dense matrix."""
    n = len(X)
    t, square, power = X.trace() / n, (X * X).sum() / n, (X * X.T).sum() / n
    return float(t), float(square - t**2), float(power - t**2)


@pytest.mark.parametrize("name", ["sequential", "mixer", "gpt2", "own", "broadcast branch"])
def test_traces_of_small_blocks_are_exact(name):
    model, x = make(MODELS[name].build, MODELS[name].shape)
    block = residual_blocks(model.double(), x.double())[1]
    probes = torch.eye(block.size, dtype=torch.float64).reshape(block.size, *block.shape)
    expected = exact(block.vjp(probes).reshape(block.size, block.size))
    (trace,) = block_traces([block])
    assert trace.exact
    assert (trace.t, trace.v, trace.k) == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert trace.standard_error["c"] == 0.0


def quadratic_forms(X, num_probes, seed):
    z = np.random.default_rng(seed).choice([-1.0, 1.0], (num_probes, len(X)))
    once = z @ X.numpy()
    pairs = ((z, once), (once, once), (z, once @ X.numpy()))
    return np.stack([(a * b).mean(1) for a, b in pairs])


def sampled(X, num_probes, seed):
    return BlockTraces("X", 0, len(X), 1.0, quadratic_forms(X, num_probes, seed))


def test_random_probes_agree_with_the_dense_branch_jacobian():
    X = ginibre(300, 0.3, generator(2)) + 0.2 * torch.eye(300)
    (trace,) = block_traces(
        residual_blocks(Matrix(X), torch.ones(1, 300, dtype=torch.float64)), generator=generator()
    )
    assert not trace.exact
    assert trace.samples.shape == (3, 110)
    for key, value in zip("tvk", exact(X), strict=True):
        # four standard errors; the seed is fixed
        assert abs(getattr(trace, key) - value) <= 4 * trace.standard_error[key]
        assert trace.standard_error[key] <= 0.02


def test_standard_errors_are_those_of_repeated_measurements():
    X = ginibre(40, 0.5, generator(2)) + 0.3 * torch.eye(40)
    runs = [sampled(X, 6, seed) for seed in range(400)]
    for key in ("t", "v", "k", "c", "log_scale"):
        spread = np.std([getattr(run, key) for run in runs])
        claimed = np.sqrt(np.mean([run.standard_error[key] ** 2 for run in runs]))
        # 400 runs know their spread to 4 %; the jackknife over 6 probes is biased upwards
        assert claimed == pytest.approx(spread, rel=0.25)


def test_the_square_of_the_drift_is_not_biased():
    X = ginibre(20, 1.0, generator(2))
    runs = [sampled(X, 3, seed) for seed in range(2500)]
    v = np.array([run.v for run in runs])
    naive = np.array([run.samples[1].mean() - run.t**2 for run in runs])
    error = 4 * v.std() / math.sqrt(len(v))
    assert abs(v.mean() - exact(X)[1]) <= error
    assert abs(naive.mean() - exact(X)[1]) > error


KINDS = ["independent", "symmetric", "symmetric with drift", "mixed"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_random_blocks_follow_the_measured_law(kind):
    model, x = matrices(kind, 500, 60), torch.ones(1, 500, dtype=torch.float64)
    law = measured_law(block_traces(residual_blocks(model, x), generator=generator())).law
    assert distance(model, x, law) <= 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_smaller_random_blocks_follow_the_measured_law(kind):
    model, x = matrices(kind, 200, 30, 0.5), torch.ones(1, 200, dtype=torch.float64)
    law = measured_law(block_traces(residual_blocks(model, x), generator=generator())).law
    assert distance(model, x, law) <= 0.02


@pytest.mark.parametrize("kind", ["symmetric", "symmetric with drift"])
def test_the_square_alone_misses_symmetric_blocks(kind):
    model, x = matrices(kind, 200, 30, 0.5), torch.ones(1, 200, dtype=torch.float64)
    traces = block_traces(residual_blocks(model, x), generator=generator())
    assert distance(model, x, UniversalLaw(sum(t.v + t.t**2 for t in traces))) >= 0.06


@pytest.mark.parametrize("width", [100, 300])
def test_skew_blocks_have_no_c(width):
    model, x = matrices("skew", width, 20), torch.ones(1, width, dtype=torch.float64)
    traces = block_traces(residual_blocks(model, x), generator=generator())
    c = sum(trace.c for trace in traces)
    assert sum(trace.v for trace in traces) == pytest.approx(1.0, rel=0.05)
    # five standard errors, or rounding
    assert abs(c) <= 1e-15 + 5 * math.sqrt(sum(trace.standard_error["c"] ** 2 for trace in traces))


def test_a_negative_estimate_is_replaced_with_a_warning():
    samples = np.array([[0.0, 0.0, 0.0], [1.0, 1.1, 0.9], [-1.2, -1.1, -1.0]])
    with pytest.warns(AccuracyWarning, match=r"c is -0\.1 with standard error"):
        law = measured_law([BlockTraces("a", 0, 9, 1.0, samples)])
    assert law.c == 0.0
    assert law.shares == {"a": 0.0}


NETS = {
    "tanh": lambda: (
        ResNet(ResNetSpec("tanh", 30, 1.0, sigma_b=0.2), 300, generator=generator()),
        300,
    ),
    "two layers": lambda: two_layers(300, 30),
    "scaled": lambda: (ResNet(ResNetSpec("tanh", 30, skip=0.97), 300, generator=generator()), 300),
}


def two_layers(width, depth):
    source = generator(3)
    layers = []
    for _ in range(depth):
        body = nn.Sequential(
            nn.Linear(width, 2 * width, bias=False), nn.Tanh(), nn.Linear(2 * width, width)
        )
        with torch.no_grad():
            body[0].weight.normal_(0, (1 / width) ** 0.5, generator=source)
            body[2].weight.normal_(0, (1.5 / (2 * width * depth)) ** 0.5, generator=source)
            body[2].bias.zero_()
        layers.append(Residual(body))
    return nn.Sequential(*layers), width


@pytest.mark.parametrize("name", NETS)
def test_networks_follow_the_measured_law(name):
    model, width = NETS[name]()
    x = torch.randn(1, width, generator=generator(4))
    measured = measured_law(block_traces(residual_blocks(model, x), generator=generator()))
    # the limit of infinite depth is 0.005 away at 30 blocks, the width adds as much
    assert distance(model, x, measured.law) <= 0.02
    wrong = UniversalLaw(1.3 * measured.c, measured.scale)
    assert distance(model, x, wrong) > 0.02


def test_the_skip_is_taken_into_account():
    model, _ = NETS["scaled"]()
    x = torch.randn(1, 300, generator=generator(4))
    measured = measured_law(block_traces(residual_blocks(model, x), generator=generator()))
    deviation = measured.scale_standard_error
    assert abs(measured.scale - 0.97**60) <= 5 * deviation
    assert measured.shares["layers.0"] == pytest.approx(1 / 30, rel=0.3)


@pytest.mark.parametrize("drift", [0.5, 1.0])
def test_the_scale_of_a_block_with_a_large_drift_is_that_of_its_determinant(drift):
    # E log lam = 2/N log |det J| = log(gain) - k / gain - (k / gain)^2 - ...  (symmetric branch),
    # gain = (1 + t)^2; the third term is 5e-4 at most here.
    noise = ginibre(400, 0.05, generator(3))
    branch = (noise + noise.T) / 2**0.5 + drift * torch.eye(400, dtype=torch.float64)
    x = torch.randn(1, 400, generator=generator(4), dtype=torch.float64)
    (trace,) = block_traces(residual_blocks(nn.Sequential(Matrix(branch)), x), num_probes=200)
    assert trace.exact
    whole = torch.linalg.slogdet(torch.eye(400, dtype=torch.float64) + branch).logabsdet
    assert trace.log_scale == pytest.approx(2 * float(whole) / 400, abs=1e-3)


def test_repeated_rounds_reach_the_accuracy_asked_for():
    model, x = make(lambda: Residual(mlp(300, 32)), (1, 300))
    blocks = residual_blocks(model, x)
    first = block_traces(blocks, generator=generator())
    finer = block_traces(blocks, rtol=0.01, generator=generator())
    assert finer[0].samples.shape[1] > first[0].samples.shape[1] == 110
    assert np.array_equal(finer[0].samples[:, :110], first[0].samples)
    measured = measured_law(finer)
    # the number of rounds follows from the first one's own error estimate
    assert measured.c_standard_error <= 0.012 * measured.c


def test_an_accuracy_out_of_reach_is_said():
    model, x = make(lambda: Residual(mlp(300, 8)), (1, 300))
    blocks = residual_blocks(model, x)
    with pytest.warns(AccuracyWarning, match="64 are made"):
        traces = block_traces(blocks, num_probes=3, rtol=1e-6, generator=generator())
    assert traces[0].samples.shape == (3, 64 * 110)


def test_the_same_generator_gives_the_same_traces():
    model, x = make(MODELS["sequential"].build, (2, 5))
    blocks = residual_blocks(model, x)
    before = torch.get_rng_state()
    first, second = (block_traces(blocks, generator=generator(5)) for _ in range(2))
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(first, second, strict=True))
    assert torch.equal(before, torch.get_rng_state())


def test_zero_branches_give_c_zero():
    model, x = make(MODELS["rezero"].build, (2, 8))
    measured = measured_law(block_traces(residual_blocks(model, x)))
    assert (measured.c, measured.scale) == (0.0, 1.0)


def test_a_trace_prints_itself_with_its_errors():
    samples = np.array([[0.1, 0.2, 0.3], [1.0, 1.1, 0.9], [0.0, 0.1, 0.2]])
    trace = BlockTraces("h.0", 0, 9, 1.0, samples)
    assert repr(trace).startswith("BlockTraces('h.0', t=0.2±0.06, v=0.9633±")
    assert trace.rows()[0]["block"] == "h.0"
    assert trace.to_dict()["size"] == 9
    assert trace.to_dict()["standard_error"]["t"] == pytest.approx(0.1 / 3**0.5)


def test_blocks_of_several_sizes_are_refused():
    model, x = make(MODELS["convnext"].build, MODELS["convnext"].shape)
    traces = block_traces(residual_blocks(model, x))
    with pytest.raises(NotImplementedError, match=r"blocks of 2 sizes \(256 to 512\)"):
        measured_law(traces)


def test_a_scale_beyond_float64_is_refused():
    """A layer norm of a vector of zeros makes blocks so large that diagnose met a scale of 0."""

    def traces(square):
        return [BlockTraces("h.0", 0, 9, 1.0, np.outer([0.0, square, square], np.ones(3)))]

    assert measured_law(traces(600.0)).scale == pytest.approx(math.exp(-600.0))
    with pytest.raises(NotImplementedError, match="log scale = -800, beyond what float64 holds"):
        measured_law(traces(800.0))


def test_numbers_that_are_not_finite_are_refused():
    model = Residual(nn.Linear(3, 3))
    blocks = residual_blocks(model, torch.ones(1, 3))
    with torch.no_grad():
        model.body.weight[0, 0] = math.nan
    with pytest.raises((ValueError, RuntimeError), match=r"not finite|written to"):
        block_traces(blocks)


BAD_CALLS = {
    "no blocks": (lambda: block_traces([]), "`blocks` is empty"),
    "no traces": (lambda: measured_law([]), "`traces` is empty"),
    "two probes": (lambda: block_traces(one_block(), num_probes=2), "`num_probes` is 2"),
    "no accuracy": (lambda: block_traces(one_block(), rtol=0.0), "`rtol` is 0.0"),
}


def one_block():
    return residual_blocks(Residual(nn.Linear(3, 3)), torch.ones(1, 3))


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_arguments_are_refused(case):
    call, match = BAD_CALLS[case]
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.slow
@pytest.mark.parametrize("padding_mode", ["circular", "zeros"])
@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_convolutional_networks_follow_the_measured_law(name, padding_mode):
    spec = ResNetSpec(name, 30, 1.0)
    net = ConvResNet(spec, 48, padding_mode=padding_mode, generator=generator())
    x = torch.randn(1, 48, 6, 6, generator=generator(4))
    measured = measured_law(block_traces(residual_blocks(net, x), generator=generator()))
    assert distance(net, x, measured.law) <= 0.02


def test_branches_of_zeros_take_one_round_of_probes():
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(64, 64)
            torch.nn.init.zeros_(self.linear.weight)
            torch.nn.init.zeros_(self.linear.bias)

        def forward(self, x):
            return x + self.linear(torch.tanh(x))

    model = torch.nn.Sequential(Block(), Block())
    x = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    for trace in block_traces(residual_blocks(model, x)):
        assert trace.samples.shape == (3, 64)  # a basis, once
        assert trace.c == 0.0
