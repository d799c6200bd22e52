import pytest
import torch
from torch import nn

from cases_operators import Pick
from cases_sandbox import fingerprint
from isometry.nn.jacobian.jacobian import JacobianOperator


def with_nan_weight():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    with torch.no_grad():
        net[1].weight[0, 0] = torch.nan
    return net


def noisy(x):
    return x + torch.rand(3)


def rarely_dropped(x):
    return nn.functional.dropout(x, 0.1)


REFUSALS = {
    "not callable": (3, torch.ones(3), TypeError, "`f` is a int; expected a module"),
    "array": (nn.ReLU(), [1.0], TypeError, "`x` is a float; expected one torch.Tensor"),
    "tokens": (nn.ReLU(), torch.arange(3), TypeError, r"int64 .*inputs_embeds=e"),
    "complex input": (nn.ReLU(), torch.ones(3) * 1j, TypeError, "complex64; .*Split it"),
    "sparse": (nn.ReLU(), torch.eye(2).to_sparse(), TypeError, r"layout torch.sparse_coo; .*dense"),
    "empty": (nn.ReLU(), torch.ones(0), ValueError, r"`x` has shape \(0,\); expected at least"),
    "NaN input": (nn.ReLU(), torch.tensor([torch.nan]), ValueError, "`x` contains NaN"),
    "meta input": (nn.ReLU(), torch.ones(3, device="meta"), ValueError, "`x` is on the meta dev"),
    "meta model": (nn.Linear(3, 3, device="meta"), torch.ones(3), ValueError, "on.* meta"),
    "other dtype": (nn.Linear(3, 3).double(), torch.ones(3), TypeError, "float32 but .*float64"),
    "convolution of other dtype": (
        nn.Conv1d(1, 1, 2), torch.ones(1, 3).double(), TypeError, "float64 but .*float32"
    ),
    "no tensor": (lambda x: ("a", x > 0), torch.ones(3), TypeError, "returns a tuple; .* a torch"),
    "argmax": (torch.argmax, torch.ones(3), TypeError, "returns dtype torch.int64; .*logits"),
    "complex output": (torch.fft.fft, torch.ones(3), TypeError, "complex64; .*view_as_real"),
    "empty output": (lambda x: x[:0], torch.ones(3), ValueError, r"returns shape \(0,\)"),
    "NaN weight": (with_nan_weight(), torch.ones(3), ValueError, "in 'weight' of layer '1'"),
    "overflow": (lambda x: (100 * x).exp(), torch.ones(3), ValueError, "`f.x.` contains NaN"),
    "singularity": (torch.sqrt, torch.zeros(3), ValueError, "derivative at `x` that is NaN or inf"),
    "no dependence": (lambda x: torch.ones(2), torch.ones(3), ValueError, "depend .* J = 0"),
    "detached": (lambda x: x.detach() * 2, torch.ones(3), ValueError, "does not depend on `x`"),
    "dropout": (nn.Dropout(0.1), torch.ones(3), ValueError, r"Dropout \(p = 0.1\).*model.eval"),
    "lstm dropout": (
        Pick(nn.LSTM(3, 2, 2, dropout=0.2)), torch.ones(4, 3), ValueError, "layer 'inner' .p = 0.2"
    ),
    "attention dropout": (
        Pick(nn.MultiheadAttention(4, 2, 0.3), 3), torch.ones(3, 4), ValueError, "p = 0.3"
    ),
    "functional dropout": (rarely_dropped, torch.ones(3), ValueError, "different results"),
    "dropout of zeros": (rarely_dropped, torch.zeros(3), ValueError, "different results"),
    "noise": (noisy, torch.ones(3), ValueError, "different results when called twice"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_input_is_refused_with_the_remedy_and_changes_nothing(name):
    f, x, kind, message = REFUSALS[name]
    before = fingerprint(f)
    with pytest.raises(kind, match=message) as caught:
        JacobianOperator(f, x)
    assert str(caught.value).count(". ") <= 2  # what is wrong; what to do
    assert fingerprint(f) == before


def test_lazy_model_stays_uninitialised():
    model = nn.LazyLinear(3)
    with pytest.raises(ValueError, match=r"uninitialised lazy .* Call it once on an input"):
        JacobianOperator(model, torch.ones(4))
    assert isinstance(model.weight, nn.UninitializedParameter)


def test_model_made_in_inference_mode_is_refused_unchanged():
    with torch.inference_mode():
        model = nn.Linear(3, 3)
    with pytest.raises(NotImplementedError, match=r"no backward at `x` .Inference tensors"):
        JacobianOperator(model, torch.ones(3))
    assert model.weight.requires_grad


def test_error_of_the_function_itself_is_passed_on():
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        JacobianOperator(nn.Linear(3, 3), torch.ones(4))


def test_weights_without_values_are_told_with_what_to_do_about_them():
    with pytest.raises(ValueError, match="Materialise the model first"):
        JacobianOperator(nn.Linear(3, 3, device="meta"), torch.ones(3))
