# pyright: strict
"""Calls that a type checker accepts, and that work: pyright reads this file in `make check`."""

import numpy as np

import isometry as iso


def test_numbers_of_any_type_are_numbers():
    for given in (1, 1.0, np.float64(1), np.float32(1), np.int64(1)):
        assert iso.UniversalLaw(given).c == 1.0
    law = iso.UniversalLaw(c=np.mean(np.ones(3)), scale=2)
    c: float = law.c
    assert c == 1.0
    assert iso.ResNetSpec("gelu", depth=np.int64(3)).depth == 3
    assert law.moment(np.float32(1.0), method="quadrature") > 0


def test_arrays_and_lists_are_arrays():
    law = iso.UniversalLaw(1.0)
    for lam in (
        1.0,
        [0.5, 1.0],
        (0.5, 1),
        np.ones(3),
        np.ones(3, dtype=np.float32),
        [[1.0], [2.0]],
    ):
        assert np.all(np.asarray(law.cdf(lam)) > 0)
    spectrum = iso.Spectrum([0.5, 1.0, 2.0], weights=[0.25, 0.25, 0.5], dimension=3)
    values: np.ndarray = spectrum.values
    assert values.shape == (3,)
    assert iso.compare(spectrum, law).ks < 1
    assert iso.FiniteDepthLaw([[0.1, 0.2]], [0.5, 0.5]).d.shape == (1, 2)
    assert iso.FiniteDepthLaw.ginibre([0.2, 0.2], skip=np.float32(1)).skip == 1.0


def test_an_activation_is_a_name_a_callable_or_an_activation():
    for act in ("relu", "elu(alpha=0.5)", np.tanh, iso.activation("gelu")):
        number: float = iso.gaussian_moments(act, 1.0).mean
        assert np.isfinite(number)
    slopes: np.ndarray = iso.gaussian_moments("relu", np.ones(2)).slope
    assert slopes.shape == (2,)
    assert iso.activation(np.tanh, breakpoints=[0.0]).breakpoints == (0.0,)
    assert iso.activation("leaky_relu", negative_slope=0.1).parameters["negative_slope"] == 0.1
    assert iso.solve_sigma_w("gelu", depth=10, c=1, m2=np.float32(1.0)) > 0
