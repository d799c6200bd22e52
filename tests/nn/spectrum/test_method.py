import pytest
import torch

from isometry.nn.spectrum.method import check_method


class Shaped:
    """An operator that has a size and no numbers."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self, *shape):
        self.shape = shape

    @property
    def T(self):
        return Shaped(*self.shape[::-1])

    def __matmul__(self, v):
        raise AssertionError(v)

    def to_dense(self):
        raise AssertionError


@pytest.mark.parametrize(
    ("shape", "method"),
    [
        ((2048, 2048), "dense"),
        ((2048, 16_384), "dense"),
        ((16_384, 2048), "dense"),
        ((2049, 2049), "lanczos"),
        ((1000, 100_000), "lanczos"),  # too many entries to write out unasked
    ],
)
def test_the_dense_route_is_taken_where_it_costs_a_few_times_lanczos(shape, method):
    assert check_method(Shaped(*shape), None) == method


def test_what_is_asked_for_is_done():
    assert check_method(Shaped(10**5, 10**5), "dense") == "dense"
    assert check_method(Shaped(3, 3), "lanczos") == "lanczos"


def test_a_model_is_no_operator_and_the_way_to_one_is_said():
    with pytest.raises(TypeError, match=r"Make one: `JacobianOperator\(model, x\)`"):
        check_method(torch.nn.Linear(2, 2), None)
    with pytest.raises(ValueError, match="mean 'lanczos'"):
        check_method(Shaped(3, 3), "lanczso")
