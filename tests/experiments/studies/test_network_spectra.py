import numpy as np
import pytest

from cases_runs import finished, unshown
from isometry.experiments.studies.network_spectra import measure, plan, summarise, two_sample_ks

SIZE = {
    "images": ["digits"],
    "activations": ["relu", "tanh"],
    "networks": [{"width": 100, "depth": 20, "side": 0}, {"width": 4, "depth": 6, "side": 4}],
    "sigma_bs": [0.0],
    "c": 1.0,
    "seeds": 1,
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return summarise(finished(tmp_path_factory.mktemp("runs"), plan(**SIZE), measure))


def test_equal_c_follows_one_law_and_equal_sigma_w_each_its_own(found):
    assert [item.holds for item in found.hypotheses[:2]] == [True, True]
    dense = [row for row in found.numbers["networks"] if not row["side"]]
    relu = next(r for r in dense if (r["activation"], r["scheme"]) == ("relu", "equal sigma_w"))
    assert relu["c"] == pytest.approx(0.5)
    assert relu["KS at common c"] > 2 * relu["KS at own c"]


def test_spectra_are_closer_to_each_other_at_equal_c(found):
    (dense,) = [row for row in found.numbers["pairs"] if not row["side"]]
    assert dense["equal c"] < 0.7 * dense["other"]


def test_every_claim_stands_beside_what_shows_it(found):
    assert unshown(found) == []
    svg = found.readings[0].blocks[2].svg
    for name in ("fully connected, equal c", "convolutional, equal sigma_w", "relu", "tanh"):
        assert f">{name}<" in svg
    assert ">digits, convolutional<" in found.readings[1].blocks[0].svg


def test_only_the_relu_has_outliers(found):
    dense = [row for row in found.numbers["networks"] if not row["side"]]
    for row in dense:
        assert (row["largest outlier s"] is not None) == (row["activation"] == "relu")


def test_convolutions_are_measured_too(found):
    conv = [row for row in found.numbers["networks"] if row["side"]]
    assert len(conv) == 4
    assert all(row["c measured"] is None for row in conv)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [([1, 2, 3], [1, 2, 3], 0.0), ([1, 2], [3, 4], 1.0), ([1, 3], [2, 4], 0.5)],
)
def test_the_distance_of_two_samples(a, b, distance):
    assert two_sample_ks(np.array(a), np.array(b)) == distance
