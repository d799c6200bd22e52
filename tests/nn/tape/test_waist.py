import pytest
import torch
from torch import nn

from isometry.nn.tape import compact, narrowest, record_tape, whole


def pixels(channels, size):
    return nn.Unflatten(1, (channels, size, size))


MODELS = {  # with the rank that the recording shows
    "bottleneck": (lambda: nn.Sequential(nn.Linear(12, 3), nn.Tanh(), nn.Linear(3, 9)), 12, 3),
    "wide output": (lambda: nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 20)), 7, 5),
    "no waist": (lambda: nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 8)), 6, 6),
    "strided 1 x 1": (
        lambda: nn.Sequential(pixels(1, 6), nn.Conv2d(1, 5, 1, stride=2), nn.Flatten()), 36, 9,
    ),
    "pooled": (
        lambda: nn.Sequential(pixels(1, 4), nn.AvgPool2d(2), nn.Conv2d(1, 8, 1), nn.Flatten()),
        16, 4,
    ),
}  # fmt: skip


def taped(build, n):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build().double()
        return model, torch.randn(1, n, dtype=torch.float64)


@pytest.mark.parametrize("name", MODELS)
def test_a_compact_matrix_has_the_singular_values_and_the_rank_is_the_waists(name):
    build, n, rank = MODELS[name]
    model, x = taped(build, n)
    dense = torch.func.jacrev(model.requires_grad_(False))(x).reshape(-1, n)
    tape = record_tape(model, x)
    waist = narrowest(tape)
    assert waist.rank == rank == int(torch.linalg.matrix_rank(dense))
    small = compact(tape, waist)
    assert min(small.shape) == rank
    assert small.shape[1] == n or small.shape[0] == len(dense)
    torch.testing.assert_close(
        torch.linalg.svdvals(small)[:rank], torch.linalg.svdvals(dense)[:rank]
    )


def test_units_that_are_off_count_neither_in_front_of_them_nor_behind():
    model, x = taped(lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)), 8)
    on = int((model[0](x) > 0).sum())
    assert 0 < on < 8
    assert narrowest(record_tape(model, x)).rank == on


def test_a_skip_around_the_waist_leaves_it_none():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(6, 1), nn.Linear(1, 6))

        def forward(self, x):
            return x + self.body(x)

    model, x = taped(Around, 6)
    assert narrowest(record_tape(model, x)).rank == 6


def test_singular_vectors_of_the_shared_side_are_the_jacobians():
    build, n, _ = MODELS["bottleneck"]
    model, x = taped(build, n)
    dense = torch.func.jacrev(model.requires_grad_(False))(x).reshape(-1, n)
    tape = record_tape(model, x)
    small = compact(tape, narrowest(tape))
    torch.testing.assert_close(small.T @ small, dense.T @ dense)


def test_an_output_that_ignores_the_input_has_rank_zero():
    tape = record_tape(lambda x: (x * 0.0).sum(1) + 1.0, torch.ones(2, 3))
    assert narrowest(tape).rank == 0
    assert not compact(tape, narrowest(tape)).any()


def test_unit_vectors_pushed_through_are_the_rows():
    model, x = taped(*MODELS["no waist"][:2])
    tape = record_tape(model, x)
    dense = torch.func.jacrev(model.requires_grad_(False))(x).reshape(-1, 6)
    torch.testing.assert_close(whole(tape.vjp, tape.target, tape.source), dense)
