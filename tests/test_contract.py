import math

import numpy as np
import pytest
import torch

import isometry as iso
from isometry import nn as inn


def seeded():
    return torch.Generator().manual_seed(0)


def test_a_law_has_every_method_of_the_contract():
    law = iso.UniversalLaw(c=1.0, scale=1.0)
    lam, p = np.array([0.5, 1.0, 2.0]), np.array([0.1, 0.5, 0.9])
    for method in ("pdf", "logpdf", "cdf", "ccdf"):
        assert getattr(law, method)(lam).shape == (3,)
        assert np.ndim(getattr(law, method)(1.0)) == 0
        assert getattr(law, method)(np.array([])).shape == (0,)
    np.testing.assert_allclose(law.cdf(law.icdf(p)), p, rtol=1e-12)
    low, high = law.support()
    assert low * high == pytest.approx(1, rel=1e-12)
    assert law.condition_number() == pytest.approx(high, rel=1e-12)
    assert law.moment(1) == pytest.approx(law.mean()) == pytest.approx(math.e)
    assert law.variance() == pytest.approx(2 * math.e**2)
    assert law.sample((2, 3), rng=np.random.default_rng(0)).shape == (2, 3)
    assert np.imag(law.cauchy_transform(1.0 + 0.1j)) < 0
    assert law.s_transform(-0.5) == pytest.approx(1.0)
    s = law.singular_values()
    assert s.cdf(math.sqrt(2.0)) == pytest.approx(law.cdf(2.0))
    assert len(iso.UniversalLaw(c=0.0).atoms()[0]) == 1
    fitted = iso.UniversalLaw.fit(iso.Spectrum(law.icdf((np.arange(200) + 0.5) / 200)))
    assert fitted.c == pytest.approx(1.0, rel=0.01)


def test_the_theory_goes_from_an_activation_to_a_law():
    acts = [
        iso.activation("gelu"),
        iso.activation(lambda h: np.maximum(h, 0.0), breakpoints=(0.0,)),
        iso.activation(torch.nn.ELU(0.5)),
    ]
    moments = [iso.gaussian_moments(act, 1.0) for act in acts]
    assert moments[1].slope_square == pytest.approx(0.5)
    assert all(m.mean < 1 and m.square > 0 and m.slope > 0 for m in moments)
    spec = iso.ResNetSpec(activation="tanh", depth=100, sigma_w=1.0, sigma_b=0.0, skip=1.0)
    signal = iso.propagate(spec, m1=0.0, m2=1.0)
    assert {len(getattr(signal, key)) for key in ("q", "m1", "m2", "chi")} == {100}
    assert iso.effective_cumulant(spec, m1=0.0, m2=1.0) == pytest.approx(np.mean(signal.chi))
    assert iso.jacobian_law(spec).c == pytest.approx(0.9684, abs=5e-5)
    assert iso.finite_depth_law(spec).cdf(1.0) == pytest.approx(0.5, abs=0.01)
    assert len(iso.predict_outliers(spec)) == 0
    assert len(iso.predict_outliers(iso.ResNetSpec("relu", depth=100))) == 1
    solved = iso.solve_sigma_w("gelu", depth=100, c=1.0, sigma_b=0.0, skip=1.0, m1=0.0, m2=1.0)
    assert iso.effective_cumulant(iso.ResNetSpec("gelu", sigma_w=solved)) == pytest.approx(1.0)
    assert iso.cumulant_from_condition_number(21.094423247747) == pytest.approx(1.0)
    dual = iso.dual_activation("relu", q=1.0, mean=0.0)
    assert dual(1.0) == pytest.approx(dual.energy) == pytest.approx(0.5 - 0.5 / math.pi)
    assert (dual.slope(1.0), dual.mean) == pytest.approx((0.5, 1 / math.sqrt(2 * math.pi)))
    point = iso.working_point("relu", like="relu")
    assert (point.linear, point.quadratic) == pytest.approx(dual.shares(2))
    assert (point.scale, point.shift, point.slope_square) == pytest.approx((1.0, 0.0, 0.5))


def test_a_model_is_measured_diagnosed_and_initialised():
    spec = iso.ResNetSpec("relu", depth=8, sigma_w=1.0)
    net = inn.ResNet(spec, 32, generator=seeded())
    x = torch.randn(1, 32, generator=seeded())
    assert len(inn.outliers_from_forward(net, x)) <= 1
    J = inn.JacobianOperator(net, x)
    assert J.shape == (32, 32)
    dense = J.to_dense()
    torch.testing.assert_close(J @ torch.eye(32), dense)
    torch.testing.assert_close(J.T @ torch.eye(32), dense.T)
    assert J.to_scipy().shape == (32, 32)
    assert J.adjoint_gap() < 1e-4
    spectrum = inn.singular_spectrum(
        J, method="lanczos", num_probes=4, num_matvecs=32, generator=seeded()
    )
    assert spectrum.weights.sum() == pytest.approx(1)
    assert iso.compare(iso.Spectrum(np.array([0.5, 1.0, 2.0]), None), iso.UniversalLaw(1.0)).ks > 0
    assert [block.name for block in inn.residual_blocks(net, x)]
    rotated = inn.twin(net, x, rotate="channels", generator=seeded())
    assert inn.singular_spectrum(rotated).dimension == 32
    assert inn.HyperResNet(spec, 32, streams=2, generator=seeded())(x).shape == x.shape
    law = iso.ProductLaw(inn.block_spectra(inn.residual_blocks(net, x), generator=seeded()))
    assert law.cdf(law.icdf(0.5)) == pytest.approx(0.5)
    found = inn.diagnose(net, x, blocks=None, generator=seeded())
    assert found.c > 0
    assert found.scale > 0
    assert found.comparison.ks < 0.5
    assert found.product_comparison.ks < 0.5
    assert found.product_law.cdf(1e9) == 1.0
    plan = inn.plan(net, x, c=1.0, blocks=None, generator=seeded())
    assert inn.apply_(net, plan) is net
    assert inn.residual_(net, x, c=0.5, generator=seeded()) is net
    rule = inn.baselines.he(net, x, generator=seeded())
    assert isinstance(rule, inn.InitPlan)
    assert inn.gain(torch.nn.functional.relu, q=1.0) == pytest.approx(math.sqrt(2))


def test_a_network_is_built_at_a_working_point_and_gets_its_learning_rates():
    point = iso.working_point("relu", like="relu")
    torch.testing.assert_close(inn.Activation(point)(torch.ones(1)), torch.ones(1) - point.mean)
    spec = iso.ResNetSpec(point, depth=3, sigma_w=1.0)
    net = inn.ResNet(spec, 16, centre=True, signs=False, generator=seeded())
    kernels = iso.network_kernels(net.spec, [1.0])
    np.testing.assert_allclose(kernels.nngp[:, 0], kernels.signal)
    torch.optim.SGD(inn.learning_rates(net, 0.02))
    torch.optim.Adam(inn.learning_rates(net, 0.02, optimiser="adam"))


def test_results_print_and_become_dictionaries():
    found = iso.compare(iso.Spectrum(np.array([0.5, 1.0, 2.0]), None), iso.UniversalLaw(1.0))
    for result in (found, iso.gaussian_moments("relu", 1.0), iso.propagate(iso.ResNetSpec("relu"))):
        assert repr(result)
        assert result.to_dict()
        assert result._repr_html_().startswith("<table>")


def test_an_initialisation_is_linted_and_gated():
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    report = inn.lint(net, torch.ones(1, 4), recipe=None, trained=False)
    assert isinstance(report, inn.LintReport)
    assert {"parameter", "rule", "severity", "message", "remedy", "number"} <= set(
        inn.Finding("a", "fan", "note", "It is.").to_dict()
    )
    assert inn.assert_initialised(net, torch.ones(1, 4), recipe="torch default").worst() == ()
    other = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    assert isinstance(inn.compare_models(net, other, torch.ones(1, 4)), inn.ModelComparison)
    assert callable(inn.depth_check)
