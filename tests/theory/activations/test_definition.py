import pickle

import numpy as np
import pytest

from isometry.theory.activations.lookup import Activation, activation, activation_names
from isometry.theory.gaussian import gaussian_moments

JUMPS = pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")
H = np.concatenate([np.linspace(-7.013, 7.021, 401), [-31.0, 24.0, 1e3, -1e3, 1e-7, -1e-9]])


def shifted_leaky(h):
    return np.where(h > 0.4, h - 0.4, 0.25 * (h - 0.4))


@JUMPS
@pytest.mark.parametrize("text", ["tanh", "elu(0.5)", "hardshrink", "softplus(beta=3)"])
def test_named_activations_survive_pickling(text):
    act = activation(text)
    again = pickle.loads(pickle.dumps(act))
    assert again == act
    assert hash(again) == hash(act)
    np.testing.assert_array_equal(again(H), act(H))


def test_an_activation_made_from_a_picklable_callable_survives_pickling():
    act = activation(shifted_leaky)
    again = pickle.loads(pickle.dumps(act))
    assert again == act
    assert again.breakpoints == act.breakpoints == pytest.approx((0.4,))


def test_a_hand_made_activation_is_integrated_with_verification():
    act = Activation("square", np.square, lambda h: 2 * h)
    assert gaussian_moments(act, 3.0).slope_square == pytest.approx(12.0, rel=1e-12)
    assert repr(act) == "Activation('square')"


FAR = [0.0, -0.0, 5e-324, -1e-300, 710.0, -746.0, 1e155, -1e200, 1.7e308, -1.7e308]


@JUMPS
@pytest.mark.parametrize("name", activation_names())
def test_every_finite_number_has_a_finite_value_and_slope_without_a_warning(name):
    act = activation(name)
    assert np.isfinite(act(FAR)).all()
    assert np.isfinite(act.dphi(np.array(FAR))).all()


@pytest.mark.parametrize(
    ("h", "kind", "match"),
    [
        (-np.inf, ValueError, "`h` contains -inf, where `silu` is not finite"),
        (np.nan, ValueError, "`h` contains NaN"),
        ("a", TypeError, "`h` has dtype"),
        ([[1, 2], [3]], TypeError, "`h` is ragged"),
        (1j, TypeError, "`h` has dtype complex128"),
    ],
)
def test_what_has_no_value_is_refused(h, kind, match):
    with pytest.raises(kind, match=match):
        activation("silu")(h)


def test_a_callable_that_overflows_says_where():
    act = Activation("exp", np.exp, np.exp)
    with pytest.raises(ValueError, match="`h` contains 1000, where `exp` is not finite"):
        act([1.0, 1000.0])
