import numpy as np
import pytest

from isometry.nn.blocks.spans import SpanningBlock
from isometry.nn.diagnosis import findings, verdicts
from isometry.theory.comparison import compare
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.spectrum import Spectrum

LEVELS = (np.arange(400) + 0.5) / 400


def headline(spectrum, c):
    law = UniversalLaw(c)
    measured = verdicts.span(spectrum, compare(spectrum, law))
    return findings.level(verdicts.isometric(measured, law), measured, law)


def exact(c, **options):
    return Spectrum(UniversalLaw(c).icdf(LEVELS), **options)


def test_the_first_line_is_about_what_was_measured():
    assert headline(exact(1.0), 1.0).startswith("Near dynamical isometry: the singular values of")
    assert headline(exact(2.2), 2.2).startswith("Some way from isometry")
    assert "isometry.nn.residual_" in headline(exact(4.0), 4.0)
    assert headline(exact(1e-4), 1e-4).startswith("Almost the identity map")


@pytest.mark.parametrize("c", [1e-4, 0.01, 0.3])
def test_no_nearness_is_said_beside_a_condition_number_ten_times_the_laws(c):
    line = headline(exact(4.0), c)  # spans a factor 1,000
    assert line.startswith("Far from isometry")
    assert "explains only a part" in line
    assert "residual_" not in line  # a smaller c would not mend what c does not explain


def test_an_unresolved_part_is_named_and_nothing_is_said_of_it():
    spectrum = exact(1.0, unresolved=(0.0, 0.3))
    found = compare(spectrum, UniversalLaw(1.0))
    line = headline(spectrum, 1.0)
    assert line.startswith("Isometry is unresolved")
    assert "at least" in line
    (said,) = findings.unresolved(spectrum)
    assert said.startswith("30% of the singular values are unresolved: they lie below about")
    assert "what is resolved of the bulk" in findings.agreement(found, spectrum)


def test_a_description_without_a_law_leaves_unresolved_levels_out():
    sentences = findings.unpredicted(exact(1.0, unresolved=(0.0, 0.6)), 0.0)
    assert sentences[0].startswith("Singular values: 1 % above")
    assert "median" not in " ".join(sentences)
    assert "median" in findings.unpredicted(exact(1.0, unresolved=(0.0, 0.4)), 0.0)[0]


def test_zeros_are_counted_and_said_to_be_the_least_where_some_are_unresolved():
    values = np.concatenate([np.zeros(100), exact(1.0).values[:300]])
    known = findings.vanishing(Spectrum(values), "float32")[0]
    assert known.startswith("25.00% of the singular values are 0")
    least = findings.vanishing(Spectrum(values, unresolved=(0.25, 0.5)), "float32")[0]
    assert least.startswith("At least 25.00%")
    assert findings.vanishing(exact(1.0), "float32") == []


def test_a_distance_three_times_the_allowed_does_not_describe():
    words = {}
    for c in (1.0, 1.25, 2.0):
        spectrum = exact(1.0)
        words[c] = findings.agreement(compare(spectrum, UniversalLaw(c)), spectrum)
    assert words[1.0].startswith("The law describes the bulk")
    assert words[1.25].startswith("The law roughly describes")
    assert words[2.0].startswith("The law does not describe")


def test_outliers_are_counted_on_both_sides():
    values = np.concatenate([[1e-4], exact(1.0).values, [4e4]])
    above, below = findings.outliers(compare(Spectrum(values), UniversalLaw(1.0)), ": why")
    assert above.startswith("One outlier at s = 200 = ")
    assert above.endswith("edges: why.")
    assert below.startswith("One singular value below the bulk, the smallest at s = 0.01")


def test_names_of_a_block_that_spans_additions_keep_their_letters():
    (text,) = findings.spanning([SpanningBlock("Trunk.H", ("A.B",))])
    assert text == (
        "Block `Trunk.H` spans 1 more residual addition (`A.B`): they are measured as one block."
    )
