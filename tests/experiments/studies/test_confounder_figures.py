import pytest

from isometry.experiments.parts.rungs import SCHEMES
from isometry.experiments.studies.confounder_figures import (
    ratio_figure,
    reach_figure,
    sweep_figure,
    time_figure,
)

LEVELS = [
    {"training loss": level, "over equal sigma_w": ratio, "over He": None}
    | {f"reached at {scheme}": 1.0 for scheme in SCHEMES}
    for level, ratio in ((2.1, 0.8), (2.0, 1.2))
]
TIMES = [
    {"activation": "relu", "equal sigma_w": 20.0, "He": None, "equal c": 30.0},
    {"activation": "tanh", "equal sigma_w": 25.0, "He": 90.0, "equal c": 35.0},
]
SWEPT = [{"activation": "relu", "c": c, "steps": steps} for c, steps in ((0.1, 50.0), (1.0, None))]


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (time_figure(TIMES, 2.1), ["relu", "tanh", *SCHEMES, "steps to loss 2.1"]),
        (ratio_figure(LEVELS), ["equal c over equal sigma_w", "equal c over He", "wanted", "2.1"]),
        (reach_figure(LEVELS), [*SCHEMES, "2.1", "2"]),
        (sweep_figure(SWEPT, 2.1), ["relu", "c", "steps to loss 2.1"]),
    ],
    ids=["times", "ratios", "reach", "sweep"],
)
def test_a_figure_names_its_curves_and_places_and_leaves_out_what_was_not_measured(figure, words):
    for word in words:
        assert f">{word}<" in figure.svg
    assert "nan" not in figure.svg.lower()
