import json
import math

import numpy as np
import pytest
import torch

from cases_runs import training_run, unshown
from isometry.experiments.parts.rungs import RUNGS, TOP, rung_settings, spec_of
from isometry.experiments.studies.ladder import ENDS
from isometry.experiments.studies.ladder_readings import (
    best_rates,
    cell_kernels,
    distance,
    kernels,
    late,
    losses,
)
from isometry.experiments.studies.ladder_report import summarise
from isometry.nn.networks.resnet import ResNet
from isometry.report import Figure

ACTS = ("relu", "tanh", "gelu")


def at_rates(folder, habit, top):
    """Return runs: steps to loss 1 by activation at rates .05, .1, .2, of the habit and the top."""
    folder.mkdir()
    return [
        training_run(
            folder, rung, phi, 1.0, seed, speed,
            rung=rung, readout="standardised", learning_rate=rate,
        )
        for rung, table in ((RUNGS[0], habit), (TOP, top))
        for phi, speeds in zip(ACTS, table, strict=True)
        for rate, speed in zip((0.05, 0.1, 0.2), speeds, strict=True)
        for seed in range(2 if rate == 0.1 else 1)
    ]  # fmt: skip


SPREAD = ((90, 50, 20), (40, 80, 95), (70, 60, 30))
ALIKE = ((80, 40, 30), (81, 41, 31), (80, 41, 30))


def test_the_best_rate_of_every_cell_is_taken_from_the_grid(tmp_path):
    found = best_rates(at_rates(tmp_path / "a", SPREAD, ALIKE), 1.0, 100, "ladder")
    habit, top = found.numbers["best rates"]
    assert habit["relu"] == "20 (at 0.2)"
    assert habit["tanh"] == "40 (at 0.05)"
    assert habit["spread"] == pytest.approx(np.std(np.log([20, 40, 30]), ddof=1))
    assert top["spread"] == pytest.approx(np.std(np.log([30, 31, 30]), ddof=1))
    assert [item.holds for item in found.hypotheses] == [True, True]


def test_another_best_rate_and_a_spread_that_stays_fail(tmp_path):
    found = best_rates(at_rates(tmp_path / "a", SPREAD, SPREAD), 1.0, 100, "ladder")
    assert [item.number for item in found.hypotheses] == pytest.approx([1.0, 4.0])
    assert [item.holds for item in found.hypotheses] == [False, False]


def test_other_rates_are_in_no_other_number(tmp_path):
    runs = at_rates(tmp_path / "a", SPREAD, ALIKE)
    plain = [run for run in runs if run.config.settings["learning_rate"] == 0.1]
    with_grid, without = (summarise(each, levels=[1.0], name="ladder") for each in (runs, plain))
    assert with_grid.numbers["times"] == without.numbers["times"]
    assert with_grid.numbers["levels"] == without.numbers["levels"]
    assert len(with_grid.hypotheses) == len(without.hypotheses) + 2
    assert unshown(with_grid) == []


def cell(rung, phi):
    own = rung_settings(rung, phi, depth=6, c=1.0)
    return {"activation": phi, "depth": 6, "sigma_b": 0.0, "rung": rung, **own}


def test_kernels_are_one_at_the_top_and_not_at_equal_c():
    model = cell_kernels(cell(TOP, "relu"))
    assert model[0][-1] == pytest.approx(1.0)
    assert distance(model, model) == 0.0
    assert distance(cell_kernels(cell(TOP, "tanh")), model) < 0.06  # .050 at depth 6: shares differ
    assert distance(cell_kernels(cell(RUNGS[2], "tanh")), model) > 0.3


def test_the_tangent_kernel_goes_with_the_rate():
    """The rung of equal steps changes the rate alone: one kernel stays, the other is multiplied."""
    before, after = (cell_kernels(cell(rung, "gelu")) for rung in RUNGS[3:5])
    np.testing.assert_allclose(before[0], after[0], rtol=1e-12)
    rate = cell(RUNGS[4], "gelu")["rate"]
    assert not math.isclose(rate, 1.0, rel_tol=0.1)
    np.testing.assert_allclose(after[1], rate * before[1], rtol=1e-12)


def timed(folder, speed_of):
    folder.mkdir()
    chosen = [(rung, phi, cell(rung, phi)) for rung in ENDS for phi in ACTS]
    model = cell_kernels(cell(TOP, "relu"))
    return [
        training_run(folder, rung, phi, 1.0, 0, speed_of(distance(cell_kernels(own), model)), **own)
        for rung, phi, own in chosen
    ]


def test_times_that_go_with_the_distance_pass_and_others_fail(tmp_path):
    speeds = {
        "far is slow": lambda d: 20 * (1 + d),
        "near is slow": lambda d: 20 + 40 * (0 < d < 0.3),
    }
    found = [
        kernels(timed(tmp_path / name, speed), 1.0, 100, "ladder") for name, speed in speeds.items()
    ]
    (slow,), (near,) = (reading.hypotheses for reading in found)
    assert all(isinstance(reading.blocks[0], Figure) for reading in found)
    assert slow.number == pytest.approx(1.0)
    assert slow.holds
    assert near.number < 0.7
    assert near.holds is False


def followed(folder, accuracies):
    folder.mkdir()
    runs = []
    for (rung, phi), last in accuracies.items():
        run = training_run(folder, rung, phi, 1.0, 0, 50.0, rung=rung, test_limit=100)
        records = [{"step": s, "loss": 2.0 - s / 100, "accuracy": last} for s in (0, 50, 100)]
        (run.folder / "history.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
        runs.append(run)
    return runs


def test_the_late_end_compares_test_accuracies(tmp_path):
    habit = {(RUNGS[0], "relu"): 0.4, (RUNGS[0], "tanh"): 0.5}
    near = habit | {(TOP, "relu"): 0.5, (TOP, "tanh"): 0.51}
    apart = habit | {(TOP, "relu"): 0.5, (TOP, "tanh"): 0.6}
    first, second = (
        late(followed(tmp_path / str(k), each), "ladder") for k, each in enumerate((near, apart))
    )
    assert first.hypotheses[0].number == pytest.approx(0.1)
    assert [r.hypotheses[0].holds for r in (first, second)] == [True, False]
    row = first.numbers["late"][0]
    assert (row["loss at 100"], row["test at 100"]) == (1.0, 0.4)
    assert "standard error of one accuracy is 0.05" in first.hypotheses[0].remark
    names = [block.caption.split(" from")[0] for block in first.blocks[:2]]
    assert names == ["Test accuracy", "Training loss"]  # the claim is of the first


def test_losses_are_means_over_seeds_and_a_diverged_run_leaves_none(tmp_path):
    runs = [
        training_run(tmp_path, TOP, phi, 1.0, seed, speed, rung=TOP)
        for phi, speed in (("relu", 100.0), ("tanh", 50.0))
        for seed in (0, 1)
    ]
    lines = [{"step": 0, "loss": 2.0}, {"step": 10, "loss": None}]
    (runs[-1].folder / "history.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))
    row = losses(runs, 50).numbers["losses"][0]
    assert row == {"rung": TOP, "relu": "1.5 / 1", "tanh": "- / -"}


def test_of_a_run_shorter_than_what_is_early_the_last_loss_alone_is_shown(tmp_path):
    found = losses([training_run(tmp_path, TOP, "relu", 1.0, 0, 100.0, rung=TOP)], 5000)
    (table,) = found.blocks
    assert "5000" not in table.title
    assert found.numbers["losses"][0]["relu"] == "1"


def test_the_features_kernel_is_that_of_a_wide_networks_standardised_output():
    settings = cell(RUNGS[2], "relu")  # its outputs have a mean, which standardising removes
    net = ResNet(spec_of(settings), 1000, generator=torch.Generator().manual_seed(0))
    first, other = torch.randn(2, 1000, generator=torch.Generator().manual_seed(1))
    pair = torch.stack([first, 0.5 * first + math.sqrt(0.75) * other])
    pair = torch.nn.functional.layer_norm(pair, (1000,))
    with torch.no_grad():
        out = torch.nn.functional.layer_norm(net(pair), (1000,))
    measured = float((out[0] * out[1]).mean())
    assert cell_kernels(settings)[0][4] == pytest.approx(measured, abs=0.08)  # 1/sqrt(1000) = .03
