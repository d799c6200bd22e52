import subprocess
import sys

import pytest
from matplotlib.figure import Figure

from isometry.plotting.figures import axes_or_new, plain_numbers, write_figure


def test_axes_that_are_given_are_taken_and_others_are_refused():
    ax = Figure().subplots()
    assert axes_or_new(ax) is ax
    with pytest.raises(TypeError, match="expected matplotlib axes"):
        axes_or_new("ax")  # pyright: ignore[reportArgumentType]


def test_without_axes_there_is_a_new_figure_of_pyplot_s():
    code = (
        "import matplotlib; matplotlib.use('agg')\n"
        "from matplotlib import pyplot\n"
        "from isometry.plotting.figures import axes_or_new\n"
        "assert axes_or_new(None) is not axes_or_new(None)\n"
        "assert len(pyplot.get_fignums()) == 2"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_picture_is_written_whole_or_not_at_all(tmp_path):
    def fail(ax):
        raise RuntimeError(ax)

    with pytest.raises(RuntimeError):
        write_figure(tmp_path / "a.svg", fail)
    with pytest.raises(ValueError, match="nonsense"):
        write_figure(tmp_path / "a.nonsense", lambda ax: ax.plot([1, 2]))
    assert not list(tmp_path.iterdir())
    path = write_figure(tmp_path / "a.png", lambda ax: ax.plot([1, 2]))
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("high", "wanted"), [(2.0, "1.6"), (50.0, "20"), (1e9, r"$\mathdefault{10^{8}}$")]
)
def test_few_decades_are_written_as_plain_numbers(high, wanted):
    ax = Figure().subplots()
    ax.plot([1, high], [1, 1])
    ax.set_xscale("log")
    plain_numbers(ax)
    ax.figure.draw_without_rendering()
    assert wanted in [label.get_text() for label in ax.get_xticklabels()]
