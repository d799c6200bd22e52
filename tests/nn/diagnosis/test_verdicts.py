import math

import numpy as np
import pytest

from isometry.nn.diagnosis import verdicts
from isometry.nn.diagnosis.product import ProductPrediction
from isometry.theory.comparison import compare
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.spectrum import Spectrum

LEVELS = (np.arange(400) + 0.5) / 400


def exact(c, unresolved=(0.0, 0.0)):
    return Spectrum(UniversalLaw(c).icdf(LEVELS), unresolved=unresolved)


def judged(spectrum, c):
    law = UniversalLaw(c)
    found = compare(spectrum, law)
    measured = verdicts.span(spectrum, found)
    return verdicts.isometric(measured, law), verdicts.law_holds(found, spectrum)


def test_a_spectrum_of_the_law_is_judged_by_its_span():
    assert judged(exact(1.0), 1.0) == (True, True)
    assert judged(exact(2.5), 2.5) == (False, True)


@pytest.mark.parametrize(("off", "holds"), [(1e-7, True), (0.01, False)])
def test_a_law_that_is_a_point_is_judged_by_the_distance_from_it(off, holds):
    values = np.array([1 - off, 1.0, 1 + off]) ** 2  # rounding puts values on either side
    assert judged(Spectrum(values), 0.0)[1] is holds


def test_too_few_values_to_tell_are_not_judged():
    few = Spectrum(UniversalLaw(1.0).icdf((np.arange(6) + 0.5) / 6))
    assert verdicts.allowed_distance(compare(few, UniversalLaw(1.0)), few) > 0.5
    assert judged(few, 1.0)[1] == "unresolved"


def test_a_law_that_is_a_fifth_off_does_not_hold():
    assert judged(exact(1.0), 1.2) == (True, False)


def test_a_condition_number_many_times_the_laws_is_not_isometric():
    spread = exact(1.4)  # near isometry by itself, but the blocks say 0.01
    assert judged(spread, 0.01)[0] is False
    assert verdicts.isometric(verdicts.span(spread, None), None) is True


def test_what_is_not_resolved_is_not_judged():
    assert judged(exact(1.0, (0.0, 0.3)), 1.0) == ("unresolved", "unresolved")


def test_what_is_resolved_may_decide_alone():
    assert judged(exact(6.0, (0.0, 0.3)), 6.0) == (False, "unresolved")
    assert judged(exact(1.0, (0.0, 0.3)), 3.0)[1] is False


def test_a_loss_of_rank_is_not_isometric():
    values = np.concatenate([np.zeros(40), exact(0.5).values[:360]])
    assert verdicts.span(Spectrum(values), None).factor == math.inf
    assert verdicts.isometric(verdicts.span(Spectrum(values), None), None) is False


def test_without_a_law_the_middle_of_the_spectrum_is_judged():
    values = np.concatenate([[1e-6], exact(0.5).values, [1e6]])  # one value in 400 either side
    assert verdicts.isometric(verdicts.span(Spectrum(values), None), None) is True
    assert verdicts.law_holds(None, Spectrum(values)) == "unresolved"


@pytest.mark.parametrize("c", [0.1, 0.5, 1.0])
def test_an_unresolved_part_of_little_weight_leaves_the_law_judged(c):
    assert judged(exact(c, (0.0, 0.01)), c) == ("unresolved", True)


def test_the_product_law_is_judged_with_the_noise_of_its_probes():
    spectrum = exact(1.0)
    comparison = compare(spectrum, UniversalLaw(1.15))
    assert verdicts.product_holds(ProductPrediction(comparison=comparison), spectrum) is False
    noisy = ProductPrediction(comparison=comparison, standard_error=0.01)
    assert verdicts.product_holds(noisy, spectrum) is True
    assert verdicts.product_holds(ProductPrediction(), spectrum) == "unresolved"


def test_a_twin_may_be_as_far_as_two_matrices_of_one_law():
    one, other = exact(1.0), exact(1.0)
    assert verdicts.twin_holds(0.03, one, other)
    assert not verdicts.twin_holds(0.04, one, other)
