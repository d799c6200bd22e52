import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import isometry as iso
from isometry import nn as inn
from isometry.plotting.results import (
    off_scale,
    plot_counts,
    plot_points,
    plot_powers,
    plot_spans,
    ring,
)

LAW = iso.UniversalLaw(1.0)
P = (np.arange(200) + 0.5) / 200


@pytest.fixture
def ax():
    return Figure().subplots()


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def bars(ax):
    return {c.get_label(): c.patches[0] for c in ax.containers}


def test_spans_are_the_edges_in_s_and_outliers_are_marked(ax):
    spectrum = iso.Spectrum(np.append(LAW.icdf(P), 42.0**2))
    comparison = iso.compare(spectrum, LAW)
    plot_spans(ax, comparison)
    law, measured = bars(ax)["law"], bars(ax)["measured bulk"]
    low, high = np.sqrt(LAW.support())
    assert (law.get_x(), law.get_width()) == pytest.approx((low, high - low))
    assert measured.get_x() == pytest.approx(np.sqrt(comparison.measured_edges[0]))
    assert ax.lines[0].get_xdata() == pytest.approx([42.0])
    assert sorted(legend(ax)) == ["law", "measured bulk", "outlier"]


def test_a_lower_edge_that_is_not_resolved_is_hatched(ax):
    spectrum = iso.Spectrum(LAW.icdf(P), unresolved=(0.0, 0.2))
    plot_spans(ax, iso.compare(spectrum, LAW))
    assert bars(ax)["measured bulk"].get_hatch() == "//"


def test_points_leave_out_what_a_logarithm_has_no_place_for(ax):
    plot_points(ax, {"a": [1.0, None, 0.0, 4.0], "b": [None] * 4}, across="block", up="c")
    (line,) = ax.lines
    assert line.get_xdata().tolist() == [1, 4]
    assert line.get_ydata().tolist() == [1.0, 4.0]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("block", "c", "log")
    assert legend(ax) == ["a"]


def test_powers_are_over_their_first_value(ax):
    plot_powers(ax, (2, 4, 8), {"c": ([3.0, 6.0, 12.0], 1.0)}, across="depth")
    line, _, points = ax.lines
    assert points.get_ydata().tolist() == [1.0, 2.0, 4.0]
    assert line.get_ydata() == pytest.approx([1.0, 2.0, 4.0])
    assert legend(ax) == ["c: exponent 1.00"]
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_powers(ax, (2, 4, 8), {}, across="depth")


def test_every_result_draws_itself_on_the_axes_it_is_given():
    generator = torch.Generator().manual_seed(0)
    net = inn.ResNet(iso.ResNetSpec("relu", depth=4), 24, generator=generator)
    x = torch.randn(1, 24, generator=generator)
    plan = inn.plan(net, x, c=1.0, generator=generator)
    monitor = inn.JacobianMonitor(every=1, generator=generator)
    with pytest.raises(ValueError, match="nothing has been measured yet"):
        monitor.plot(Figure().subplots())
    for step in (0, 1):
        monitor(net, x, step)
    spectrum = iso.Spectrum(LAW.icdf(P))
    for draw, shown in (
        (LAW.plot, "UniversalLaw(c=1.0, scale=1.0)"),
        (LAW.singular_values().plot, "SingularValueLaw(law=UniversalLaw(c=1.0, scale=1.0))"),
        (spectrum.plot, "measured"),
        (lambda ax: spectrum.plot(ax, law=LAW), "law"),
        (iso.compare(spectrum, LAW).plot, "measured bulk"),
        (plan.plot, "asked for"),
        (monitor.plot, "jacobian/s_max"),
    ):
        ax = Figure().subplots()
        assert draw(ax) is ax
        assert shown in legend(ax)


def test_counts_are_bars_with_their_numbers_and_no_entry_for_what_is_nowhere(ax):
    rows = {"a": {"pass": 2, "fail": 1, "open": 0}, "b": {"pass": 0, "fail": 3, "open": 0}}
    plot_counts(ax, rows)
    assert legend(ax) == ["pass", "fail"]
    assert [text.get_text() for text in ax.texts] == ["2", "", "1", "3"]
    assert [bar.get_x() for bar in ax.containers[1]] == [2, 0]


def test_rings_are_drawn_where_there_is_something_to_look_at(ax):
    ring(ax, [], [])
    assert not ax.lines
    ring(ax, [2], [0.5])
    assert legend(ax) == ["look here"]


def test_lint_draws_every_map_by_its_role_and_rings_what_it_warns_of(ax):
    torch.manual_seed(0)
    net = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(6)])
    with torch.no_grad():
        net[3].weight.mul_(30)
    inn.lint(net, torch.ones(1, 64)).plot(ax)
    rings = [line for line in ax.lines if line.get_label() == "look here"]
    assert [list(line.get_xdata()) for line in rings] == [[4]]


def test_what_a_logarithm_has_no_place_for_is_a_cross_at_the_edge(ax):
    off_scale(ax, [], "0")
    assert not ax.lines
    torch.manual_seed(0)
    net = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(6)])
    with torch.no_grad():
        net[2].weight[0, 0] = torch.nan
        net[4].weight.zero_()
    inn.lint(net, torch.ones(1, 64)).plot(ax)
    crosses = [line for line in ax.lines if line.get_label() == "0 or not finite"]
    assert [list(line.get_xdata()) for line in crosses] == [[3, 5]]
