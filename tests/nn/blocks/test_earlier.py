import pytest
import torch
from torch import nn

from cases_modules import Own, mlp
from isometry.nn.blocks.blocks import residual_blocks, residual_stream
from isometry.nn.blocks.operator import SegmentOperator
from isometry.nn.blocks.traces import block_traces
from isometry.nn.diagnosis.diagnosis import diagnose
from isometry.nn.diagnosis.twin import twin
from isometry.nn.init.init import residual_

WIDTH, DEPTH = 8, 5


def body():
    return nn.Sequential(nn.LayerNorm(WIDTH), mlp(WIDTH, 2 * WIDTH))


class Returning(nn.Module):
    """Blocks whose stream meets its start again, in the way of `mix`."""

    def __init__(self, mix):
        super().__init__()
        self.layers = nn.ModuleList([body() for _ in range(DEPTH)])
        self.vector = nn.Parameter(torch.linspace(0.1, 0.2, WIDTH))
        self.mix = mix

    def forward(self, x):
        start = x
        for layer in self.layers:
            x = self.mix(self, x, start, layer)
        return x


def before(self, x, start, layer):
    x = 1.1 * x + 0.1 * start
    return x + layer(x)


def scaled_by_a_vector(self, x, start, layer):
    x = x + self.vector * start
    return x + layer(x)


def in_one_sum(self, x, start, layer):
    return 0.9 * x + 0.2 * start + layer(x)


def beside_the_branch(self, x, start, layer):
    return x + (layer(x) + 0.2 * start)


def interpolated(self, x, start, layer):
    x = torch.lerp(x, start, 0.3)
    return x + layer(x)


class Mirrored(nn.Module):
    """Every later layer meets the output of the earlier one opposite."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([body() for _ in range(6)])

    def forward(self, x):
        saved = []
        for layer in self.layers[:3]:
            x = x + layer(x)
            saved.append(x)
        for layer in self.layers[3:]:
            x = x + 0.5 * saved.pop()
            x = x + layer(x)
        return x


class Group(nn.Module):
    """Blocks inside a block: one long skip around two short ones."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([body() for _ in range(2)])

    def forward(self, x):
        h = x
        for layer in self.layers:
            h = h + layer(h)
        return x + 0.2 * h


def built(build):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().double(), torch.randn(2, WIDTH, dtype=torch.float64)


def own_c(X, skip):
    n = len(X)
    t = X.trace() / n
    v, k = (X * X).sum() / n - t**2, (X * X.T).sum() / n - t**2
    return float((v + k) / (skip + t) ** 2)


MIXES = (before, scaled_by_a_vector, in_one_sum, beside_the_branch, interpolated)


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.__name__)
def test_every_block_is_found_whatever_brings_the_start_back(mix):
    model, x = built(lambda: Returning(mix))
    assert [b.name for b in residual_blocks(model, x)] == [f"layers.{i}" for i in range(DEPTH)]


@pytest.mark.parametrize("kind", [before, scaled_by_a_vector])
def test_a_block_has_its_own_c_at_the_tensor_that_it_meets(kind):
    model, x = built(lambda: Returning(kind))
    traces = block_traces(residual_blocks(model, x))
    start = x
    for layer, trace in zip(model.layers, traces, strict=True):
        x = model.mix(model, x, start, lambda h: 0 * h).detach()
        X = torch.autograd.functional.jacobian(layer, x).reshape(x.numel(), -1)
        assert trace.exact
        assert trace.c == pytest.approx(own_c(X, 1.0), rel=1e-9)
        x = (x + layer(x)).detach()


def test_the_trunk_keeps_the_paths_of_the_earlier_states():
    model, x = built(lambda: Returning(before))
    stream = residual_stream(model, x)
    whole = torch.autograd.functional.jacobian(model, x).reshape(16, 16)
    unit = torch.eye(16, dtype=torch.float64).reshape(16, 2, WIDTH)
    torch.testing.assert_close(stream.trunk.jvp(unit).flatten(1).T, whole, rtol=1e-12, atol=1e-12)
    # the input itself is the first state: it meets its start from the second block on
    assert "added to it again in 4 sums" in stream.remark


def test_a_diagnosis_says_what_the_law_leaves_out_and_measures_all():
    model, x = built(lambda: Returning(before))
    found = diagnose(model, x)
    assert (found.c, found.measured, len(found.blocks)) == (None, "model", DEPTH)
    assert "Earlier states of the stream are added to it again" in found.reason
    whole = torch.autograd.functional.jacobian(model, x).reshape(16, 16)
    assert found.spectrum.values[-1] == pytest.approx(
        float(torch.linalg.matrix_norm(whole, 2)) ** 2, rel=1e-9
    )


def test_the_branches_are_initialised():
    model, x = built(lambda: Returning(before))
    residual_(model, x, c=1.0, generator=torch.Generator().manual_seed(0))
    total = sum(trace.c for trace in block_traces(residual_blocks(model, x)))
    assert total == pytest.approx(1.0, rel=0.02)  # rtol of the plan


@pytest.mark.parametrize("mix", [before, in_one_sum, scaled_by_a_vector])
def test_the_earlier_state_goes_along_with_the_stream(mix):
    model, x = built(lambda: Returning(mix))
    stream = residual_stream(model, x)
    assert len(stream.chain) == DEPTH
    assert all(len(segment.source_shapes) == 2 for segment in stream.chain[1:-1])
    product = torch.eye(x.numel(), dtype=torch.float64)
    for segment in stream.chain:
        product = SegmentOperator(segment).to_dense() @ product
    dense = torch.autograd.functional.jacobian(model, x).reshape(x.numel(), -1)
    torch.testing.assert_close(product, dense, rtol=1e-10, atol=1e-10)
    assert twin(model, x).shape == (x.numel(), x.numel())


def test_a_twin_is_refused_where_the_states_are_not_recorded():
    model, x = built(lambda: Returning(before))
    with pytest.raises(ValueError, match=r"product between states of several tensors.*no tape"):
        twin(lambda x: Own.apply(model(x)), x)


def test_states_of_several_ages_may_come_back():
    model, x = built(Mirrored)
    assert [b.name for b in residual_blocks(model, x)] == [f"layers.{i}" for i in range(6)]


def test_one_long_skip_is_that_of_a_larger_block():
    model, x = built(lambda: nn.Sequential(Group(), Group(), Group()))
    stream = residual_stream(model, x)
    assert [b.name for b in stream.every] == ["0", "1", "2"]
    assert stream.remark == ""
