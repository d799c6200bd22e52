import math

import pytest

from isometry.nn.init.history import History, Seen


def empty(groups=2):
    return History(((),) * groups)


def answering(power, steps, groups=1, sizes=None):
    """A history of one group whose c is its factor to a power, from c = 1 on."""
    history, factor = empty(groups), 1.0
    for sweep, step in enumerate(steps, 1):
        size = 1.0 if sizes is None else sizes[sweep - 1]
        history = history.and_then(Seen(sweep, 0, factor**power, 1.0, size, factor, step))
        factor *= step
    return history


def test_a_measurement_is_added_and_nothing_is_changed():
    first = empty()
    second = first.and_then(Seen(1, 1, 2.0, 1.0, math.nan, 1.0, 0.5))
    assert first.groups == ((), ())
    assert [len(own) for own in second.groups] == [0, 1]
    assert first.factor(1) == second.factor(0) == 1.0
    assert second.factor(1) == 0.5


def test_factors_of_one_group_multiply():
    assert answering(2, [2.0, 3.0, 0.25]).factor(0) == 1.5


@pytest.mark.parametrize("power", [1.0, 2.0, 3.5])
def test_the_correction_inverts_the_measured_power(power):
    history = answering(power, [2.0, 1.0])
    # `formula` is what a power of 2 asks for: c is to change by formula^2
    assert history.correction(0, 3.0) == pytest.approx(9.0 ** (1 / power))


def test_without_two_answers_the_formula_holds():
    assert answering(4.0, [2.0]).correction(0, 3.0) == 3.0
    assert answering(4.0, [1.001, 1.0]).correction(0, 3.0) == 3.0  # too small a step shows nothing


def test_an_answer_to_a_larger_step_is_remembered_when_later_steps_are_small():
    assert answering(3.0, [2.0, 1.001, 1.0]).correction(0, 2.0) == pytest.approx(4.0 ** (1 / 3))


def test_the_nearest_earlier_group_lends_its_power():
    history = answering(3.0, [2.0, 1.0], groups=3)
    assert history.correction(2, 2.0) == history.correction(0, 2.0) != 2.0


def test_a_pass_settles_when_every_group_was_met_in_it_within_the_tolerance():
    good, off = Seen(2, 0, 1.01, 1.0, 1.0, 1.0), Seen(2, 1, 1.03, 1.0, 1.0, 1.0)
    history = empty().and_then(good)
    assert not history.settled(2, 0.02)  # the second group was not met
    assert history.and_then(off).settled(2, 0.05)
    assert not history.and_then(off).settled(2, 0.02)
    assert not history.and_then(off).settled(3, 0.05)


def test_a_pass_corrects_from_the_first_correction_on():
    history = empty().and_then(Seen(1, 0, 1.0, 1.0, 1.0, 1.0))
    assert not history.correcting(1)
    history = history.and_then(Seen(1, 1, 4.0, 1.0, 1.0, 1.0, 0.5))
    assert history.correcting(1)
    assert not history.correcting(2)


@pytest.mark.parametrize("c", [math.nan, math.inf])
def test_a_pass_that_diverged_is_not_settled(c):
    lost = empty(1).and_then(Seen(1, 0, c, 1.0, 1.0, 1.0))
    assert not lost.settled(1, 0.02)
