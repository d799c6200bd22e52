import random

import numpy as np
import pytest
import torch
from torch import nn

from isometry import nn as inn
from isometry.nn.sandbox.checks import check_output
from isometry.nn.sandbox.evaluation import check_deterministic, first_evaluation
from isometry.nn.sandbox.sandbox import Sandbox


class Dropping(nn.Module):
    """Skips its layer where a number is below p."""

    def __init__(self, draw, p):
        super().__init__()
        self.draw, self.p, self.layer = draw, p, nn.Linear(3, 3)
        self.calls = 0

    def forward(self, x):
        return x if self.draw() < self.p else x + self.layer(x)


RARE = {
    "numpy": lambda: np.random.rand(),  # noqa: NPY002
    "python": random.random,
    "torch": lambda: torch.rand(()).item(),
}


@pytest.mark.parametrize("source", RARE)
@pytest.mark.parametrize("p", [1e-3, 0.999])
def test_a_rare_decision_is_seen_at_any_probability(source, p):
    model, x = Dropping(RARE[source], p), torch.ones(1, 3)
    for measure in (inn.JacobianOperator, inn.residual_blocks):
        with pytest.raises(ValueError, match="different results when called twice"):
            measure(model, x)


def test_a_generator_of_the_model_is_seen_and_put_back():
    model = Dropping(None, 0.3)
    model.numbers = np.random.default_rng(0)
    model.draw = lambda: model.numbers.random()
    before = model.numbers.bit_generator.state
    with pytest.raises(ValueError, match="different results"):
        inn.JacobianOperator(model, torch.ones(1, 3))
    assert model.numbers.bit_generator.state == before


def test_a_generator_that_only_a_closure_knows_shows_by_going_on():
    numbers = np.random.default_rng(0)
    with pytest.raises(ValueError, match="different results"):
        inn.JacobianOperator(lambda x: x * numbers.random(), torch.ones(3))


def test_numbers_that_are_drawn_and_not_used_are_no_offence():
    J = inn.JacobianOperator(lambda x: x * (1 + 0 * torch.rand(())), torch.ones(3))
    torch.testing.assert_close(J.to_dense(), torch.eye(3))


@pytest.mark.parametrize(("draws", "most"), [(False, 4), (True, 8)])
def test_an_operator_evaluates_the_function_at_most_eight_times(draws, most):
    calls = []

    def f(x):
        calls.append(1)
        if draws:
            torch.rand(())
        return 2 * x

    inn.JacobianOperator(f, torch.ones(3))
    assert len(calls) <= most


def test_the_gradient_is_compared_where_the_output_is_the_same():
    def f(x):
        return nn.functional.dropout(x, 0.5)

    x, sandbox = torch.zeros(4), Sandbox(torch.zeros(4), None)
    output = first_evaluation(lambda z: check_output(f(z)), x, sandbox)
    with pytest.raises(ValueError, match="different results"):
        check_deterministic(f, x, output, sandbox)
