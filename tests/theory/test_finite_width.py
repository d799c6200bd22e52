import math

import numpy as np
import pytest

import isometry as iso
from isometry.theory.ensembles import residual_product, squared_singular_values

N, DEPTH, DRAWS = 100, 256, 30


@pytest.fixture(scope="module")
def draws():
    """Squared singular values of products that the bands were not made from."""
    rng = np.random.default_rng(11)
    return [
        squared_singular_values(residual_product(N, DEPTH, c=1.0, rng=rng)) for _ in range(DRAWS)
    ]


def coverage(bands, draws):
    """Return the share of quantiles, of edges, and of distances to c = 1 that the bands hold."""
    ranks = np.arange(N) + 0.5
    quantiles = [np.interp(bands.probabilities, ranks / N, lam) for lam in draws]
    low, high = bands.quantiles.T
    inside = np.mean([(low < q) & (q < high) for q in quantiles])
    pairs = ((0, bands.lower_edge), (-1, bands.upper_edge))
    ends = [low < lam[at] < high for lam in draws for at, (low, high) in pairs]
    ks = [iso.compare(iso.Spectrum(lam), iso.UniversalLaw(1.0)).ks_all < bands.ks for lam in draws]
    return inside, np.mean(ends), np.mean(ks)


# 30 draws: the 95 % of a band are met within .80 and 1 by all but one seed in a thousand.
def test_bands_hold_nineteen_of_twenty_fresh_draws(draws):
    inside, ends, ks = coverage(iso.width_bands(iso.UniversalLaw(1.0), N), draws)
    assert 0.85 < inside < 1.0
    assert 0.8 < ends <= 1.0
    assert ks > 0.85


def test_bands_of_a_c_that_is_a_fifth_off_or_of_another_width_do_not(draws):
    inside, ends, _ = coverage(iso.width_bands(iso.UniversalLaw(1.2), N), draws)
    assert inside < 0.75
    assert ends < 0.75
    inside, ends, ks = coverage(iso.width_bands(iso.UniversalLaw(1.0), 4 * N), draws)
    assert inside < 0.75
    assert ends < 0.75
    assert ks < 0.5


def test_a_width_narrows_quantiles_like_one_over_n_and_edges_more_slowly():
    one, four = (iso.width_bands(iso.UniversalLaw(1.0), n) for n in (400, 1600))
    widths = [np.log(b.quantiles[:, 1] / b.quantiles[:, 0]) for b in (one, four)]
    assert widths[0] / widths[1] == pytest.approx(4 * math.sqrt(math.log(400) / math.log(1600)))
    edges = [math.log(b.upper_edge[1] / b.upper_edge[0]) for b in (one, four)]
    assert edges[0] / edges[1] == pytest.approx(4 ** (2 / 3))


def test_the_scale_of_a_law_only_shifts_them():
    plain, scaled = (iso.width_bands(iso.UniversalLaw(0.5, s), 64) for s in (1.0, 4.0))
    assert scaled.quantiles == pytest.approx(4 * plain.quantiles)
    assert scaled.upper_edge == pytest.approx([4 * end for end in plain.upper_edge])
    assert scaled.ks == plain.ks


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((iso.UniversalLaw(1.0), 8), "`dimension` is 8"),
        ((iso.UniversalLaw(100.0), 64), "`law` has c = 100; expected 0.001 to 30"),
        ((iso.FiniteDepthLaw.ginibre([0.1]), 64), "expected a UniversalLaw"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments, said):
    with pytest.raises((TypeError, ValueError), match=said):
        iso.width_bands(*arguments)
    with pytest.raises(ValueError, match="`probabilities` is"):
        iso.width_bands(iso.UniversalLaw(1.0), 64, probabilities=[0.5, 1.0])
