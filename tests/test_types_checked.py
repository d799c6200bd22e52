import jaxtyping
import numpy as np
import pytest
from beartype import beartype
from jaxtyping import Float

from isometry.theory.laws.layers import Layers

# As the import hook decorates every function of the package; see conftest.py.
checked = jaxtyping.jaxtyped(typechecker=beartype)


@checked
def product(A: Float[np.ndarray, "m n"], x: Float[np.ndarray, "n"]) -> Float[np.ndarray, "m"]:
    return A @ x if x.sum() else x


@checked
def doubled(count: int, name: str = "") -> int:
    return name if name else 2 * count


@checked
def ones(width: int) -> Float[np.ndarray, "{width}"]:
    return np.ones(max(width, 2))


def test_a_size_that_is_an_arguments_value_is_checked():
    assert ones(3).shape == (3,)
    with pytest.raises(jaxtyping.TypeCheckError):
        ones(1)


def test_an_axis_has_one_length_in_a_call():
    np.testing.assert_array_equal(product(np.eye(2, 3), np.ones(3)), [1.0, 1.0])
    with pytest.raises(jaxtyping.TypeCheckError):
        product(np.eye(2, 3), np.ones(2))


def test_what_is_returned_has_the_axes_of_what_was_given():
    with pytest.raises(jaxtyping.TypeCheckError):
        product(np.eye(2, 3), np.zeros(3))


def test_types_without_axes_are_checked_too():
    assert doubled(2) == 4
    for wrong in (lambda: doubled("two"), lambda: doubled(2, "name"), lambda: doubled(2, name=3)):
        with pytest.raises(jaxtyping.TypeCheckError):
            wrong()


def test_the_package_is_checked_while_its_tests_run():
    d, weights, counts = np.ones((2, 3)), np.full((2, 3), 1 / 3), np.ones(2)
    assert Layers(d, weights, counts, 1.0).floor == 0.0
    with pytest.raises(jaxtyping.TypeCheckError):
        Layers(d, weights, np.ones(3), 1.0)
    with pytest.raises(jaxtyping.TypeCheckError):
        Layers(d, weights, counts, 1.0).at_atom("first", 1.0)
