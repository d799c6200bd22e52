import copy
import functools

import torch
from torch import nn

from cases_lint import WIDTH, decoder, linted, named, redraw
from isometry.nn.linting.fresh import is_fresh, largest_excess
from isometry.nn.linting.held import held
from isometry.nn.linting.statistics import summarise


@functools.cache
def trained():
    model = decoder()
    model.head = nn.Identity()
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    source = torch.Generator().manual_seed(0)
    target = torch.randn(WIDTH, WIDTH, generator=source) / 8
    for _ in range(80):
        x = torch.randn(8, 12, WIDTH, generator=source)
        loss = (model(x) - x.roll(1, 1) @ target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


def test_an_untrained_model_that_is_meant_to_be_trained_is_an_error():
    found = named(linted(decoder(), trained=True), "fresh", "error")
    assert len(found) >= 36


def test_a_trained_model_is_not_a_fresh_draw():
    assert named(linted(trained(), trained=True), "fresh", "error") == []


def test_a_kind_that_a_checkpoint_missed_is_named_where_its_role_has_moved_otherwise():
    model = copy.deepcopy(trained())
    for i, layer in enumerate(model.layers):
        redraw(layer.attention.o.weight, 0.02, i)
    found = named(linted(model, trained=True), "fresh", "error")
    assert found == [f"layers.{i}.attention.o.weight" for i in range(6)]


def test_a_layer_that_a_checkpoint_missed_is_named():
    model = copy.deepcopy(trained())
    model.layers[2].load_state_dict(decoder(3).layers[2].state_dict())
    found = named(linted(model, trained=True), "fresh", "error")
    assert len(found) == 7
    assert all(name.startswith("layers.2.") for name in found)


def test_without_trained_a_fresh_draw_is_what_it_should_be():
    assert named(linted(decoder()), "fresh") == []


def test_the_largest_singular_value_is_at_the_marchenko_pastur_edge_until_it_is_moved():
    source = torch.Generator().manual_seed(0)
    for m, n in ((64, 64), (200, 50), (48, 300)):
        drawn = torch.randn(m, n, generator=source)
        assert abs(largest_excess(held(drawn))) < 6
        spike = torch.outer(torch.randn(m, generator=source), torch.randn(n, generator=source))
        moved = drawn + 2.5 * (m * n) ** -0.25 * spike
        assert largest_excess(held(moved)) > 5
        assert is_fresh(held(drawn), summarise(held(drawn)))
        assert not is_fresh(held(moved), summarise(held(moved)))


def test_uneven_rows_are_no_fresh_draw():
    drawn = torch.randn(128, 64, generator=torch.Generator().manual_seed(0))
    uneven = drawn * torch.linspace(0.8, 1.2, 128)[:, None]
    assert not is_fresh(held(uneven), summarise(held(uneven)))
