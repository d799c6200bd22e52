import dataclasses

import numpy as np
import pytest

from isometry.nn.blocks.spans import SpanningBlock
from isometry.nn.diagnosis import findings, verdicts
from isometry.nn.diagnosis.findings import Others
from isometry.nn.diagnosis.product import ProductPrediction, WhatIf
from isometry.theory.comparison import compare
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.spectra_comparison import SpectraComparison
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


def test_of_a_point_the_distance_from_it_is_said_and_no_allowance():
    said = {
        off: findings.agreement(
            compare(Spectrum(np.array([1 - off, 1.0]) ** 2), UniversalLaw(0.0)),
            Spectrum(np.array([1 - off, 1.0]) ** 2),
        )
        for off in (1e-7, 0.01)
    }
    assert said[1e-7] == (
        "All singular values of the bulk are 1, as the law has them, which is to rounding "
        "(1e-07 off at most)."
    )
    assert (
        said[0.01] == "The law, all of it at s = 1, does not describe the bulk, 0.01 off at most."
    )


def test_of_too_few_values_nothing_is_claimed():
    few = Spectrum(UniversalLaw(1.0).icdf((np.arange(6) + 0.5) / 6))
    said = findings.agreement(compare(few, UniversalLaw(1.0)), few)
    assert said.startswith("Too few values to tell whether the law describes the bulk")


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


def product(ks, standard_error=0.0):
    comparison = dataclasses.replace(compared(0.08), ks=ks)
    return ProductPrediction(comparison=comparison, standard_error=standard_error)


def compared(ks):
    law = UniversalLaw(1.0)
    spectrum = Spectrum(law.icdf((np.arange(400) + 0.5) / 400))
    return dataclasses.replace(compare(spectrum, law), ks=ks)


def twin(ks):
    spectrum = Spectrum(UniversalLaw(1.0).icdf((np.arange(400) + 0.5) / 400))
    return spectrum, SpectraComparison(ks, 1.0, 0.0)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        (Others(), "The blocks are not small and free of each other"),
        (Others(product(0.01)), "describes it, distance 0.010, allowed 0.020: the blocks are free"),
        (Others(product(0.03, 0.005)), "describes it, distance 0.030, allowed 0.035: the blocks"),
        (Others(product(0.06)), "0.060, allowed 0.020: the blocks are not free of each other. Whe"),
        (Others(product(0.06), twin(0.02)), "the spectrum is the same, distance 0.020"),
        (Others(product(0.06), twin(0.2)), "it is another one, distance 0.200: the blocks know"),
    ],
)
def test_what_describes_a_model_is_said_from_what_was_measured(others, words):
    spectrum = Spectrum(UniversalLaw(1.0).icdf((np.arange(400) + 0.5) / 400))
    said = findings.agreement(compared(0.055), spectrum, others)
    assert said.startswith("The law roughly describes the bulk")
    assert words in said


def test_a_law_that_holds_needs_no_other():
    spectrum = Spectrum(UniversalLaw(1.0).icdf((np.arange(400) + 0.5) / 400))
    said = findings.agreement(compared(0.01), spectrum, Others(product(0.06)))
    assert "product law" not in said


def test_a_stream_with_layers_between_has_the_product_law_alone():
    spectrum = Spectrum(UniversalLaw(1.0).icdf((np.arange(400) + 0.5) / 400))
    (good,) = findings.product_alone(Others(product(0.01)), spectrum)
    assert "describes the spectrum: Kolmogorov-Smirnov distance 0.010" in good
    (bad,) = findings.product_alone(Others(product(0.06), twin(0.01)), spectrum)
    assert "does not describe" in bad
    assert "not their channels" in bad
    assert findings.product_alone(Others(), spectrum) == []


def test_what_a_smaller_block_would_do_is_said():
    (said,) = findings.smaller(WhatIf("h.0", 0.31, 117.0, 17.0))
    assert "`h.0` multiplied by 0.31" in said
    assert "span a factor 17 in place of 117, by the product law" in said
    assert findings.smaller(None) == []


def test_what_chance_does_at_a_width_is_said_where_it_is_known():
    law = UniversalLaw(1.0)
    exact = Spectrum(law.icdf((np.arange(100) + 0.5) / 100))
    (said,) = findings.chance(compare(exact, law), law, positions=1, blocks=100)
    assert "at N = 100" in said
    assert "is within" in said.split(",")[0]
    wide = Spectrum(UniversalLaw(1.5).icdf((np.arange(100) + 0.5) / 100))
    (said,) = findings.chance(compare(wide, law), law, positions=1, blocks=100)
    assert "is beyond" in said
    assert "is below" in said
    assert "is above" in said
    assert findings.chance(compare(exact, law), law, positions=2, blocks=100) == []
    few = Spectrum(law.icdf((np.arange(10) + 0.5) / 10))
    assert findings.chance(compare(few, law), law, positions=1, blocks=100) == []
    assert findings.chance(compare(exact, law), law, positions=1, blocks=4) == []


def test_what_is_not_told_apart_is_no_outlier_and_no_edge():
    law = UniversalLaw(1.0)
    bulk, apart = law.icdf(LEVELS), np.geomspace(60.0, 1e4, 20)
    values = np.concatenate([bulk, apart])
    share = (len(bulk) + 10) / len(values)
    known, hidden = Spectrum(values), Spectrum(values, unresolved=(0.0, share))
    assert len(compare(known, law).outlier_lam) == 20
    (reach,) = values[hidden.above_unresolved()][:1]
    found = compare(hidden, law)
    assert len(found.outlier_lam) == 10
    assert found.outlier_lam[0] >= reach
    assert "nothing of the bulk was told apart" in headline(hidden, 1.0)
    assert "a factor 1 " not in headline(hidden, 1.0)


def test_blocks_that_hardly_act_are_not_called_large():
    spectrum = exact(1.0)
    said = findings.agreement(compared(0.055), spectrum, Others(product(0.01)))
    assert said.endswith("too few or too large for their c to say all.")


def test_quantiles_that_are_0_are_said_once_and_as_a_share():
    values = np.concatenate([np.zeros(300), exact(1.0).values])
    for zeros, words in ((300, "at least 1% are 0, median"), (0, "1 % at most 0.")):
        said = findings.unpredicted(Spectrum(values[300 - zeros :]), 0.0)[0]
        assert said.startswith(f"Singular values: {words}")
    most = np.concatenate([np.zeros(600), exact(1.0).values])
    said = findings.unpredicted(Spectrum(most), 0.0)[0]
    assert said.startswith("Singular values: at least 50% are 0, 1 % above")
