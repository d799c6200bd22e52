import pytest
import torch
from torch import nn

from cases_modules import Highway, Own, mlp, stack
from isometry.nn.init.init import apply_, plan, residual_

WIDTH, STREAMS, DEPTH = 6, 3, 3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def body():
    return nn.Sequential(nn.LayerNorm(WIDTH), mlp(WIDTH, 2 * WIDTH))


class Vector(nn.Module):
    """A factor of its own for every channel of the skip."""

    def __init__(self):
        super().__init__()
        self.body, self.a = body(), nn.Parameter(torch.linspace(0.8, 1.2, WIDTH))

    def skip(self, x):
        return self.a * x

    def forward(self, x):
        return self.skip(x) + self.body(x)


class Projected(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.shortcut = body(), nn.Linear(WIDTH, WIDTH, bias=False)

    def skip(self, x):
        return self.shortcut(x)

    def forward(self, x):
        return self.skip(x) + self.body(x)


class Mixed(nn.Module):
    """Streams mixed by a matrix; one branch reads and writes all."""

    def __init__(self):
        super().__init__()
        self.body, self.mix = body(), nn.Parameter(torch.eye(STREAMS) + 0.1)
        self.read, self.write = (nn.Parameter(torch.rand(STREAMS)) for _ in range(2))

    def skip(self, X):
        return torch.einsum("mn,bnd->bmd", self.mix, X)

    def forward(self, X):
        y = self.body(torch.einsum("n,bnd->bd", self.read, X))
        return self.skip(X) + self.write[:, None] * y[:, None]


class Outputs(nn.Module):
    """Every block reads a learned sum of all outputs so far, in a list."""

    def __init__(self):
        super().__init__()
        self.bodies = nn.ModuleList(body() for _ in range(DEPTH))
        self.alpha = nn.Parameter(torch.rand(DEPTH + 1, DEPTH + 1))

    def average(self, place, state):
        weights = self.alpha[place][: len(state)]
        return torch.einsum("j,jbd->bd", weights, torch.stack(tuple(state)))

    def forward(self, x):
        state = [x]
        for place, f in enumerate(self.bodies):
            x = self.average(place, state)
            state.append(x + f(x))
        return self.average(DEPTH, state)


SHAPES = {Vector: (3, WIDTH), Projected: (3, WIDTH), Mixed: (2, STREAMS, WIDTH)}


def built(build, shape=(3, WIDTH)):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().double(), torch.randn(shape, dtype=torch.float64)


def dense(f, x):
    return torch.autograd.functional.jacobian(f, x).reshape(-1, x.numel())


def gains(model, x):
    found = []
    for layer in model:
        S, J = dense(layer.skip, x), dense(layer, x)
        found.append(float((J - S).square().sum() / S.square().sum()))
        x = layer(x).detach()
    return found


def gains_of_outputs(model, x):
    """Return |X|^2 / |S|^2 between flattened states, with the last read-out in the last block."""
    state, found = [x], []
    for place, f in enumerate(model.bodies):
        n = x.numel()

        def step(flat, f=f, place=place, n=n):
            known = [part.reshape(x.shape) for part in flat.split(n)]
            y = model.average(place, known)
            after = [*known, y + f(y)]
            last = place == DEPTH - 1
            return model.average(DEPTH, after) if last else torch.cat(after)

        def skip(flat, step=step, f=f):
            return step(flat, lambda read: f(read).detach())

        flat = torch.cat([part.flatten() for part in state])
        S, J = dense(skip, flat), dense(step, flat)
        found.append(float((J - S).square().sum() / S.square().sum()))
        y = model.average(place, state)
        state.append((y + f(y)).detach())
    return found


@pytest.mark.parametrize("kind", SHAPES)
def test_a_plan_sets_the_branch_gains_of_blocks_whose_skip_is_a_matrix(kind):
    model, x = built(lambda: stack(kind), SHAPES[kind])
    shares = [1.0, 2.0, 1.0]
    made = plan(model, x, branch_gain=0.8, shares=shares, generator=seeded())
    torch.testing.assert_close(
        [b.c_before for b in made.blocks], gains(model, x), rtol=1e-9, atol=0
    )
    assert made.quantity == "branch gain"
    assert "branch gain after" in str(made)
    assert [b.tensors for b in made.blocks] == [(f"{i}.{last(kind)}",) for i in range(3)]
    torch.testing.assert_close(gains(apply_(model, made), x), [0.2, 0.4, 0.2], rtol=0.02, atol=0)


def last(kind):
    return "write" if kind is Mixed else "body.1.2.weight"


def test_a_plan_sets_the_branch_gains_between_states():
    model, x = built(Outputs)
    made = plan(model, x, branch_gain=0.6, generator=seeded())
    before = [block.c_before for block in made.blocks]
    torch.testing.assert_close(before, gains_of_outputs(model, x), rtol=1e-9, atol=0)
    torch.testing.assert_close(
        gains_of_outputs(apply_(model, made), x), [0.2] * 3, rtol=0.02, atol=0
    )


def test_a_gate_counts_to_the_branch_that_it_multiplies():
    model, x = built(lambda: stack(lambda: Highway(WIDTH)))
    layer = model[0]

    def skip(s):
        return (1 - torch.sigmoid(layer.gate(s))) * s

    S, J = dense(skip, x), dense(layer, x)
    made = plan(model, x, branch_gain=0.3, generator=seeded())
    assert made.blocks[0].c_before == pytest.approx(
        float((J - S).square().sum() / S.square().sum()), rel=1e-9
    )
    assert made.residual <= 0.02


def test_weights_of_zero_are_drawn_where_that_is_asked_for():
    model, x = built(lambda: stack(Vector))
    with torch.no_grad():
        model[1].body[1][2].weight.zero_()
    with pytest.raises(ValueError, match="at 0 at the end of block"):
        plan(model, x, branch_gain=0.6, generator=seeded())
    residual_(model, x, branch_gain=0.6, redraw=True, generator=seeded())
    torch.testing.assert_close(gains(model, x), [0.2] * 3, rtol=0.02, atol=0)


def test_a_norm_behind_the_weights_is_named():
    class Normed(Vector):
        def __init__(self):
            super().__init__()
            last = nn.Linear(WIDTH, WIDTH, bias=False)
            norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
            self.body = nn.Sequential(nn.LayerNorm(WIDTH), nn.GELU(), last, norm)

    model, x = built(lambda: stack(Normed))
    with pytest.raises(ValueError, match=r"norm behind '0\.body\.2\.weight'.*gain"):
        plan(model, x, branch_gain=0.01, generator=seeded())


REFUSED = {
    "`condition_number` is 5": {"condition_number": 5.0},
    "`c` is 1": {"c": 1.0},
    "`centre=True` are given": {"centre": True},
    "`blocks` are given": {"blocks": ["0", "1", "2"]},
    "'theory' with `branch_gain`": {"method": "theory"},
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_does_not_go_with_a_branch_gain_is_refused(said):
    model, x = built(lambda: stack(Vector))
    with pytest.raises(ValueError, match=said):
        plan(model, x, branch_gain=1.0, **REFUSED[said])


def test_a_c_is_refused_where_none_is_defined_with_what_is_set_in_its_place():
    model, x = built(lambda: stack(Vector))
    with pytest.raises(ValueError, match=r"3 residual blocks whose skip .*`branch_gain="):
        plan(model, x, c=1.0)


def test_skips_that_are_numbers_have_branch_gains_beside_matrices():
    class Scaled(Vector):
        def skip(self, x):
            return 0.9 * x

    model, x = built(lambda: nn.Sequential(Vector(), Scaled(), Projected()))
    made = plan(model, x, branch_gain=0.3, generator=seeded())
    before = [block.c_before for block in made.blocks]
    torch.testing.assert_close(before, gains(model, x), rtol=1e-9, atol=0)
    torch.testing.assert_close(gains(apply_(model, made), x), [0.1] * 3, rtol=0.02, atol=0)


def test_a_pass_that_is_not_recorded_is_refused_with_the_reason():
    model, x = built(lambda: stack(Vector))
    with pytest.raises(NotImplementedError, match=r"only told from its skip in .* \(autograd"):
        plan(lambda x: Own.apply(model(x)), x, branch_gain=1.0)


def test_gains_out_of_reach_are_said_to_be():
    class Saturating(Vector):
        def forward(self, x):
            return self.skip(x) + torch.tanh(self.body(x))

    model, x = built(lambda: stack(Saturating))
    with pytest.raises(ValueError, match=r"asks for 66\.7 from block '0'.*Ask for another"):
        plan(model, x, branch_gain=200.0, generator=seeded())
