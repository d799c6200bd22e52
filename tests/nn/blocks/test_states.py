from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import layer_norm

from cases_modules import DenseNet, Own, mlp
from isometry import nn as inn
from isometry.nn.blocks.blocks import residual_blocks, residual_stream
from isometry.nn.blocks.operator import SegmentOperator
from isometry.nn.diagnosis.twin import twin_of

WIDTH, DEPTH, STREAMS = 4, 4, 3


class InStates(nn.Module):
    """A state of several tensors; `step` maps the one before a block to the one behind it."""

    ends_in_state = False

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(WIDTH), mlp(WIDTH, 2 * WIDTH)) for _ in range(DEPTH)
        )
        self.mix = nn.Parameter(torch.eye(STREAMS) + 0.2 * torch.randn(DEPTH, STREAMS, STREAMS))
        self.read, self.write = (nn.Parameter(torch.rand(DEPTH, STREAMS)) for _ in range(2))
        self.alpha = nn.Parameter(torch.rand(DEPTH + 1, DEPTH + 1))
        self.query = nn.Parameter(torch.randn(DEPTH + 1, WIDTH))

    def start(self, x):
        return (x,)

    def forward(self, x):
        state = self.start(x)
        for place in range(DEPTH):
            state = self.step(place, state)
        return self.readout(state)

    def readout(self, state):
        return self.average(DEPTH, state)


class Listed(InStates):
    """Streams in a list, mixed by a matrix; one branch reads and writes them all."""

    ends_in_state = True

    def step(self, place, state):
        streams = state if len(state) > 1 else state * STREAMS
        y = self.layers[place](sum(r * x for r, x in zip(self.read[place], streams, strict=True)))
        pairs = zip(self.mix[place], self.write[place], strict=True)
        return tuple(
            sum(m * x for m, x in zip(row, streams, strict=True)) + w * y for row, w in pairs
        )

    def readout(self, state):
        return sum(state) / STREAMS


class Weighted(InStates):
    """A learned sum over the outputs of all earlier blocks, of their stack."""

    def average(self, place, state):
        weights = self.alpha[place][: len(state)]
        return torch.einsum("j,jbd->bd", weights, torch.stack(state))

    def step(self, place, state):
        x = self.average(place, state)
        return (*state, x + self.layers[place](x))


class OneByOne(Weighted):
    """The same without a stack."""

    def average(self, place, state):
        return sum(a * x for a, x in zip(self.alpha[place], state, strict=False))


class Attended(InStates):
    """Attention over the earlier outputs; a block has no skip of its own."""

    def average(self, place, state):
        values = torch.stack(state)
        scores = layer_norm(values, (WIDTH,)) @ self.query[place]
        return (torch.softmax(scores, 0)[..., None] * values).sum(0)

    def step(self, place, state):
        return (*state, self.layers[place](self.average(place, state)))


class AttendedOneByOne(Attended):
    def average(self, place, state):
        scores = [(layer_norm(v, (WIDTH,)) * self.query[place]).sum(-1) for v in state]
        weights = torch.softmax(torch.stack(scores), 0)
        return sum(w[..., None] * v for w, v in zip(weights, state, strict=True))


class Coupled(InStates):
    """Two halves that take turns."""

    ends_in_state = True

    def start(self, x):
        return x.chunk(2)

    def step(self, place, state):
        one, other = state if len(state) == 2 else state[0].chunk(2)
        return other, one + self.layers[place](other)

    def readout(self, state):
        return torch.cat(state)


MODELS = [Listed, Weighted, OneByOne, Attended, AttendedOneByOne, Coupled]


def built(kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind().double(), torch.randn(2, WIDTH, dtype=torch.float64)


def jacobian_of_step(model, place, state):
    """Return the dense Jacobian of a step between flattened states, and the state behind it."""
    sizes, shape = [x.numel() for x in state], state[0].shape
    whole = place == DEPTH - 1 and not model.ends_in_state

    def step(flat):
        after = model.step(place, tuple(part.reshape(-1, WIDTH) for part in flat.split(sizes)))
        return model.readout(after).flatten() if whole else torch.cat([y.flatten() for y in after])

    assert len(shape) == 2
    flat = torch.cat([x.flatten() for x in state]).detach()
    return torch.autograd.functional.jacobian(step, flat), model.step(place, state)


def in_any_order(matrix, like, rows, columns):
    """Return whether matrices are the same but for the order of equal tensors in the states."""
    gram = torch.linalg.svdvals(matrix), torch.linalg.svdvals(like)
    return matrix.shape == (rows, columns) and torch.allclose(*gram, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", MODELS)
def test_a_block_is_the_map_from_one_state_to_the_next(kind):
    model, x = built(kind)
    stream = residual_stream(model, x)
    assert len(stream.every) == len(stream.chain) == DEPTH
    assert [b.name for b in stream.every] == [f"layers.{i}" for i in range(DEPTH)]
    state = (x,)
    for place, segment in enumerate(stream.chain):
        expected, after = jacobian_of_step(model, place, state)
        found = SegmentOperator(segment).to_dense()
        assert in_any_order(found, expected, *expected.shape)
        state = after


@pytest.mark.parametrize("kind", MODELS)
def test_the_blocks_multiply_to_the_trunk(kind):
    model, x = built(kind)
    stream = residual_stream(model, x)
    product = torch.eye(x.numel(), dtype=torch.float64)
    for segment in stream.chain:
        product = SegmentOperator(segment).to_dense() @ product
    torch.testing.assert_close(
        SegmentOperator(stream.trunk).to_dense(), product, rtol=1e-10, atol=1e-10
    )
    if not model.ends_in_state:
        dense = torch.autograd.functional.jacobian(model, x).reshape(x.numel(), -1)
        torch.testing.assert_close(product, dense, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [Listed, Weighted, Attended])
def test_a_block_of_states_multiplies_both_ways(kind):
    model, x = built(kind)
    blocks = residual_blocks(model, x)
    for block, after in pairwise(blocks):
        v = torch.randn(2, *block.segment.source_shape, dtype=torch.float64)
        u = torch.randn(2, *block.shape, dtype=torch.float64)
        assert block.matrix
        assert block.shape == after.segment.source_shape
        assert block.parameters["layers." + block.name[-1] + ".1.2.weight"] == "linear"
        left, right = (block.jvp(v) * u).sum(), (block.vjp(u) * v).sum()
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", MODELS)
def test_the_twin_turns_every_tensor_of_a_state_alike(kind):
    model, x = built(kind)
    stream = residual_stream(model, x)
    made = twin_of(stream, "channels", torch.Generator().manual_seed(0))
    assert {
        axis for axes in made.axes for axis in (axes if isinstance(axes, tuple) else [axes])
    } == {1}
    maps = [SegmentOperator(segment).to_dense() for segment in stream.chain]
    product = maps[0]
    for matrix, rotation in zip(maps[1:], made._rotations, strict=True):
        Q = rotation.rotations[0].map.matrix
        torch.testing.assert_close(Q @ Q.T, torch.eye(WIDTH, dtype=torch.float64))
        product = (
            matrix
            @ torch.kron(torch.eye(len(product) // WIDTH, dtype=Q.dtype), Q.contiguous())
            @ product
        )
    torch.testing.assert_close(made.to_dense(), product, rtol=1e-10, atol=1e-10)


def test_a_diagnosis_says_what_the_states_are():
    model, x = built(Weighted)
    d = inn.diagnose(model, x.repeat(4, 1), twin=True, generator=torch.Generator().manual_seed(0))
    assert d.c is None
    assert "a state of up to 4 tensors that are read later" in d.reason
    assert (d.product_comparison is None, d.twin_comparison is None) == (False, False)
    assert d.spectrum.dimension == 8 * WIDTH


def test_dense_concatenation_is_a_state_that_grows():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = DenseNet(WIDTH).double(), torch.randn(2, WIDTH, dtype=torch.float64)
    stream = residual_stream(model, x)
    dense = torch.autograd.functional.jacobian(model, x).reshape(-1, x.numel())
    maps = [SegmentOperator(segment).to_dense() for segment in stream.chain]
    assert [tuple(matrix.shape) for matrix in maps] == [(16, 8), (24, 16), (32, 24)]
    torch.testing.assert_close(maps[2] @ maps[1] @ maps[0], dense, rtol=1e-10, atol=1e-10)


def test_states_of_a_pass_that_is_not_recorded_are_refused_with_the_reason():
    class Unrecorded(Weighted):
        def readout(self, state):
            return Own.apply(super().readout(state))

    model, x = built(Unrecorded)
    with pytest.raises(ValueError, match=r"4 blocks between states.*not recorded \(autograd's"):
        residual_blocks(model, x)


def test_residual_additions_that_are_no_block_are_counted():
    class Fed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

        def forward(self, x):
            y = torch.tanh(self.a(x))
            return torch.sigmoid(self.b(x)) * torch.tanh(y + torch.tanh(y))

    with pytest.raises(ValueError, match=r"has 1 residual additions .* no residual block that is"):
        residual_blocks(*built(Fed))
