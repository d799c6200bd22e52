import math

import numpy as np
import pytest
from scipy import special

from isometry.theory.activations.definition import Activation
from isometry.theory.activations.lookup import activation
from isometry.theory.gaussian import gaussian_moments

FIELDS = ("mean", "square", "slope", "slope_square")

CLOSED = [
    ("linear", lambda q: np.ones_like(q)),
    ("relu", lambda q: 0.5 * np.ones_like(q)),
    ("leaky_relu(0.1)", lambda q: (1 + 0.01) / 2 * np.ones_like(q)),
    ("hardtanh", lambda q: special.erf(1 / np.sqrt(2 * q))),
    ("erf", lambda q: 4 / math.pi / np.sqrt(1 + 4 * q)),
    (
        "selu",
        lambda q: (
            1.0507009873554805**2
            * (0.5 + 1.6732632423543772**2 * np.exp(2 * q) * special.ndtr(-2 * np.sqrt(q)))
        ),
    ),
]


@pytest.mark.parametrize(("text", "slope_square"), CLOSED)
def test_slope_square_is_the_closed_form_of_the_theory(text, slope_square):
    q = np.array([1e-8, 1e-3, 0.1, 1.0, 10.0, 100.0])
    np.testing.assert_allclose(gaussian_moments(text, q).slope_square, slope_square(q), rtol=1e-12)


@pytest.mark.parametrize("text", ["gelu", "elu", "celu(0.3)", "selu", "erf", "leaky_relu(-2)"])
@pytest.mark.parametrize("q", [1e-8, 0.2, 0.6, 3.0, 1e8])
def test_closed_forms_agree_with_quadrature(text, q):
    act = activation(text)
    plain = Activation(act.name, act.phi, act.dphi, act.breakpoints, odd=act.odd)
    got, wanted = gaussian_moments(act, q), gaussian_moments(plain, q)
    for field in FIELDS:
        # 1e-12: rounding 1e-16 of sqrt(q) against a mean of order q at q = 1e-8
        assert getattr(got, field) == pytest.approx(getattr(wanted, field), rel=2e-12)
