from collections import namedtuple

import pytest
import torch

from isometry.nn.sandbox.inputs import arguments_of, picked

X, T = torch.ones(2), torch.zeros(3)


def model(mask, x, t, scale=2.0):
    return scale * x + t.sum() + mask


@pytest.mark.parametrize(
    ("inputs", "wrt", "key", "label"),
    [
        (X, None, 0, "mask"),
        ((T, X, T), None, 1, "x"),
        ((T, X, T), "t", 2, "t"),
        ((T, X, T), 0, 0, "mask"),
        ({"t": T, "x": X, "attention_mask": T}, None, "x", "x"),
        ({"x": X > 0, "t": T}, None, "t", "t"),
    ],
)
def test_the_point_is_the_named_input_or_the_first_tensor_that_is_no_mask(inputs, wrt, key, label):
    found = arguments_of(model, inputs, wrt)
    assert (found.key, found.label) == (key, label)


def test_the_model_is_called_with_copies_of_what_is_held():
    inputs = (torch.zeros(2), X, T)
    found = arguments_of(lambda mask, x, t: (mask.add_(1), x, t), inputs, "x")
    mask, x, t = found.call(lambda mask, x, t: (mask.add_(1), x, t), 5 * X)
    assert (x is not X, float(x[0]), t is not T, float(mask[0])) == (True, 5.0, True, 1.0)
    assert float(inputs[0][0]) == 0


def test_of_an_output_the_first_floating_tensor_is_meant_that_is_no_loss():
    loss, ids = torch.tensor(1.0), torch.arange(2)
    part = namedtuple("part", "first second")(ids, X)
    for result in ((loss, ids, X), {"loss": loss, "a": [None, X]}, part, X, [X, T]):
        assert picked(result, None) is X
    assert picked((loss, None), None) is loss
    assert picked(part, "second") is X
    assert picked({"a": X, "b": (T, X)}, "b") is T
    assert picked((X, T), 1) is T
    with pytest.raises(ValueError, match=r"`output` is 'c'; expected one of 'a', 'b'"):
        picked({"a": X, "b": T}, "c")
    with pytest.raises(ValueError, match="expected one of a Tensor without parts"):
        picked(X, "c")


def test_numbers_where_a_model_wants_token_ids_are_one_sentence():
    table = torch.nn.Embedding(5, 3)
    alone = r"`input` is float32 and the model looks .* expected token ids, of an integer type"
    with pytest.raises(TypeError, match=alone):
        arguments_of(table, X, None).call(table, X)
    both = arguments_of(lambda x, ids: x + table(ids), (X, T.double()), None)
    with pytest.raises(TypeError, match="the inputs are float32 and float64"):
        both.call(lambda x, ids: x + table(ids), X)
    with pytest.raises(RuntimeError, match="size of tensor"):
        both.call(lambda x, ids: x + ids, X)
