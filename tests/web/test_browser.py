"""The page in a real browser: every control, and what is wrong."""

import math
import re
import warnings

import pytest

import isometry as iso
from cases_page import c_of, choose, note, number

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


def test_it_opens_with_a_result(page):
    assert page.inner_text("#headline").startswith("c = 1: singular values from 0.2177 to 4.593")
    solved = iso.solve_sigma_w("gelu", depth=100, c=1.0)
    assert number(page, "σ_w") == pytest.approx(solved, rel=1e-3)
    assert page.locator("figure svg[role=img]").count() == 4
    assert "0.2177" in page.get_attribute("#density svg", "aria-label")


def test_every_activation_and_its_parameters_can_be_chosen(page):
    page.check("[name=mode][value=sigma]")
    choose(page, amount=1)
    for name in iso.activation_names():
        page.select_option("#activation", name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", iso.TheoryWarning)  # of jumps, of which the page warns
            expected = iso.effective_cumulant(iso.ResNetSpec(name))
        assert c_of(page) == pytest.approx(expected, rel=1e-3), name
        assert page.is_hidden("#message")
    page.select_option("#activation", "leaky_relu")
    choose(page, p_negative_slope=0.5)
    assert c_of(page) == pytest.approx(0.625)
    page.select_option("#activation", "gelu")
    page.select_option("#p-approximate", "tanh")
    spec = iso.ResNetSpec(iso.activation("gelu", approximate="tanh"))
    assert c_of(page) == pytest.approx(iso.effective_cumulant(spec), rel=1e-3)
    page.select_option("#activation", "elu")
    choose(page, p_alpha="")
    assert "alpha is NaN; expected a finite number" in page.inner_text("#message")


def test_the_network_follows_its_controls(page):
    page.select_option("#activation", "tanh")
    page.check("[name=mode][value=sigma]")
    choose(page, depth=60, width=100, skip=0.98, sigma_b=0.2, amount=1.5)
    page.click("summary")
    choose(page, m1=0.3, m2=1.2)
    spec = iso.ResNetSpec("tanh", depth=60, sigma_w=1.5, sigma_b=0.2, skip=0.98)
    assert c_of(page) == pytest.approx(iso.effective_cumulant(spec, m1=0.3, m2=1.2), rel=1e-3)
    law = iso.jacobian_law(spec, m1=0.3, m2=1.2)
    assert number(page, "Condition number s₊ / s₋") == pytest.approx(
        law.condition_number(), rel=1e-3
    )
    low, high = map(math.sqrt, law.support())
    assert number(page, "Smallest singular value s₋") == pytest.approx(low, rel=1e-3)
    assert number(page, "Largest singular value of the bulk s₊") == pytest.approx(high, rel=1e-3)
    spread = number(page, "Standard deviation of a weight, σ_w / √(N L)")
    assert spread == pytest.approx(1.5 / math.sqrt(6000), rel=1e-3)


def test_variants_of_the_network_can_be_ticked(page):
    page.select_option("#activation", "relu")
    warning = page.inner_text("#warnings")
    assert "An outlier" in warning
    least = float(re.search(r"It is at least ([\d.]+),", warning)[1])
    (outlier,) = iso.predict_outliers(iso.ResNetSpec("relu", depth=100, sigma_w=math.sqrt(2)))
    assert 0.7 * outlier < least < outlier
    page.click("summary")
    for box, argument in (("centre", "centre"), ("unit", "unit"), ("signs", "signs")):
        page.check(f"#{box}")
        assert f"{argument}=True" in page.inner_text("#python")
    assert page.inner_text("#warnings") == ""
    page.uncheck("#signs")
    assert "root of the depth" in page.inner_text("#warnings")
    page.select_option("#activation", "tanh")
    assert page.inner_text("#warnings") == ""


def test_c_or_the_condition_number_can_be_asked_for(page):
    choose(page, amount=2)
    assert c_of(page) == pytest.approx(2)
    page.check("[name=mode][value=condition]")
    assert float(page.input_value("#amount")) == pytest.approx(98.6, rel=1e-2)
    choose(page, amount=20)
    assert c_of(page) == pytest.approx(iso.cumulant_from_condition_number(20.0), rel=1e-3)
    page.check("[name=mode][value=sigma]")
    assert float(page.input_value("#amount")) == pytest.approx(number(page, "σ_w"), rel=1e-3)


def test_the_slider_moves_the_value_by_the_keyboard(page):
    page.focus("#slider")
    page.keyboard.press("ArrowRight")
    assert page.input_value("#amount") == "1.02"
    assert page.get_attribute("#slider", "aria-valuetext") == "1.02"
    assert c_of(page) == pytest.approx(1.02)


def test_a_formula_is_computed_and_a_wrong_one_explained(page):
    page.select_option("#activation", "formula")
    choose(page, formula="h * tanh(h) + 0.1 * relu(h)", amount=0.5)
    assert c_of(page) == pytest.approx(0.5)
    wrong = {
        "h +": "The formula ends; expected a number, h, a function or ( first.",
        "alert(1)": 'The formula has "alert" at character 1',
        "log(h)": "not finite at h = -1.5",
        "": "The formula is empty",
    }
    for text, sentence in wrong.items():
        choose(page, formula=text)
        assert sentence in page.inner_text("#message")
        assert page.get_attribute("#formula", "aria-invalid") == "true"
        assert c_of(page) == pytest.approx(0.5)  # the last that was right stays
    choose(page, formula="sin(h)")
    assert page.is_hidden("#message")
    assert page.get_attribute("#formula", "aria-invalid") == "false"


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("depth", "0", "The depth is 0; expected an integer from 1"),
        ("depth", "2.5", "The depth is 2.5"),
        ("width", "", "The width is no number"),
        ("skip", "0", "The skip is 0; expected a residual network"),
        ("sigma-b", "-1", "sigma_b is -1"),
        ("amount", "1e9", "The target c is 1.000e9; expected a value in"),
    ],
)
def test_a_wrong_number_is_explained(page, field, value, sentence):
    page.fill(f"#{field}", value)
    assert sentence in page.inner_text("#message")
    assert page.get_attribute("#message", "role") == "alert"


def test_curves_are_locked_compared_and_removed(page):
    page.click("#lock")
    page.select_option("#activation", "relu")
    choose(page, amount=3)
    assert "Locked" in note(page)
    assert page.locator("#curves li").count() == 2
    assert page.locator("#numbers thead th").all_inner_texts() == ["", "relu (now)", "gelu"]
    assert page.locator("#density svg path[stroke='#d55e00']").count() >= 1
    page.get_by_role("button", name=re.compile("^Remove gelu")).click()
    assert page.locator("#curves li").count() == 1
    page.click("#reset")
    assert page.input_value("#activation") == "gelu"
    assert page.input_value("#amount") == "1"


def test_the_density_is_drawn_over_log_lam_and_over_s(page):
    over_log = page.inner_html("#density svg")
    assert "density of log λ" in over_log
    page.check("[name=view][value=s]")
    assert "density in s" in page.inner_html("#density svg")
    assert page.inner_html("#density svg") != over_log


def point(page, name):
    row = page.locator("#point tr", has=page.locator(f"th:text-is('{name}')"))
    return float(row.locator("td").inner_text())


def said(page, start):
    """What is said of the working point, once it begins like this."""
    # `wait_for_function` would evaluate text in the page, which its policy refuses
    sync_api.expect(page.locator("#point-said")).to_have_text(
        re.compile(f"^{re.escape(start)}"), timeout=60_000
    )
    return page.inner_text("#point-said")


def test_the_dual_activation_is_drawn_beside_its_model(page):
    dual = iso.dual_activation("relu")
    words = page.get_attribute("#dual svg", "aria-label")
    assert f"{dual(0.5) / dual.energy:.4f} for relu" in words
    assert page.locator("#dual-curves li").count() >= 2
    page.click("#lock")
    page.select_option("#activation", "tanh")
    page.select_option("#like", "")
    assert page.locator("#dual-curves li").all_inner_texts() == [
        "tanh at the last layer, c = 1",
        "gelu at the last layer, c = 1",
    ]
    assert page.inner_text("#point-said") == ""


def test_a_working_point_is_found_and_what_is_out_of_reach_said(page):
    assert said(page, "gelu(").startswith("gelu(1.812 u + 0.1591) has the linear")
    expected = iso.working_point("gelu", like="relu")
    assert point(page, "Scale β") == pytest.approx(expected.scale, rel=1e-3)
    assert point(page, "Shift δ") == pytest.approx(expected.shift, rel=1e-3)
    assert point(page, "Linear share") == pytest.approx(expected.linear, rel=1e-3)
    assert "gelu at its working point" in page.inner_text("#dual-curves")
    assert 'iso.working_point("gelu", like="relu")' in page.inner_text("#python")
    page.select_option("#activation", "prelu")
    assert page.inner_text("#point-said") == "Searching the working point…"
    assert page.locator("#point table").count() == 0  # of another activation
    assert "never both near; expected 0.7335 and 0.2335" in said(page, "The linear share of prelu")
    assert page.get_attribute("#point-said", "class") == "error"
    page.select_option("#activation", "gelu")  # what was found is remembered
    assert page.inner_text("#point-said").startswith("gelu(1.812 u")


def test_a_search_does_not_keep_the_page_from_answering(page):
    page.select_option("#activation", "tanh")
    page.wait_for_timeout(400)  # it is under way
    choose(page, amount=3)
    assert c_of(page) == pytest.approx(3)
    assert said(page, "tanh(")
    assert c_of(page) == pytest.approx(3)
