import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from isometry import plotting
from isometry.plotting.figures import _INK
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.spectrum import Spectrum

LAW = UniversalLaw(1.0)
P = (np.arange(400) + 0.5) / 400
IDEAL = Spectrum(LAW.icdf(P))
HALF = Spectrum(UniversalLaw(0.5).icdf(P))
OUTLIER = Spectrum(np.append(IDEAL.values, 42.0**2))
WITH_ZEROS = Spectrum(np.append(IDEAL.values, np.zeros(400)))


@pytest.fixture
def ax():
    return Figure().subplots()


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def stairs(ax):
    density, edges, _ = ax.patches[0].get_data()
    return density, 2 * np.log(edges)


def area(line):
    s, density = line.get_data()
    return np.trapezoid(density, 2 * np.log(s))


@pytest.mark.parametrize("c", [1e-3, 1.0, 12.0])
def test_the_curve_of_a_law_has_area_1_and_ends_at_its_edges(ax, c):
    law = UniversalLaw(c, 2.0)
    plotting.plot_law(ax, law)
    (line,) = ax.lines
    # Trapezoids on 257 nodes that crowd at square-root edges: about 1 / 257^2.
    assert area(line) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(line.get_xdata()[[0, -1]] ** 2, law.support(), rtol=1e-9)


def test_a_point_mass_is_a_vertical_line_at_its_singular_value(ax):
    plotting.plot_law(ax, UniversalLaw(0.0, 4.0))
    (line,) = ax.lines
    np.testing.assert_allclose(line.get_xdata(), 2)


def test_the_histogram_follows_the_law_it_was_drawn_from(ax):
    plotting.plot_spectrum(ax, IDEAL, LAW)
    density, edges = stairs(ax)
    expected = np.diff(LAW.cdf(np.exp(edges).clip(*LAW.support()))) / np.diff(edges)
    # 400 equally spaced quantiles: at most one of them falls on the wrong side of each edge.
    np.testing.assert_allclose(density, expected, atol=2 / 400 / np.diff(edges)[0])
    assert legend(ax) == ["measured", "law"]


def test_the_histogram_of_another_law_does_not(ax):
    plotting.plot_spectrum(ax, HALF, LAW)
    density, edges = stairs(ax)
    expected = np.diff(LAW.cdf(np.exp(edges).clip(*LAW.support()))) / np.diff(edges)
    assert np.abs(density - expected).max() > 4 * (2 / 400 / np.diff(edges)[0])


def test_weights_are_areas(ax):
    weights = np.where(IDEAL.values < 1, 1.5, 0.5) / 400
    plotting.plot_spectrum(ax, Spectrum(IDEAL.values, weights))
    density, edges = stairs(ax)
    below = edges[1:] <= 0
    assert (density * np.diff(edges))[below].sum() == pytest.approx(0.75, abs=0.06)


def test_zeros_lower_the_area_by_their_weight(ax):
    plotting.plot_spectrum(ax, WITH_ZEROS, LAW)
    density, edges = stairs(ax)
    assert (density * np.diff(edges)).sum() == pytest.approx(0.5)


@pytest.mark.parametrize("law", [LAW, None])
def test_an_outlier_is_marked_and_does_not_stretch_the_bins(ax, law):
    plotting.plot_spectrum(ax, OUTLIER, law)
    marks = [line for line in ax.lines if line.get_marker() == "v"]
    np.testing.assert_allclose(np.concatenate([m.get_xdata() for m in marks])[-1], 42)
    assert stairs(ax)[1][-1] < 2 * np.log(6)


def test_values_that_are_all_equal_can_be_drawn(ax):
    plotting.plot_spectrum(ax, Spectrum(np.ones(7)), UniversalLaw(0.0))
    density, edges = stairs(ax)
    assert (density * np.diff(edges)).sum() == pytest.approx(1)


def test_the_distribution_function_rises_to_1_over_the_laws(ax):
    plotting.plot_cdf(ax, WITH_ZEROS, LAW)
    of_law, measured = ax.lines
    assert measured.get_ydata()[[0, -1]] == pytest.approx([0.5 + 0.5 / 400, 1])
    np.testing.assert_allclose(LAW.cdf(of_law.get_xdata() ** 2), of_law.get_ydata(), atol=1e-9)
    assert legend(ax) == ["law", "measured"]


def test_a_collapse_draws_every_spectrum_over_one_law(ax):
    names = [f"activation {number}" for number in range(15)]
    plotting.plot_collapse(ax, dict.fromkeys(names, IDEAL), LAW)
    assert legend(ax) == ["law", *names]
    looks = {(line.get_color(), str(line.get_linestyle())) for line in ax.lines[1:]}
    assert len(looks) >= 14
    curve = ax.lines[1]
    expected = LAW.pdf(curve.get_xdata() ** 2) * curve.get_xdata() ** 2
    # The bins have about ten values, one of which may be its neighbour's, and are finite.
    np.testing.assert_allclose(curve.get_ydata(), expected, atol=0.15 * expected.max())


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plotting.plot_spectrum(ax, Spectrum(np.zeros(3)), LAW),
        lambda ax: plotting.plot_cdf(ax, Spectrum(np.zeros(3))),
        lambda ax: plotting.plot_collapse(ax, {"a": IDEAL, "b": Spectrum(np.zeros(3))}),
    ],
)
def test_a_spectrum_of_zeros_has_no_place_on_the_axis(ax, draw):
    with pytest.raises(ValueError, match="`spectrum` has only zeros"):
        draw(ax)


def test_a_collapse_of_nothing_is_refused(ax):
    with pytest.raises(ValueError, match="`spectra` is empty"):
        plotting.plot_collapse(ax, {}, LAW)


@pytest.mark.parametrize("c", [1e-4, 0.3, 1.0, 20.0])
def test_ticks_are_plain_numbers(c):
    def draw(figure):
        plotting.plot_law(figure.subplots(), UniversalLaw(c))

    root = ET.fromstring(plotting.figure_svg(draw))
    words = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    numbers = [word for word in words if word and word[0].isdigit()]
    assert len(numbers) >= 5
    assert all(float(word.replace("\N{MINUS SIGN}", "-")) >= 0 for word in numbers)


def draw_all(figure):
    for ax in figure.subplots(1, 2):
        plotting.plot_collapse(ax, {"a & <b>": OUTLIER, "b": HALF}, LAW)


def test_an_svg_is_one_element_without_date_and_takes_the_pages_ink():
    svg = plotting.figure_svg(draw_all)
    assert svg.startswith("<svg")
    assert ET.fromstring(svg).tag.endswith("svg")
    assert "currentColor" in svg
    assert _INK not in svg
    assert "a &amp; &lt;b&gt;" in svg
    assert not any(word in svg for word in ("metadata", "matplotlib", "<!--", '<g id="'))
    assert len(svg) < 60_000


def test_the_same_drawing_gives_the_same_bytes():
    assert plotting.figure_svg(draw_all) == plotting.figure_svg(draw_all)


def test_nothing_global_is_touched():
    before = dict(matplotlib.rcParams)
    plotting.figure_svg(draw_all)
    assert dict(matplotlib.rcParams) == before
    code = "import sys, isometry.plotting; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_without_matplotlib_the_import_says_what_to_install():
    code = "import sys; sys.modules['matplotlib'] = None; import isometry.plotting"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "pip install 'isometry[plot]'" in done.stderr


def test_a_part_that_is_not_resolved_is_shaded_up_to_where_it_is(ax):
    plotting.plot_spectrum(ax, Spectrum(IDEAL.values, unresolved=(0.0, 0.25)), LAW)
    assert "25% unresolved" in legend(ax)
    shade = ax.patches[-1]
    assert shade.get_x() + shade.get_width() == pytest.approx(np.sqrt(LAW.icdf(0.25)), rel=0.02)
    plotting.plot_spectrum(other := Figure().subplots(), IDEAL, LAW)
    assert not any("unresolved" in entry for entry in legend(other))


def test_what_rounding_leaves_of_a_point_is_one_column_on_an_axis_that_can_be_read(ax):
    values = 1.0 + 2e-7 * np.repeat([-1.0, 0.0, 1.0], 100)
    plotting.plot_spectrum(ax, Spectrum(values), UniversalLaw(0.0))
    density, edges = stairs(ax)
    assert np.count_nonzero(density) <= 2
    assert edges[-1] - edges[0] == pytest.approx(1.0)
