import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from cases_matrices import PRODUCT, operator, product, seeded, with_singular_values
from isometry.errors import AccuracyWarning
from isometry.nn.jacobian.jacobian import JacobianOperator
from isometry.nn.spectrum.method import DENSE_LIMIT
from isometry.nn.spectrum.spectrum import _unresolved_message, singular_spectrum
from isometry.theory.comparison import compare
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.spectrum import Spectrum


def lanczos(J, seed=0, **options):
    return singular_spectrum(J, "lanczos", generator=seeded(seed), **options)


def cdf_distance(one, other):
    at = np.union1d(one.values, other.values)
    return float(np.abs(one.cdf(at) - other.cdf(at)).max())


def test_dense_singular_values_are_those_of_an_svd():
    expected = np.linalg.svd(PRODUCT, compute_uv=False)[::-1] ** 2
    received = singular_spectrum(operator(PRODUCT, torch.float64))
    assert received.provenance == "dense, float64"
    np.testing.assert_allclose(received.values, expected, rtol=1e-10)


@pytest.mark.parametrize("c", [0.1, 0.5])
def test_lanczos_agrees_with_the_dense_spectrum(c):
    J = operator(product(400, 40, c))
    estimate = lanczos(J)
    # A probe's cdf has a standard error up to 0.5 * sqrt(2 / N) = 0.035, eight of them 0.013; the
    # largest of the differences along the spectrum is taken, so three of these.
    assert cdf_distance(estimate, singular_spectrum(J, "dense")) < 0.038
    assert 0.002 < np.asarray(estimate.standard_error).max() < 0.03


def test_more_probes_come_closer_to_the_law_and_a_wrong_law_does_not_fit():
    J = operator(PRODUCT)
    spectrum = lanczos(J, num_probes=64)
    assert compare(spectrum, UniversalLaw(0.5)).ks < 0.02  # 0.013 / sqrt(8) three times, and 6/N
    assert compare(spectrum, UniversalLaw(0.7)).ks > 0.03


def test_an_outlier_comes_out_alone_with_its_weight():
    edge = float(np.linalg.svd(PRODUCT, compute_uv=False)[0])
    rng = np.random.default_rng(1)
    u, v = (x / np.linalg.norm(x) for x in rng.normal(size=(2, 400)))
    J = PRODUCT + 10 * edge * np.outer(u, v)
    expected = np.linalg.svd(J, compute_uv=False)
    spectrum = lanczos(operator(J))
    assert spectrum.singular_values()[-1] == pytest.approx(expected[0], rel=1e-4)
    assert np.asarray(spectrum.weights)[-1] == pytest.approx(1 / 400, rel=1e-9)
    assert spectrum.singular_values()[-2] == pytest.approx(expected[1], rel=1e-2)
    outliers = compare(spectrum, UniversalLaw(0.5)).outlier_singular_values
    assert outliers[-1] == pytest.approx(expected[0], rel=1e-4)
    assert (outliers[:-1] < 1).all()  # the same perturbation may push one value down


def test_a_repeated_outlier_keeps_the_weight_of_its_copies():
    s = np.concatenate([np.linspace(0.9, 1.1, 298), [20.0, 20.0]])
    spectrum = lanczos(operator(with_singular_values(300, 300, s)), num_probes=16)
    top = spectrum.singular_values() > 19
    # Each probe weighs the pair by chi-squared(2)/300: a standard error of 25 % over 16 probes.
    assert np.asarray(spectrum.weights)[top].sum() == pytest.approx(2 / 300, rel=0.75)


@pytest.mark.parametrize(("n_out", "n_in"), [(400, 60), (60, 400)])
@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_a_rectangular_operator_has_the_smaller_side_of_values(n_out, n_in, method):
    s = np.linspace(0.5, 2.0, 60)
    J = operator(with_singular_values(n_out, n_in, s), torch.float64)
    spectrum = singular_spectrum(J, method, generator=seeded())
    assert spectrum.dimension == 60
    # Sixty products exhaust the space: every value is found and counts 1/60.
    np.testing.assert_allclose(spectrum.singular_values(), s, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(spectrum.weights), 1 / 60, rtol=1e-6)


def test_zero_rows_and_columns_are_known_zeros_and_what_is_left_is_resolved():
    # Half the rows off, as ReLU leaves them: 300 zeros that Lanczos would take for small values.
    s = np.linspace(0.3, 60.0, 300)
    left = np.zeros((600, 300))
    left[::2] = np.linalg.qr(np.random.default_rng(0).normal(size=(300, 300)))[0]
    J = (left * s) @ np.linalg.qr(np.random.default_rng(1).normal(size=(600, 300)))[0].T
    for matrix in (J, J.T):
        spectrum = lanczos(operator(matrix), num_matvecs=300)
        assert spectrum.cdf(0.0) == pytest.approx(0.5, abs=1e-9)
        assert spectrum.unresolved == (0.0, 0.0)
        np.testing.assert_allclose(
            spectrum.icdf([0.5 + 1e-3, 1.0]), [s[0] ** 2, s[-1] ** 2], rtol=1e-3
        )


def test_zeros_that_are_known_are_told_from_those_that_are_unresolved():
    s = np.concatenate([np.zeros(100), np.linspace(0.3, 60.0, 200)])
    J = np.zeros((600, 600))
    J[:300, :] = with_singular_values(300, 600, s)
    with pytest.warns(AccuracyWarning, match="is unresolved. Pass `method='dense'`"):
        spectrum = lanczos(operator(J))
    low, high = spectrum.unresolved
    assert low == pytest.approx(0.5)
    assert high > 0.5 + 100 / 600  # the hundred zeros that no empty row shows
    assert spectrum.cdf(0.0) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="unresolved"):
        spectrum.icdf(0.6)


def test_products_go_on_until_the_spectrum_is_resolved():
    few, many = (operator(product(500, 20, c)) for c in (0.1, 2.0))
    assert "40 products" in lanczos(few).provenance
    assert "135 products" in lanczos(many).provenance
    assert lanczos(many).unresolved == (0.0, 0.0)


def test_what_is_left_to_choose_fits_the_memory():
    J = operator(PRODUCT)
    spectrum = lanczos(J, max_basis_bytes=8 * 50 * 400 * 4)
    assert "40 products" in spectrum.provenance


def test_an_orthogonal_operator_ends_after_one_step_without_nan():
    J = np.linalg.qr(np.random.default_rng(0).normal(size=(200, 200)))[0]
    spectrum = lanczos(operator(J))
    np.testing.assert_allclose(spectrum.values, 1.0, rtol=1e-5)


def test_a_loss_of_rank_is_an_atom_at_zero():
    s = np.concatenate([np.zeros(150), np.linspace(0.8, 1.2, 150)])
    spectrum = lanczos(operator(with_singular_values(300, 300, s), torch.float64))
    # The standard error of the atom is sqrt(2 / 300) / 2 / sqrt(8) = 0.014; five of them.
    assert spectrum.cdf([0.3])[0] == pytest.approx(0.5, abs=0.07)
    assert spectrum.values[spectrum.values > 0].min() > 0.7**2


def test_an_operator_that_is_zero_gives_zeros():
    for method in ("dense", "lanczos"):
        assert singular_spectrum(operator(np.zeros((5, 7))), method).values.max() == 0


def test_the_spectrum_of_a_multiple_is_scaled_and_of_the_transpose_the_same():
    J = operator(PRODUCT, torch.float64)
    scaled = lanczos(operator(3 * PRODUCT, torch.float64))
    np.testing.assert_allclose(scaled.values, 9 * lanczos(J).values, rtol=1e-6)
    assert cdf_distance(lanczos(J.T), lanczos(J)) < 0.06  # two estimates, each within 0.038


def test_the_same_seed_gives_the_same_numbers_and_the_global_state_stays():
    J, before = operator(PRODUCT), torch.get_rng_state()
    np.testing.assert_array_equal(lanczos(J).values, lanczos(J).values)
    assert not np.array_equal(lanczos(J).values, lanczos(J, seed=1).values)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_reorthogonalisation_the_density_is_the_same():
    J = operator(PRODUCT)
    one, other = (lanczos(J, num_matvecs=40, reorthogonalise=flag) for flag in (True, False))
    assert cdf_distance(one, other) < 0.01  # an outlier node of weight 1/400 may differ or two


def test_progress_is_told_after_every_pair_of_products():
    told = []
    J = operator(PRODUCT)
    lanczos(
        J, num_matvecs=30, num_probes=2, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(done, 60) for done in range(2, 61, 2)]


def test_progress_is_told_while_a_matrix_is_written_out():
    told = []
    J = JacobianOperator(torch.nn.Linear(1500, 1500), torch.zeros(1500))
    progress = lambda done, total: told.append((done, total))  # noqa: E731
    singular_spectrum(J, "dense", progress=progress)
    assert told[-1] == (1500, 1500)
    assert len(told) > 1
    before = len(told)
    J.to_dense()  # nobody waits for this one
    assert len(told) == before


def test_too_few_products_are_warned_about():
    with pytest.warns(AccuracyWarning, match=r"not told apart by 15 products.*num_matvecs="):
        lanczos(operator(product(400, 20, 4.0)), num_matvecs=15)


CALLS = {
    "eight bits": (
        lambda J: singular_spectrum(operator(PRODUCT, torch.float8_e5m2)),
        TypeError,
        "float8_e5m2",
    ),
    "method": (lambda J: singular_spectrum(J, "lancsoz"), ValueError, "mean 'lanczos'"),
    "empty": (lambda J: singular_spectrum(operator(np.ones((0, 3)))), ValueError, "at least one"),
    "probes": (lambda J: lanczos(J, num_probes=0), ValueError, "`num_probes` is 0"),
    "no probes": (lambda J: lanczos(J, num_probes=None), TypeError, "`num_probes` is None"),
    "no products": (lambda J: lanczos(J, num_matvecs=None), TypeError, "`num_matvecs` is None"),
    "products": (lambda J: lanczos(J, num_matvecs=0), ValueError, "`num_matvecs` is 0"),
    "memory": (lambda J: lanczos(J, max_basis_bytes=1000), ValueError, "Lower `num_probes`"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_bad_call_is_refused_in_one_sentence(name):
    call, error, match = CALLS[name]
    with pytest.raises(error, match=match):
        call(operator(PRODUCT))


@pytest.mark.parametrize("method", ["dense", "lanczos"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_products_that_are_not_finite_are_refused(method, bad):
    J = np.eye(30)
    J[3, 4] = bad
    with pytest.raises(ValueError, match="not finite"):
        singular_spectrum(operator(J), method)


def test_a_measured_spectrum_is_a_spectrum():
    assert isinstance(lanczos(operator(PRODUCT)), Spectrum)


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_a_model_sharded_over_two_processes_has_the_same_spectrum():
    tests = pathlib.Path(__file__).parents[2]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"PYTHONPATH": str(tests), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, str(tests / "fsdp_spectrum.py")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=240,
        check=False,
    )
    assert done.stdout.count("same spectrum") == 2, done.stderr[-2000:]


@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_a_rank_that_the_recording_shows_is_zeros_that_are_known(method):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [torch.nn.Linear(400, 300), torch.nn.ReLU(), torch.nn.Linear(300, 400)]
        model = torch.nn.Sequential(*layers).requires_grad_(False)
        x = torch.randn(400)
    on = int((layers[0](x) > 0).sum())
    exact = torch.linalg.svdvals(layers[2].weight @ torch.diag((layers[0](x) > 0).float())
                                 @ layers[0].weight)[:on]  # fmt: skip
    J = JacobianOperator(model, x)
    spectrum = singular_spectrum(J, method, generator=seeded(0))
    assert spectrum.dimension == 400
    assert spectrum.unresolved == (0.0, 0.0)
    zeros = float(spectrum.weights[spectrum.values == 0].sum())
    assert zeros == pytest.approx(1 - on / 400, abs=1e-12)
    median = spectrum.icdf(1 - on / 800)  # of those above zero
    assert median == pytest.approx(float(exact.median()) ** 2, rel=0.1)


@pytest.mark.parametrize(("size", "dense"), [(2 * DENSE_LIMIT, True), (2 * DENSE_LIMIT + 1, False)])
def test_a_dense_run_is_advised_only_where_it_can_be_afforded(size, dense):
    values = np.linspace(1.0, 2.0, size)
    said = _unresolved_message(Spectrum(values, unresolved=(0.0, 0.5)), 40)
    assert "Pass `" in said
    assert ("method='dense'" in said) is dense
