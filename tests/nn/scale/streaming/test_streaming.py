import math

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cases_streaming import IDS, Tokens, bare, shards, whole
from isometry.nn.blocks.blocks import residual_blocks
from isometry.nn.blocks.traces import block_traces
from isometry.nn.scale.streaming.skeletons import skeleton
from isometry.nn.scale.streaming.streaming import stream


def embedded(model):
    """Return the model as a function of what its embedding gives, and that."""
    x = model.embed(IDS).detach()

    def from_there(s):
        for layer in model.layers:
            s = layer(s)
        return model.head(s)

    return from_there, x


def test_a_streamed_model_has_the_numbers_of_the_whole_one():
    report = stream(bare(), IDS, recipe="gpt2", num_probes=64)
    traces = block_traces(residual_blocks(*embedded(whole())), num_probes=64,
                          generator=torch.Generator().manual_seed(0))  # fmt: skip
    assert len(report.blocks) == len(traces) == 4
    for block, trace in zip(report.blocks, traces, strict=True):
        errors = [t.standard_error["c"] for t in (block.traces, trace)]
        assert abs(block.c - trace.c) < 5 * math.hypot(*errors)
    assert report.c == pytest.approx(sum(t.c for t in traces), rel=0.2)


def test_c_of_other_weights_would_be_told_apart():
    report = stream(bare(), IDS, recipe="gpt2", num_probes=64)
    other = stream(bare(), IDS, recipe={"roles": {"reader": {"std": 0.022}, "writer": {"std":
                   0.022, "depth": "1/sqrt(2L)"}}}, num_probes=64)  # fmt: skip
    assert abs(other.c - report.c) > 5 * math.hypot(other.c_standard_error, report.c_standard_error)


def test_drawn_weights_are_those_that_draw_gives(tmp_path):
    drawn = stream(bare(), IDS, recipe="gpt2").to_dict()
    read = stream(bare(), IDS, weights=shards(whole(), tmp_path / "w")).to_dict()
    assert read["blocks"] == drawn["blocks"]
    assert read["growth"] == drawn["growth"]


def test_the_stream_grows_as_in_the_whole_model():
    s = embedded(whole())[1]
    first, expected = s.norm(), []
    for layer in whole().layers:
        s = layer(s).detach()
        expected.append(float(s.norm() / first))
    assert [*stream(bare(), IDS, recipe="gpt2").growth.values()] == pytest.approx(expected)


class Killed(Exception):
    pass


def killed_after(count):
    def progress(done, total):
        assert total == 4
        if done == count:
            raise Killed

    return progress


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_run_that_was_killed_ends_as_without(tmp_path, count):
    expected = stream(bare(), IDS, recipe="gpt2", out=tmp_path / "whole").to_dict()
    out = tmp_path / "killed"
    with pytest.raises(Killed):
        stream(bare(), IDS, recipe="gpt2", out=out, progress=killed_after(count))
    (out / f".{count:04d}").mkdir(exist_ok=True)  # what a kill in mid-write leaves
    assert stream(bare(), IDS, recipe="gpt2", out=out).to_dict() == expected
    for number in range(4):
        for name in ("layer.json", "output.safetensors"):
            place = f"{number:04d}/{name}"
            assert (out / place).read_bytes() == (tmp_path / "whole" / place).read_bytes()


def test_finished_layers_are_not_measured_again(tmp_path, monkeypatch):
    stream(bare(), IDS, recipe="gpt2", out=tmp_path)
    calls = []
    monkeypatch.setattr(
        "isometry.nn.scale.streaming.streaming.measured", lambda *a, **k: calls.append(a)
    )
    stream(bare(), IDS, recipe="gpt2", out=tmp_path)
    assert calls == []


@pytest.mark.parametrize("changed", [{"seed": 1}, {"recipe": "bert"}, {"num_probes": 9}])
def test_the_folder_of_another_run_is_refused(tmp_path, changed):
    options = {"recipe": "gpt2", "seed": 0, "num_probes": 8}
    stream(bare(), IDS, out=tmp_path, **options)
    with pytest.raises(ValueError, match=f"holds a run of another {next(iter(changed))}"):
        stream(bare(), IDS, out=tmp_path, **options | changed)


def test_the_folder_of_another_model_or_input_is_refused(tmp_path):
    stream(bare(), IDS, out=tmp_path)
    with pytest.raises(ValueError, match="a run of another model"):
        stream(bare(depth=3), IDS, out=tmp_path)
    with pytest.raises(ValueError, match="a run of another input"):
        stream(bare(), IDS + 1, out=tmp_path)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails):
    model = bare().train()
    before = {name: (p, p.is_meta) for name, p in model.named_parameters()}
    if fails:
        with pytest.raises(Killed):
            stream(model, IDS, progress=killed_after(2))
    else:
        stream(model, IDS)
    for name, p in model.named_parameters():
        assert p is before[name][0]
        assert p.is_meta == before[name][1]
    assert all("forward" not in module.__dict__ for module in model.modules())
    assert all(module.training for module in model.modules())


def test_a_layer_that_is_unlike_the_others_is_named(tmp_path):
    model = whole("bert")
    with torch.no_grad():
        model.layers[2].up.weight *= 2
    report = stream(bare(), IDS, weights=shards(model, tmp_path / "w"))
    (found,) = [f for f in report.findings if f.rule == "role-scale"]
    assert found.parameter == "layers.2.up.weight"
    assert "role-scale" not in [f.rule for f in stream(bare(), IDS, recipe="bert").findings]


def test_weights_that_are_copies_inside_a_layer_are_found(tmp_path):
    model = whole("bert")
    with torch.no_grad():
        model.layers[1].up.weight[5] = model.layers[1].up.weight[4]
    report = stream(bare(), IDS, weights=shards(model, tmp_path / "w"))
    (found,) = [f for f in report.findings if f.rule == "duplicate-rows"]
    assert found.parameter == "layers.1.up.weight"


def test_a_layer_that_is_called_twice_is_measured_twice():
    class Twice(Tokens):
        def forward(self, ids):
            x = self.embed(ids)
            for layer in [*self.layers, *self.layers]:
                x = layer(x)
            return self.head(x)

    with skeleton():
        model = Twice(depth=2)
    report = stream(model, IDS)
    assert list(report.growth) == ["layers.0", "layers.1", "layers.0 [2]", "layers.1 [2]"]
    assert len({block.c for block in report.blocks}) == 4


def test_what_cannot_be_streamed_is_refused():
    with pytest.raises(TypeError, match="`model` is a builtin"):
        stream(torch.tanh, IDS)
    with pytest.raises(ValueError, match="without a list of layers"):
        stream(nn.Linear(3, 3), torch.ones(1, 3))
    model = bare()
    model.forward = lambda ids: ids.float()
    with pytest.raises(ValueError, match="calls none of its 4 layers"):
        stream(model, IDS)


def test_a_stream_that_is_not_finite_is_refused(tmp_path):
    model = whole()
    with torch.no_grad():
        model.layers[1].up.bias[0] = math.inf
    with pytest.raises(ValueError, match=r"layer 'layers\.1' behind which the stream is not"):
        stream(bare(), IDS, weights=shards(model, tmp_path / "w"))


def test_what_the_model_makes_constant_stays_and_what_it_draws_needs_a_law():
    class Scaled(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.scale, self.map = nn.Parameter(scale), nn.Linear(5, 5)

        def forward(self, x):
            return x + self.scale * self.map(x)

    def made(scale):
        with skeleton():
            return nn.Sequential(*(Scaled(scale()) for _ in range(3)))

    x = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    small, large = (
        stream(made(lambda v=v: torch.full((5,), v)), x).blocks[0].traces.v for v in (0.1, 1.0)
    )
    assert large == pytest.approx(100 * small, rel=1e-4)
    with pytest.raises(ValueError, match=r"says nothing of '0\.scale'"):
        stream(made(lambda: torch.randn(5)), x)


def test_read_weights_are_the_files_even_where_the_model_makes_constants(tmp_path):
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain, self.map = nn.Parameter(torch.ones(22)), nn.Linear(22, 22)
            self.batch = nn.BatchNorm1d(6)

        def forward(self, s):
            return s + self.map(self.batch(self.gain * s))

    def made():
        model = Tokens(depth=0)
        model.layers.extend(Normed() for _ in range(2))
        return model.eval()

    torch.manual_seed(0)
    model = made()
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape) / 2 + 0.5)
    (tmp_path / "w").mkdir()
    save_file(model.state_dict(), tmp_path / "w" / "a.safetensors")
    with skeleton():
        empty = made()
    assert not empty.layers[0].gain.is_meta
    s, growth = embedded(model)[1], []
    first = s.norm()
    for layer in model.layers:
        s = layer(s).detach()
        growth.append(float(s.norm() / first))
    report = stream(empty, IDS, weights=tmp_path / "w")
    assert [*report.growth.values()] == pytest.approx(growth)
    assert bool((empty.layers[0].batch.running_mean == 0).all())


def test_a_run_does_not_go_on_with_other_weights_in_the_same_folder(tmp_path):
    folder, out = shards(whole(), tmp_path / "w"), tmp_path / "out"
    stream(bare(), IDS, weights=folder, out=out)
    stream(bare(), IDS, weights=folder, out=out)
    shards(whole(seed=1), folder)
    with pytest.raises(ValueError, match="holds a run of other weights; expected the same"):
        stream(bare(), IDS, weights=folder, out=out)
