import dataclasses
import re

import pytest

from isometry.data import load_images
from isometry.experiments.demo import first_light, page

NAMES = ("relu", "tanh", "gelu")


@pytest.fixture(scope="module")
def found():
    seen = []
    result = first_light(
        load_images("digits", limit=4),
        activations=NAMES,
        width=256,
        depth=50,
        progress=seen.append,
    )
    assert len(seen) == 2 * len(NAMES)
    return result


def test_every_activation_at_equal_c_falls_on_the_law(found):
    assert found.largest_ks <= 0.02


def test_at_equal_sigma_w_they_do_not(found):
    distances = {n.activation: n.comparison.ks for n in found.equal_sigma_w}
    assert distances["relu"] > 0.08
    assert distances["gelu"] > 0.15


def test_each_follows_the_law_at_its_own_c(found):
    assert all(network.ks_own <= 0.02 for network in found.equal_sigma_w)


def test_the_measured_cumulant_is_the_predicted_one(found):
    for network in found.equal_c:
        # one input of width 256: fluctuations of a few per cent, 10 % would be a wrong theory
        assert network.c_measured == pytest.approx(network.c_predicted, rel=0.05)


def test_the_outlier_of_relu_is_reported_apart(found):
    rows = {row["activation"]: row for row in found.rows()}
    assert float(rows["relu"]["outlier s"]) > 10
    assert rows["tanh"]["outlier s"] == "-"


def test_the_page_is_self_contained(found):
    text = page(found).html()
    assert text.count("<svg") == 2
    assert not re.search(r"<(link|img|iframe)\b", text)
    assert "At c = 1 the spectra of 3 activations lie on one curve" in text


def test_a_page_of_spectra_off_the_law_says_so(found):
    other = dataclasses.replace(found, equal_c=found.equal_sigma_w)
    assert (page(other).tone, page(found).tone) == ("bad", "good")
    assert "do not all lie on one curve" in page(other).verdict
