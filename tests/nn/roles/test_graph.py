import torch
from torch import nn

from cases_lint import LAYERS, decoder, tokens
from isometry.nn.roles.follow import followed


def graph(model, x=None):
    return followed(model, tokens() if x is None else x).graph


def x(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_every_branch_of_a_decoder_ends_in_an_addition_with_one_writer():
    g = graph(decoder())
    assert len(g.additions) == 2 * LAYERS
    names = [g.nodes[w].applied.name for a in g.additions for w in g.writers(a)]
    assert names[:2] == ["layers.0.attention.o.weight", "layers.0.down.weight"]
    assert len(names) == 2 * LAYERS


def test_rotations_of_queries_and_sums_of_two_maps_are_no_blocks():
    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            y = self.a(x) + self.b(x)
            return y.cos() * y + torch.roll(y, 1, -1) * 2 - y

    assert graph(Sums(), x(2, 8)).additions == {}


class Parallel(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.gate = nn.Parameter(torch.zeros(8))

    def forward(self, x):
        z = self.norm(x)
        return self.a(z) + 0.5 * self.gate * self.b(z) + x


def test_parallel_branches_scaled_by_gains_have_two_writers():
    g = graph(nn.Sequential(Parallel(), Parallel()), x(2, 8))
    assert [len(g.writers(a)) for a in g.additions] == [2, 2]


def test_a_norm_written_by_hand_is_known_as_one():
    g = graph(decoder())
    found = [i for i in range(len(g.nodes)) if g.normalises(i)]
    assert len(found) == 2 * LAYERS + 1


def test_maps_that_read_the_stream_are_told_from_those_inside():
    g = graph(decoder())
    reads = {
        g.nodes[m].applied.name.removeprefix("layers.0.") for m in g.maps[:5] if g.reads_stream(m)
    }
    assert reads == {"attention.qkv.weight", "gate.weight", "up.weight"}


class Scored(nn.Module):
    """Attention whose scores get a bias of relative positions that all layers share."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x, bias):
        scores = self.q(x) @ self.k(x).mT + bias
        return x + self.o(torch.softmax(scores, -1) @ self.v(x))


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 1)
        self.layers = nn.ModuleList(Scored() for _ in range(3))

    def forward(self, x):
        place = torch.arange(x.shape[1])
        bias = self.table(place[:, None] - place + 4).permute(2, 0, 1)
        for layer in self.layers:
            x = layer(x, bias)
        return x


def test_a_bias_of_the_scores_that_layers_share_is_no_stream():
    g = graph(Shared(), x(1, 5, 8))
    assert len(g.additions) == 3
    names = {g.nodes[w].applied.name for a in g.additions for w in g.writers(a)}
    assert names == {f"layers.{i}.o.weight" for i in range(3)}
