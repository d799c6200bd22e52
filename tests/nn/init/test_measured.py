import pytest
import torch
from torch import nn

from cases_modules import Residual, mlp, stack
from isometry.nn.init.changes import Change
from isometry.nn.init.measured import MeasuredModel, root_of
from isometry.nn.sandbox.specimen import Specimen

X = torch.linspace(-1.0, 1.0, 16).reshape(2, 8)


def built():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return stack(lambda: Residual(mlp(8, 8)))


def measured(model):
    return MeasuredModel(model, X, model, None, None, 0)


def test_a_change_is_measured_and_not_kept():
    model = built()
    weight = model[1].body[2].weight
    before, f = weight.detach().clone(), measured(model)
    changed = {"1.body.2.weight": Change(before, 2.0)}
    plain, doubled = ([f.trace(b) for b in f.found(c)] for c in ({}, changed))
    assert torch.equal(weight, before)
    assert doubled[0].c == pytest.approx(plain[0].c, rel=1e-6)
    # the branch ends in this map: twice the Jacobian has four times its second moments
    assert doubled[1].v == pytest.approx(4 * plain[1].v, rel=1e-5)


def test_the_probes_are_the_same_every_time():
    f = measured(built())
    block = f.found({})[1]
    assert f.trace(block).c == f.trace(block).c


def test_an_output_agrees_under_the_changes_that_it_was_computed_with():
    model = built()
    f, changed = measured(model), {"0.body.2.weight": Change(model[0].body[2].weight.detach(), 3.0)}
    assert f.agrees(model(X), {})
    assert not f.agrees(model(X), changed)
    assert not f.agrees(model(X)[:1], {})


def test_the_root_of_a_function_is_the_one_module_that_it_calls():
    one, other = built(), nn.Linear(8, 8)
    assert root_of(Specimen.of(one, X), None) is one
    assert root_of(Specimen.of(lambda x: 2 * one(x), X), None) is one
    with pytest.raises(ValueError, match="calls 2 separate modules"):
        root_of(Specimen.of(lambda x: other(one(x)), X), None)


def test_a_root_without_storage_is_refused_by_the_parameter_s_name():
    with pytest.raises(ValueError, match="has 'weight' on the meta device"):
        root_of(Specimen.of(nn.Linear(8, 8, device="meta"), X), None)
