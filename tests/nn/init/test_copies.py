import pytest
import torch
from torch import nn

from cases_modules import Residual, encoder, mlp, shared, stack
from isometry import nn as inn
from isometry.errors import TheoryWarning
from isometry.nn.init.copies import copies
from isometry.nn.init.init import apply_, plan


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def points(*shape):
    return torch.randn(*shape, generator=seeded())


def built(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def zeros():
    model = stack(lambda: Residual(nn.Linear(8, 8)))
    for block in model:
        nn.init.zeros_(block.body.weight)
    return model


COPIES = {
    "drawn apart": (lambda: stack(lambda: Residual(mlp(8, 16))), (4, 8), {}),
    "copied layers": (lambda: encoder(True).eval(), (1, 3, 16), {2: 0, 3: 1}),
    "tied": (shared, (4, 8), {}),
    "all zero": (zeros, (4, 8), {}),
}


@pytest.mark.parametrize("case", COPIES)
def test_copies_are_told_from_tied_and_from_zero_weights(case):
    build, shape, expected = COPIES[case]
    model = built(build)
    assert copies(inn.residual_blocks(model, points(*shape)), model) == expected


def test_a_plan_for_copied_layers_warns_and_names_the_remedy():
    model = built(lambda: encoder(True).eval())
    with pytest.warns(TheoryWarning, match="the law does not hold at any c; pass `redraw=True`"):
        plan(model, points(16, 8, 16), generator=seeded())


def test_copied_layers_are_drawn_apart_when_asked():
    model, x = built(lambda: encoder(True).eval()), points(16, 8, 16)
    made = plan(model, x, redraw=True, generator=seeded())
    assert [block.why for block in made.blocks] == [
        *["last linear map, scaled"] * 2, *["last linear map, redrawn"] * 2
    ]  # fmt: skip
    apply_(model, made)
    assert made.c_after == pytest.approx(1.0, rel=0.02)
    assert copies(inn.residual_blocks(model, x), model) == {}
    one, other = (layer.linear2.weight.detach() for layer in model.layers)
    # independent: the correlation of 512 pairs has a standard error of 0.044; four of them
    assert abs(float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])) < 0.18
