import subprocess
import sys

import pytest
from matplotlib.figure import Figure

from isometry.plotting.figures import axes_or_new


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
