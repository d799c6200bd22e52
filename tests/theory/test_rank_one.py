import numpy as np
import pytest

from isometry.theory.noise_chain import log_singular_value
from isometry.theory.overlaps import Entries
from isometry.theory.rank_one import of_entries, of_overlaps

rng = np.random.default_rng(0)
DEPTH, N = 6, 40
U, X = 0.5 * rng.standard_normal((2, DEPTH, N))
X = np.cumsum(X, axis=0) + 1.0
ALPHA = np.tile(rng.uniform(0.02, 0.1, DEPTH)[:, None], N)


def test_both_determinants_agree_where_all_entries_have_the_same_slope():
    entries = Entries(U, X, ALPHA)
    for mu in (1.01, 1.4, -1.2):
        sign, size = of_overlaps(entries.overlaps(), np.array([mu]))
        own = of_entries(entries, mu)
        assert (own[0], own[1]) == pytest.approx((sign[0], size[0]), rel=1e-9, abs=1e-9)
        assert own[2] == pytest.approx(log_singular_value(ALPHA[:, 0], np.array([mu]))[0])


def test_without_noise_a_root_is_a_singular_value_of_the_product_of_rank_one_updates():
    # alpha -> 0: the layers are 1 + u v^T alone, so det vanishes at the singular values themselves.
    entries = Entries(U, X, np.full((DEPTH, N), 1e-13))
    J = np.eye(N)
    for u, x in zip(U, X, strict=True):
        J = J + np.outer(u, x / (x @ x)) @ J
    s = np.linalg.svd(J, compute_uv=False)[0]
    mu = 1 + 2 / (s * s * np.array([1 - 1e-3, 1 + 1e-3]) ** 2 - 1)  # s^2 = (mu + 1)/(mu - 1)
    signs, _ = of_overlaps(entries.overlaps(), mu)
    assert signs[0] * signs[1] < 0
    signs, _ = of_overlaps(entries.overlaps(), 1 + 2 / (s * s * np.array([1.1, 1.2]) ** 2 - 1))
    assert signs[0] * signs[1] > 0


def test_a_layer_that_meets_no_signal_has_no_rank_one_term():
    entries = Entries(0 * U, 0 * X, ALPHA)
    sign, size = of_overlaps(entries.overlaps(), np.array([1.2]))
    assert (sign[0], size[0]) == (1.0, 0.0)
    assert of_entries(entries, 1.2)[:2] == (1.0, 0.0)
