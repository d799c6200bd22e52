import pytest
import torch

from cases_maps import normal
from cases_rules import call_of, follows
from isometry.nn.tape.rules import linearise

aten = torch.ops.aten
A, B, BIAS = normal(3, 4), normal(4, 2, seed=1), normal(2, seed=2)
AA, BB, BIASES = normal(2, 3, 4), normal(2, 4, 2, seed=1), normal(2, 3, 2, seed=2)
V, W = normal(4, seed=3), normal(4, seed=4)
IMAGE, GAIN = normal(2, 4, 3, 3), normal(4, seed=5)
KERNEL, UPWARDS_KERNEL = normal(2, 2, 2, 2, seed=6), normal(4, 2, 2, 2, seed=6)
MEAN, VARIANCE = normal(4, seed=7), 1 + normal(4, seed=8).square()
CONV = (IMAGE, KERNEL, None, [2, 1], [1, 0], [1, 1], False, [0, 0], 2)
UPWARDS = (IMAGE, UPWARDS_KERNEL, None, [2, 1], [1, 0], [1, 1], True, [0, 0], 2)
WIDE = (IMAGE, UPWARDS_KERNEL, None, [2, 2], [0, 0], [3, 3], True, [2, 2], 2)
FACTORS = {"beta": 0.5, "alpha": -2}

CALLS = {
    "matrix product": (aten.mm.default, (A, B), {}, [A, B]),
    "products of a batch": (aten.bmm.default, (AA, BB), {}, [AA, BB]),
    "affine product": (aten.addmm.default, (BIAS, A, B), FACTORS, [BIAS, A, B]),
    "affine products of a batch": (
        aten.baddbmm.default,
        (BIASES, AA, BB),
        FACTORS,
        [BIASES, AA, BB],
    ),
    "matrix times vector": (aten.mv.default, (A, V), {}, [A, V]),
    "inner product": (aten.dot.default, (V, W), {}, [V, W]),
    "convolution": (aten.convolution.default, CONV, {}, [IMAGE]),
    "transposed convolution": (aten.convolution.default, UPWARDS, {}, [IMAGE]),
    "softmax": (aten._softmax.default, (A, 0, False), {}, [A]),
    "log-softmax": (aten._log_softmax.default, (AA, -2, False), {}, [AA]),
    "average pool": (aten.avg_pool2d.default, (IMAGE, [2, 2], [1, 1]), {}, [IMAGE]),
    "bilinear": (aten.upsample_bilinear2d.default, (IMAGE, [5, 4], True), {}, [IMAGE]),
}
NORMS = {
    "layer norm": (aten.native_layer_norm.default, (A, [4], GAIN, None, 1e-3), A),
    "layer norm over two axes": (aten.native_layer_norm.default, (AA, [3, 4], None, None, 0.1), AA),
    "group norm": (
        aten.native_group_norm.default,
        (IMAGE, GAIN, None, 2, 4, 9, 2, 1e-3),
        IMAGE,
    ),
    "batch norm of the batch": (
        aten.native_batch_norm.default,
        (IMAGE, GAIN, None, None, None, True, 0.1, 1e-3),
        IMAGE,
    ),
    "batch norm": (
        aten.native_batch_norm.default,
        (IMAGE, GAIN, None, MEAN, VARIANCE, False, 0.1, 1e-3),
        IMAGE,
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_and_its_transpose_have_the_jacobian_of_every_operand(name):
    func, args, kwargs, on = CALLS[name]
    assert follows(func, *args, on=on, **kwargs)


@pytest.mark.parametrize("name", NORMS)
def test_a_normalisation_has_the_jacobian_of_its_result(name):
    func, args, x = NORMS[name]
    assert follows(func, *args, on=[x], outputs=1)


def test_other_factors_of_an_affine_product_are_seen():
    terms = linearise(call_of(aten.addmm.default, BIAS, A, B, on=[BIAS, A, B], **FACTORS))
    for wrong in ({"beta": 0.5, "alpha": 2}, {"beta": 0.55, "alpha": -2}):
        assert not follows(
            aten.addmm.default, BIAS, A, B, on=[BIAS, A, B], linearised=lambda _: terms, **wrong
        )


def test_a_batch_norm_at_rest_is_told_from_one_of_the_batch():
    func, args, x = NORMS["batch norm of the batch"]
    terms = linearise(call_of(func, *args, on=[x]))
    func, args, x = NORMS["batch norm"]
    assert not follows(func, *args, on=[x], outputs=1, linearised=lambda _: terms)


def test_a_dependent_kernel_or_a_wide_output_padding_has_no_rule():
    assert linearise(call_of(aten.convolution.default, *CONV, on=[IMAGE, KERNEL])) is None
    assert linearise(call_of(aten.convolution.default, *WIDE, on=[IMAGE])) is None
