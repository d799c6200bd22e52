import pytest
import torch
from torch import nn

from cases_modules import Highway, mlp, stack
from isometry.nn.blocks.blocks import residual_blocks, residual_stream
from isometry.nn.blocks.traces import block_traces

WIDTH, STREAMS = 8, 3


def body():
    return nn.Sequential(nn.LayerNorm(WIDTH), mlp(WIDTH, 2 * WIDTH))


class Vector(nn.Module):
    """A factor of its own for every channel of the skip."""

    def __init__(self):
        super().__init__()
        self.body, self.a = body(), nn.Parameter(torch.linspace(0.8, 1.2, WIDTH))

    def forward(self, x):
        return self.a * x + self.body(x)


class Gated(nn.Module):
    """A highway layer as an interpolation."""

    def __init__(self):
        super().__init__()
        self.body, self.gate = body(), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return torch.lerp(x, self.body(x), torch.sigmoid(self.gate(x)))


class Projected(nn.Module):
    def __init__(self, after=WIDTH):
        super().__init__()
        self.norm, self.body = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, after)
        self.shortcut = nn.Linear(WIDTH, after, bias=False)

    def forward(self, x):
        return self.shortcut(x) + torch.tanh(self.body(self.norm(x)))


class Strided(nn.Module):
    def __init__(self, before=4, after=6):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, 2, 1), nn.ReLU(), nn.Conv2d(after, after, 3, 1, 1)
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(before, after, 1))

    def forward(self, x):
        return torch.relu(self.shortcut(x) + self.body(x))


class Mixed(nn.Module):
    """Streams mixed by a matrix, which may depend on them; one branch reads and writes all."""

    def __init__(self, way):
        super().__init__()
        self.body, self.way = body(), way
        self.mix = nn.Parameter(torch.eye(STREAMS) + 0.1 * torch.randn(STREAMS, STREAMS))
        self.read, self.write = (nn.Parameter(torch.rand(STREAMS)) for _ in range(2))
        self.dynamic = nn.Linear(WIDTH, STREAMS)

    def forward(self, X):
        if self.way == "product":
            y = self.body(torch.einsum("n,bnd->bd", self.read, X))
            return torch.einsum("mn,bnd->bmd", self.mix, X) + self.write[:, None] * y[:, None]
        if self.way == "input-dependent":
            mix = torch.softmax(self.dynamic(nn.functional.layer_norm(X, X.shape[-1:])), -1)
            y = self.body((self.read[:, None] * X).sum(1, keepdim=True))
            return mix @ X + self.write[:, None] * y
        streams, y = X.unbind(1), self.body(X.mean(1))
        return torch.stack(
            [sum(m * x for m, x in zip(row, streams, strict=True)) + y for row in self.mix], 1
        )


KINDS = {
    "a vector": (lambda: stack(Vector), (2, WIDTH)),
    "a highway gate": (lambda: stack(lambda: Highway(WIDTH)), (2, WIDTH)),
    "an interpolation": (lambda: stack(Gated), (2, WIDTH)),
    "a projection": (lambda: stack(Projected), (2, WIDTH)),
    "a fixed matrix": (lambda: stack(lambda: Mixed("product")), (2, STREAMS, WIDTH)),
    "a matrix of the input": (lambda: stack(lambda: Mixed("input-dependent")), (2, STREAMS, WIDTH)),
    "streams one by one": (lambda: stack(lambda: Mixed("stacked")), (2, STREAMS, WIDTH)),
}


def built(build, shape):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().double(), torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("name", KINDS)
def test_a_block_has_a_matrix_for_a_skip_and_its_whole_jacobian(name):
    model, x = built(*KINDS[name])
    blocks = residual_blocks(model, x)
    assert [block.name for block in blocks] == ["0", "1", "2"]
    for module, block in zip(model, blocks, strict=True):
        expected = torch.autograd.functional.jacobian(module, x).reshape(x.numel(), -1)
        unit = torch.eye(x.numel(), dtype=torch.float64).reshape(-1, *x.shape)
        assert (block.matrix, block.skip, block.shape) == (True, 0.0, tuple(x.shape))
        torch.testing.assert_close(block.vjp(unit).flatten(1), expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(block.jvp(unit).flatten(1).T, expected, rtol=1e-10, atol=1e-10)
        assert "skip=matrix" in repr(block)
        x = module(x).detach()


@pytest.mark.parametrize(
    ("build", "shape", "after"),
    [(lambda: Projected(12), (2, WIDTH), (2, 12)), (Strided, (1, 4, 4, 4), (1, 6, 2, 2))],
    ids=["products", "convolutions"],
)
def test_a_projection_may_change_the_size(build, shape, after):
    model, x = built(build, shape)
    (block,) = residual_blocks(model, x)
    unit = torch.eye(block.size, dtype=torch.float64).reshape(-1, *after)
    assert block.matrix
    assert block.vjp(unit).shape == (block.size, *shape)


def test_the_stages_are_what_lies_between_projections():
    def model():
        return nn.Sequential(Vector(), nn.Identity(), Scalar(), Scalar(), Projected(), Scalar())

    class Scalar(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = body()

        def forward(self, x):
            return x + self.body(x)

    stream = residual_stream(*built(model, (2, WIDTH)))
    assert [len(stage.blocks) for stage in stream.stages] == [2, 1]
    assert [block.matrix for block in stream.every] == [True, False, False, True, False]
    assert "The skip of 2 of 5 blocks (first `0`) is a matrix" in stream.remark


def test_the_c_of_a_matrix_skip_is_refused_with_what_describes_it():
    model, x = built(*KINDS["a fixed matrix"])
    with pytest.raises(NotImplementedError, match=r"whose skip is a matrix.*inn\.twin"):
        block_traces(residual_blocks(model, x))


NO_BLOCK = {
    "two linear paths": lambda a, b, x: a(x) + b(x),
    "two branches": lambda a, b, x: torch.tanh(a(x)) + torch.sigmoid(b(x)),
    "a product": lambda a, b, x: a(x) * torch.sigmoid(b(x)),
}


@pytest.mark.parametrize("name", NO_BLOCK)
def test_sums_without_a_skip_or_a_branch_are_no_block(name):
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

        def forward(self, x):
            return NO_BLOCK[name](self.a, self.b, x)

    model, x = built(lambda: stack(Layer), (2, WIDTH))
    with pytest.raises(ValueError, match="no residual block that is recognised"):
        residual_blocks(model, x)
