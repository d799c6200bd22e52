import importlib.util
import inspect
import json
import math
import sys
import types

import pytest
import torch
from torch import nn

from isometry.nn.scale.training.adapters import (
    jsonl_log,
    lightning_callback,
    tensorboard_log,
    trainer_callback,
)
from isometry.nn.scale.training.monitor import JacobianMonitor

X = torch.ones(1, 3)


def monitor(every=200, **options):
    return JacobianMonitor(every, generator=torch.Generator().manual_seed(0), **options)


def net():
    model = nn.Linear(3, 3)
    model.device = torch.device("cpu")
    return model


def test_tensorboard_gets_a_scalar_per_number():
    written = []
    writer = types.SimpleNamespace(add_scalar=lambda *args: written.append(args))
    monitor(log=[tensorboard_log(writer)])(net(), X, 0)
    assert {name for name, _, _ in written} >= {"jacobian/s_max", "jacobian/outliers"}


def test_tensorboard_s_own_writer_is_written_to(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        found = monitor(log=tensorboard_log(writer))(net(), X, 0)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert {name: read.Scalars(name)[0].value for name in read.Tags()["scalars"]} == {
        name: pytest.approx(value, rel=1e-6) for name, value in found.items()
    }


def test_a_run_s_own_log_is_called_with_numbers_and_step():
    class Run:  # as of wandb and trackio
        def log(self, data, step=None, commit=None):
            self.seen = data, step

    run = Run()
    found = monitor(log=run.log)(net(), X, 0)
    assert run.seen == (found, 0)


@pytest.mark.parametrize("package", ["wandb", "trackio"])
def test_the_packages_log_takes_numbers_then_the_step(package):
    module = pytest.importorskip(package, reason=f"{package} is not installed")
    names = [name for name in inspect.signature(module.Run.log).parameters if name != "self"]
    assert names[1] == "step"


def test_a_line_is_written_at_once_and_a_broken_one_is_ended(tmp_path):
    path = tmp_path / "runs" / "a" / "monitor.jsonl"
    log = jsonl_log(path)
    log({"c": 1.5, "s_max": math.inf}, 0)
    with open(path, "a") as stream:
        stream.write('{"step": 1, "c":')
    jsonl_log(path)({"c": 2.0}, 2)
    first, broken, last = path.read_text().splitlines()
    assert json.loads(first).items() >= {"step": 0, "c": 1.5, "s_max": "inf"}.items()
    assert broken == '{"step": 1, "c":'
    assert json.loads(last).items() >= {"step": 2, "c": 2.0}.items()
    assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("name", ["lightning.pytorch", "pytorch_lightning", None])
def test_lightning_gets_a_callback_of_its_own_class(monkeypatch, name):
    class Callback:
        pass

    for known in ("lightning.pytorch", "pytorch_lightning"):
        monkeypatch.delitem(sys.modules, known, raising=False)
    if name is not None:
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(Callback=Callback))
    logged = []
    logger = types.SimpleNamespace(log_metrics=lambda found, step: logged.append(step))
    callback = lightning_callback(monitor(10), X)
    assert isinstance(callback, Callback) == (name is not None)
    callback.on_train_start(types.SimpleNamespace(global_step=0, loggers=[logger]), net())
    for step in (0, 5, 10, 10, 20):  # two batches are accumulated for a step
        trainer = types.SimpleNamespace(global_step=step, loggers=[logger])
        callback.on_train_batch_end(trainer, net(), None, None, step)
    assert logged == [0, 10, 20]


@pytest.mark.filterwarnings("ignore")  # of what Lightning itself calls
def test_lightning_s_own_trainer_calls_it(tmp_path, monkeypatch):
    if importlib.util.find_spec("lightning") is None:
        pytest.skip("lightning is not installed")
    import lightning.pytorch as lightning
    from lightning.pytorch.loggers import CSVLogger

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(3, 3)

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, index):
            return self(batch).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    watched, logger = monitor(2), CSVLogger(tmp_path)
    trainer = lightning.Trainer(
        max_steps=4, accumulate_grad_batches=2, accelerator="cpu", logger=logger,
        callbacks=[lightning_callback(watched, X)], enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), torch.utils.data.DataLoader(torch.ones(8, 3)))
    assert [step for step, _ in watched.history] == [0, 2, 4]
    assert "jacobian/s_max" in (tmp_path / "lightning_logs/version_0/metrics.csv").read_text()


class Regression(nn.Module):
    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 3)

    def forward(self, x, labels=None):
        out = self.net(x)
        return {"loss": (out - 1).square().mean(), "out": out}


def test_the_callbacks_of_transformers_call_it_before_the_first_step_and_after_each():
    transformers = pytest.importorskip("transformers", reason="the [hf] extra is not installed")
    from transformers.trainer_callback import CallbackHandler, TrainerControl, TrainerState

    watched, state, control = monitor(2, output="out"), TrainerState(), TrainerControl()
    callback = trainer_callback(watched, X)
    assert isinstance(callback, transformers.TrainerCallback)
    handler = CallbackHandler([callback], Regression(), None, None, None)
    handler.on_train_begin(None, state, control)
    for _ in range(4):
        state.global_step += 1
        handler.on_step_end(None, state, control)
    assert [step for step, _ in watched.history] == [0, 2, 4]


def test_the_trainer_of_transformers_trains_with_it(tmp_path):
    transformers = pytest.importorskip("transformers", reason="the [hf] extra is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed, which Trainer needs")
    model, watched = Regression(), monitor(2, output="out", log=jsonl_log(tmp_path / "m.jsonl"))
    before = model.net.weight.detach().clone()
    trainer = transformers.Trainer(
        model,
        transformers.TrainingArguments(
            str(tmp_path), max_steps=4, use_cpu=True, report_to=[], disable_tqdm=True,
            gradient_accumulation_steps=2, per_device_train_batch_size=1, save_strategy="no",
        ),
        train_dataset=[{"x": torch.ones(3)}] * 8,
        callbacks=[trainer_callback(watched, X)],
    )  # fmt: skip
    trainer.train()
    assert [step for step, _ in watched.history] == [0, 2, 4]
    assert not torch.equal(model.net.weight, before)
    assert len((tmp_path / "m.jsonl").read_text().splitlines()) == 3


def test_a_trainer_callback_needs_the_class(monkeypatch):
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    with pytest.raises(ImportError, match="`import transformers` first"):
        trainer_callback(monitor(), X)
