import decimal
import fractions
import math

import numpy as np
import pytest

from isometry._checks import check_array, check_count, check_integer, check_real, check_rng, shown


def test_values_are_shown_short_and_on_one_line():
    assert shown("relu") == "'relu'"
    assert shown(np.ones((3, 400))) == "an array of shape (3, 400)"
    assert shown("x" * 5000) == f"'{'x' * 40}'..."
    assert shown(list(range(10_000))) == "an object of type list"
    assert "\n" not in shown(np.float64(1.5))


def test_an_object_that_cannot_print_itself_is_named_by_its_type():
    class Silent:
        def __repr__(self):
            raise RuntimeError("no")

    assert shown(Silent()) == "an object of type Silent"


@pytest.mark.parametrize("value", [2, np.float32(2), fractions.Fraction(2), decimal.Decimal(2)])
def test_numbers_of_every_type_are_taken(value):
    assert check_real("c", value) == 2.0


@pytest.mark.parametrize(
    "value",
    [[[1, 2], [3]], np.ones(3), "1", b"1", True, np.bool_(True), None, 1j, np.ma.masked, {}, type],
    ids=repr,
)
def test_what_is_no_number_is_refused_in_a_sentence(value):
    with pytest.raises(TypeError, match=r"^`c` is .{1,60}; expected a finite number\.$"):
        check_real("c", value)


@pytest.mark.parametrize("value", [10**400, np.longdouble("1e4000"), decimal.Decimal("1e400")])
def test_numbers_beyond_float64_are_infinite_and_refused(value):
    with pytest.raises(ValueError, match="`c` is inf; expected a finite number"):
        check_real("c", value)


def test_arrays_of_longer_numbers_become_infinite_without_a_warning():
    assert check_array("lam", np.longdouble("1e4000")) == math.inf


def test_masked_and_ragged_arrays_are_refused():
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    with pytest.raises(TypeError, match="`lam` is masked"):
        check_array("lam", masked)
    with pytest.raises(TypeError, match="`lam` is ragged"):
        check_array("lam", [[1, 2], [3]])


@pytest.mark.parametrize("value", [0, 11, True])
def test_integers_have_both_bounds(value):
    with pytest.raises(ValueError, match="expected an integer >= 1 and <= 10"):
        check_integer("depth", value, minimum=1, maximum=10)


def test_a_count_is_a_number_or_follows_the_size():
    assert check_count("num_probes", "auto") is None
    assert check_count("num_probes", np.int64(3)) == 3
    with pytest.raises(ValueError, match="`num_probes` is 0; expected an integer >= 1"):
        check_count("num_probes", 0)


@pytest.mark.parametrize("value", [None, "many", 2.0, [3], np.array(["auto", "auto"])])
def test_what_is_no_count_is_refused_with_both_choices(value):
    with pytest.raises(TypeError, match=r'`num_probes` is .*expected an integer >= 1, or "auto"'):
        check_count("num_probes", value)


@pytest.fixture
def numpys_state():
    state = np.random.get_state()  # noqa: NPY002 (the user's own generator)
    yield
    np.random.set_state(state)  # noqa: NPY002


def test_without_a_generator_numpys_seed_decides_by_one_draw(numpys_state):
    def drawn(numbers):
        np.random.seed(3)  # noqa: NPY002
        own = check_rng(None).random(numbers)
        return own, check_rng(None).random(), np.random.random()  # noqa: NPY002

    few, second, users = drawn(2)
    many, second_again, users_again = drawn(500)
    np.testing.assert_array_equal(few, many[:2])
    assert (second, users) == (second_again, users_again)
    assert second not in few
    with pytest.raises(TypeError, match="`rng` is 3; expected a numpy"):
        check_rng(3)
