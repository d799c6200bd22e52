import numpy as np
import pytest
import torch
from torch import nn

from cases_lint import decoder, linted, tokens
from isometry import nn as inn
from isometry.nn.linting.lint import RULES, model_name


def test_the_right_decoder_is_clean_whatever_the_seed():
    for seed in range(5):
        assert linted(decoder(seed)).worst() == ()


def test_a_wrapped_model_has_the_same_names_and_findings():
    model = decoder()
    model.layers[1].up.weight.data.mul_(3)
    found = linted(model).findings
    assert linted(nn.DataParallel(model)).findings == found
    assert inn.lint(lambda x: model(x), tokens()).findings == found


def test_without_an_input_what_needs_no_role_is_still_found():
    model = decoder()
    model.layers[1].up.weight.data.mul_(3)
    report = inn.lint(model)
    assert [f.parameter for f in report.worst()] == ["layers.1.up.weight"]
    assert "no input was given" in str(report)


def test_structure_is_shown_on_the_meta_device():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    report = inn.lint(model, torch.ones(1, 4))
    assert report.findings == ()
    assert [part.role for part in report.parts if part.role != "bias"] == ["inner", "inner"]
    assert "the numbers of 4 parameters or buffers on the meta device" in str(report)


def test_a_module_without_parameters_has_no_roles():
    report = inn.lint(nn.Identity(), torch.ones(2))
    assert "Roles: none." in str(report)
    assert "meta" not in str(report)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="Did you mean 'gpt2'"):
        linted(decoder(), recipe="gpt")


def test_a_name_is_the_class_or_the_classes():
    assert model_name(None, [nn.Linear(1, 1)]) == "Linear"
    assert (
        model_name(None, [nn.ReLU(), nn.Tanh(), nn.GELU(), nn.SiLU()]) == "ReLU + Tanh + GELU + ..."
    )
    assert model_name(torch.sin, []) == "sin"


def test_every_rule_is_called_once():
    assert len(set(RULES)) == len(RULES) == 17


def test_the_cost_is_one_forward_pass_and_two_of_a_function():
    calls = []
    model = decoder()
    model.layers[0].register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    linted(model)
    assert calls == [False]
    inn.lint(lambda x: model(x), tokens())
    assert calls == [False] * 3
    torch.nn.init.zeros_(model.layers[0].down.weight)
    linted(model)
    assert calls == [False] * 4 + [True]  # one more, with a backward pass, for zeros


NET = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
ARRAY = np.ones((1, 4))
WRONG = {
    "a word": ("abc", TypeError, "`x` is a str; expected a torch.Tensor"),
    "a number in a tuple": ((3,), TypeError, "`x` is a int"),
    "nothing in a tuple": ((), TypeError, "`x` holds no tensor but nothing; expected the model's"),
    "a list": ([1.0, 2.0], TypeError, "`x` holds no tensor but float; expected the model's"),
    "an array": (ARRAY, TypeError, "Pass `torch.as_tensor(x, dtype=torch.float32)`"),
    "an array by name": ({"input": ARRAY}, TypeError, "dtype=torch.float32"),
    "whole numbers": (ARRAY.astype(int), TypeError, "Pass `torch.as_tensor(x)`"),
    "another type": (torch.ones(1, 4).double(), TypeError, "parameters of `f` have torch.float32"),
    "no values": (torch.ones(1, 4, device="meta"), ValueError, "`x` is on meta but parameters"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("model", [NET, lambda x: NET(x)], ids=["module", "function"])
def test_an_input_that_is_none_is_refused_in_a_sentence(model, case):
    x, kind, said = WRONG[case]
    with pytest.raises(kind) as caught:
        inn.lint(model, x)
    assert said in str(caught.value)
    assert "wrt" not in str(caught.value)


def test_the_advice_about_arrays_works():
    assert inn.lint(NET, torch.as_tensor(ARRAY, dtype=torch.float32)).findings == ()


@pytest.mark.parametrize("x", [None, torch.ones(2, 3)], ids=["no input", "an input"])
@pytest.mark.parametrize(
    "make", [lambda: nn.LazyLinear(4), lambda: nn.LazyBatchNorm1d(affine=False)]
)
def test_a_lazy_model_is_refused_until_it_has_run_once(make, x):
    model = nn.Sequential(make()).eval()
    with pytest.raises(ValueError, match="Call it once on an input"):
        inn.lint(model, x)
    model(torch.ones(2, 3))
    assert inn.lint(model, x).worst() == ()


def test_what_fails_inside_a_model_of_token_ids_is_not_put_down_to_their_type():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(5, 4), nn.Linear(4, 4).half()

        def forward(self, ids):
            return self.head(self.table(ids))

    with pytest.raises(RuntimeError, match="Half"):
        inn.lint(Mixed(), torch.zeros(1, 3, dtype=torch.long))
