import errno
import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from isometry.experiments.engine import storage
from isometry.experiments.parts.training import Training, accuracy_meter, steps_to, train


def problem():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=generator)
    y = (x[:, 0] > 0).long()
    model = nn.Linear(6, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    return model, x, y


def run(training, folder=None, observe=None):
    model, x, y = problem()

    def measure(step):
        with torch.no_grad():
            return float(nn.functional.cross_entropy(model(x), y))

    history = train(model, x, y, training, measure=measure, observe=observe, folder=folder)
    return history, {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_training_lowers_the_loss_and_records_it():
    history, _ = run(Training(25, batch=32, learning_rate=0.5))
    assert [record["step"] for record in history] == [0, 10, 20, 25]
    assert history[-1]["loss"] < history[0]["loss"] / 2


def test_a_seed_gives_the_same_bits_and_another_one_does_not():
    first, second, other = (run(Training(10, seed=seed)) for seed in (0, 0, 1))
    assert first[0] == second[0]
    assert same(first[1], second[1])
    assert not same(first[1], other[1])


def test_the_loop_is_plain_stochastic_gradient_descent():
    training = Training(6, batch=16, learning_rate=0.2, seed=3)
    model, x, y = problem()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.2)
    import numpy as np

    for step in range(6):
        index = torch.from_numpy(np.random.default_rng([3, step]).integers(200, size=16))
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x[index]), y[index]).backward()
        optimiser.step()
    assert same(run(training)[1], model.state_dict())


@pytest.mark.parametrize("stop", [4, 7, 11])
def test_a_resumed_training_has_the_bits_of_an_uninterrupted_one(tmp_path, stop):
    training = Training(12, evaluate_every=3, checkpoint_every=4)

    def interrupt(step):
        if step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(training, tmp_path, interrupt)
    steps = []
    history, state = run(training, tmp_path, steps.append)
    expected, expected_state = run(training)
    assert steps[0] == (stop - 1) // 4 * 4  # the checkpoint follows the observation of its step
    assert json.dumps(history) == json.dumps(expected)
    assert same(state, expected_state)


def test_divergence_is_a_result():
    history, _ = run(Training(200, learning_rate=1e6, evaluate_every=1))
    assert history[-1]["loss"] is None
    assert history[-1]["step"] < 200
    assert all(record["loss"] is not None for record in history[:-1])


def test_a_start_that_is_not_finite_is_divergence():
    model, x, y = problem()
    history = train(model, x, y, Training(5), measure=lambda step: float("nan"))
    assert history == [{"step": 0, "loss": None}]


@pytest.mark.parametrize(
    ("level", "step"), [(3.0, 0.0), (2.0, 0.0), (1.5, 5.0), (1.0, 10.0), (0.9, None)]
)
def test_the_time_to_a_loss_is_interpolated(level, step):
    history = [{"step": 0, "loss": 2.0}, {"step": 10, "loss": 1.0}, {"step": 20, "loss": None}]
    assert steps_to(history, level) == step


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"steps": 0}, ValueError, "`steps` is 0; expected an integer >= 1"),
        ({"steps": 1, "learning_rate": 0.0}, ValueError, "`learning_rate` is 0.0; expected"),
        ({"steps": 1, "seed": -1}, ValueError, "`seed` is -1; expected"),
    ],
)
def test_wrong_settings_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        Training(**arguments)


def test_a_checkpoint_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"`out` is .*cannot be written"):
        run(Training(5, checkpoint_every=2), tmp_path / "file" / "below")


def damaged_checkpoint(folder, damage):
    folder.mkdir()
    damage(folder / "checkpoint.safetensors")


def half_of_one(path):
    run(Training(4, checkpoint_every=2), path.parent)
    path.write_bytes(path.read_bytes()[:-20])


def flipped(path):
    run(Training(4, checkpoint_every=2), path.parent)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def of_another_model(path):
    torch.manual_seed(0)
    model, x, y = torch.nn.Linear(3, 10), torch.randn(8, 3), torch.zeros(8, dtype=torch.int64)
    train(model, x, y, Training(4, checkpoint_every=2), measure=lambda _: 1.0, folder=path.parent)


@pytest.mark.parametrize(
    "damage",
    [
        half_of_one,
        flipped,
        of_another_model,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("words"),
        lambda path: path.mkdir(),
        lambda path: save_file({"weight": torch.ones(2)}, path),
    ],
)
def test_a_damaged_checkpoint_is_named_and_training_starts_anew(tmp_path, damage):
    damaged_checkpoint(tmp_path / "draft", damage)
    training = Training(6, checkpoint_every=2)
    with pytest.warns(UserWarning, match=r"checkpoint.safetensors is no checkpoint of this run"):
        history, state = run(training, tmp_path / "draft")
    expected, expected_state = run(training)
    assert history == expected
    assert same(state, expected_state)


def test_a_checkpoint_without_room_is_the_sentence_about_the_folder(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(OSError, match=r"`out` is .*No space left on device.*make room"):
        run(Training(5, checkpoint_every=2), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_rates_are_factors_by_the_beginning_of_a_name():
    model, x, y = problem()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def measure(step):
        return 1.0

    train(model, x, y, Training(3, batch=16), measure=measure, rates={"weight": 0.0})
    assert torch.equal(model.weight, before["weight"])
    assert not torch.equal(model.bias, before["bias"])


def test_further_entries_are_recorded_and_come_back_after_an_interruption(tmp_path):
    def trained(folder, observe=None):
        model, x, y = problem()
        return train(
            model, x, y, Training(30, batch=16, checkpoint_every=10),
            measure=lambda step: 1.0, also=accuracy_meter(model, x, y),
            observe=observe, folder=folder,
        )  # fmt: skip

    def stop(step):
        if step == 25:
            raise KeyboardInterrupt

    whole = trained(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "b", stop)
    assert trained(tmp_path / "b") == whole
    assert all(0.0 <= record["accuracy"] <= 1.0 for record in whole)
    assert whole[-1]["accuracy"] != whole[0]["accuracy"]


def test_accuracy_is_the_fraction_of_right_classes():
    x = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [0.0, 5.0]])
    right = accuracy_meter(nn.Identity(), x, torch.tensor([0, 1, 1, 1]))
    assert right() == {"accuracy": 0.75}
