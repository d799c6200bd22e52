"""The dual activation and the working point of the page, equal to Python's."""

import math
import warnings

import numpy as np
import pytest

import isometry as iso
from cases_web import answers, ask

INNER = [-0.84, -0.5, -0.1, 0.0, 0.2, 0.6, 0.84]  # where Python sums the series alone
RHO = [-1.0, -0.9999, -0.999, -0.97, *INNER, 0.97, 0.99, 0.999, 0.9999, 1.0]
SCALES = [(1.0, 0.0), (2.5, -0.4), (0.3, 0.7)]  # and shifts
USUAL = {
    "depth": 100, "sigmaW": 1.0, "sigmaB": 0.0, "skip": 1.0, "m1": 0.0, "m2": 1.0,
    "centre": False, "signs": False, "unit": False,
}  # fmt: skip
# A branch of points has ReLU's shares to rounding: where on it a search stops is not a number.
BRANCHES = {"relu6", "hardtanh", "softshrink"}


def quiet(act):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", iso.TheoryWarning)  # of jumps
        return iso.activation(act)


def gap(name, scale, shift, curve, rho):
    """Largest distance of a curve to Python's, over the energy."""
    dual = iso.dual_activation(quiet(name), scale**2, shift)
    return float(np.abs(np.array(curve) - dual(rho)).max() / dual.energy)


def question(name, scale, shift, rho):
    return {"kind": "dual", "name": name, "scale": scale, "shift": shift, "rho": rho}


def test_dual_activations_are_pythons_where_the_series_converges():
    cases = [(name, *at) for name in iso.activation_names() for at in SCALES]
    found = answers([question(*case, INNER) for case in cases])
    for case, curve in zip(cases, found, strict=True):
        assert gap(*case, curve, INNER) < 1e-9, case


@pytest.mark.parametrize(
    ("name", "scale", "shift", "bound"),
    [
        ("gelu", 2.5, -0.4, 1e-9),
        ("relu", 1.0, 0.0, 1e-6),
        ("leaky_relu", 0.3, 0.0, 1e-6),
        ("erf", 5.0, 0.0, 1e-6),
        ("elu", 2.5, -0.4, 1e-6),
        ("hardtanh", 1.0, 0.0, 1e-6),
        ("sign", 1.0, 0.0, 1e-3),  # of an infinite slope at the ends
    ],
)
def test_dual_activations_are_pythons_up_to_their_ends(name, scale, shift, bound):
    (curve,) = answers([question(name, scale, shift, RHO)])
    assert gap(name, scale, shift, curve, RHO) < bound


def test_the_dual_of_another_activation_is_not_pythons():
    (curve,) = answers([question("gelu", 1.0, 0.0, INNER)])
    assert gap("silu", 1.0, 0.0, curve, INNER) > 1e-3


def test_duals_of_formulas_are_pythons():
    formulas = {
        "h * tanh(h)": lambda h: h * np.tanh(h),
        "relu(h - 0.3) - 0.2*min(h, -1)": lambda h: (
            np.maximum(h - 0.3, 0) - 0.2 * np.minimum(h, -1)
        ),
    }
    asked = [
        {"kind": "dual", "formula": text, "scale": 1.0, "shift": 0.2, "rho": INNER}
        for text in formulas
    ]
    for phi, found in zip(formulas.values(), answers(asked), strict=True):
        dual = iso.dual_activation(phi, 1.0, 0.2)
        np.testing.assert_allclose(found, dual(INNER), atol=1e-6 * dual.energy)


@pytest.mark.parametrize(
    ("like", "names"),
    [("relu", ["elu", "gelu", "leaky_relu", "tanh"]), ("gelu", ["gelu", "relu", "hardsigmoid"])],
)
def test_working_points_are_pythons(like, names):
    found = answers([{"kind": "point", "name": name, "like": like} for name in names])
    for name, point in zip(names, found, strict=True):
        expected = iso.working_point(name, like=like)
        for key in ("scale", "shift", "miss", "distance", "mean", "energy"):
            # the place of a nearest point is the least well defined: half the digits
            assert point[key] == pytest.approx(getattr(expected, key), rel=1e-6, abs=1e-7), name
        assert point["slopeSquare"] == pytest.approx(expected.slope_square, rel=1e-6)
        assert point["fourthMoment"] == pytest.approx(expected.fourth_moment, rel=1e-6)


def test_a_point_on_a_branch_has_the_shares_wherever_it_is():
    found = answers([{"kind": "point", "name": name, "like": "relu"} for name in sorted(BRANCHES)])
    wanted = iso.dual_activation("relu").shares(2)
    for point in found:
        np.testing.assert_allclose(point["shares"][:2], wanted, atol=1e-6)


@pytest.mark.parametrize(("name", "like"), [("prelu", "relu"), ("linear", "gelu")])
def test_shares_out_of_reach_are_said_with_their_ranges(name, like):
    (found,) = ask([{"kind": "point", "name": name, "like": like}])
    assert found["type"] == "OutOfReach"
    with pytest.raises(ValueError, match="stays within") as error:
        iso.working_point(name, like=like)
    ranges = str(error.value).split("stays within ")[1].split("]")[0]
    assert ranges in found["error"]


def test_least_squares_are_numpys_also_where_the_columns_are_one():
    rng = np.random.default_rng(0)
    columns = rng.standard_normal((2, 8))
    target = rng.standard_normal(8)
    sets = [columns, columns[:1], np.stack([columns[0], -3 * columns[0]]), np.zeros((2, 8))]
    asked = [{"kind": "squares", "columns": a.tolist(), "target": target.tolist()} for a in sets]
    for a, found in zip(sets, answers(asked), strict=True):
        expected = np.linalg.lstsq(a.T, target, rcond=1e-8)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def steepest(spec, m1, m2):
    """The slope of |f|, from Python's signal: |J^T f / |f|| in the plane of x and the mean."""

    def size(m1, m2):
        return math.sqrt(iso.propagate(spec, m1=m1, m2=m2).m2[-1])

    step = 1e-4
    by_m1 = (size(m1 + step, m2) - size(m1 - step, m2)) / (2 * step)
    by_m2 = (size(m1, m2 + step) - size(m1, m2 - step)) / (2 * step)
    return math.sqrt(by_m1**2 + 4 * by_m1 * by_m2 * m1 + 4 * by_m2**2 * m2)


def test_the_lower_bound_of_the_outlier_is_the_slope_and_lies_below_it():
    cases = [
        ("relu", {}, (0.0, 1.0)),
        ("relu", {"sigmaB": 0.3}, (0.0, 1.0)),
        ("softplus", {}, (0.4, 1.3)),
        ("gelu", {"depth": 20, "sigmaW": 2.0}, (0.0, 1.0)),
    ]
    asked = [
        {"kind": "growth", "name": name, "spec": USUAL | own | {"m1": m1, "m2": m2}}
        for name, own, (m1, m2) in cases
    ]
    for (name, own, (m1, m2)), found in zip(cases, answers(asked), strict=True):
        used = USUAL | own
        spec = iso.ResNetSpec(
            name, depth=used["depth"], sigma_w=used["sigmaW"], sigma_b=used["sigmaB"]
        )
        assert found == pytest.approx(steepest(spec, m1, m2), rel=1e-6)
        (outlier,) = iso.predict_outliers(spec, m1=m1, m2=m2)
        assert 0.7 * outlier < found < outlier
