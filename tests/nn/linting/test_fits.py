from dataclasses import replace

import pytest
import torch

from cases_lint import HEADS, STD, WIDTH, decoder, edited, redraw_all, tokens
from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.fits import LAWS, best_fit, close, counted
from isometry.nn.roles.follow import followed


def kinds(model):
    return Evidence(followed(model, tokens())).kinds


def test_the_laws_are_laws_of_the_fans():
    assert [round(law(4, 12), 3) for law in LAWS.values()] == [1.0, 0.5, 0.25, 0.289, 0.289]


@pytest.mark.parametrize("law", ["k / sqrt(fan_in)", "k / sqrt(fan_in + fan_out)"])
def test_the_law_that_a_model_was_drawn_by_is_found(law):
    def draw(i, layer):
        redraw_all(layer, lambda m, _: LAWS[law](m.in_features, m.out_features), i)

    fit = best_fit(kinds(edited(draw)))
    assert fit.law == law
    assert fit.k == pytest.approx(1, rel=0.03)
    assert fit.misfits == ()


def test_one_constant_and_a_factor_for_depth_are_found():
    fit = best_fit(kinds(decoder()))
    assert (fit.law, fit.depth["layers."][0]) == ("k", "1/sqrt(2L)")
    assert fit.k == pytest.approx(STD, rel=0.03)


def test_without_a_majority_there_is_no_law():
    def draw(i, layer):
        redraw_all(layer, lambda _, place: 0.02 * 2**place, i)

    assert best_fit(kinds(edited(draw))) is None


def test_layers_and_branches_are_counted():
    writers = [kind for kind in kinds(decoder()) if kind.part.role == "writer"]
    assert counted(writers) == (6, 12)
    assert close(1.0, 1.03)
    assert not close(1.0, 1.1)


def test_maps_of_one_layer_alone_make_no_law():
    several = kinds(decoder())
    alone = [replace(kind, parts=kind.parts[:1], stds=kind.stds[:1]) for kind in several]
    assert best_fit(several) is not None
    assert best_fit(alone) is None


@pytest.mark.parametrize(("factor", "odd"), [((WIDTH // HEADS) ** -0.5, 0), (0.6, 1)])
def test_queries_may_be_smaller_by_the_root_of_a_heads_size(factor, odd):
    def smaller(i, layer):
        with torch.no_grad():
            layer.attention.qkv.weight[:WIDTH] *= factor

    assert len(best_fit(kinds(edited(smaller))).misfits) == odd
