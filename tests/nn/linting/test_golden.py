import math

import pytest
import torch
from torch import nn

from cases_lint import decoder, linted
from isometry import nn as inn
from isometry.nn.linting.golden import against_golden, golden, load_golden, save_golden


class Pair(nn.Module):
    def __init__(self, seed, scale=1.0):
        super().__init__()
        self.read, self.write = nn.Linear(768, 768, bias=False), nn.Linear(768, 768, bias=False)
        source = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.read.weight.copy_(0.02 * torch.randn(768, 768, generator=source))
            self.write.weight.copy_(scale * 0.02 * torch.randn(768, 768, generator=source))

    def forward(self, x):
        return x + self.write(torch.relu(self.read(x)))


def report(seed=0, scale=1.0):
    return inn.lint(Pair(seed, scale), torch.ones(1, 768))


def test_another_seed_passes_and_a_scale_5_percent_off_fails():
    held = golden(report())
    for seed in range(1, 6):
        assert against_golden(report(seed), held) == ()
    found = against_golden(report(1, 1.05), held)
    assert [f.parameter for f in found] == ["write.weight"]
    assert found[0].number == pytest.approx(1.05, rel=0.005)
    assert "was 0.01999 and is 0.02099, 1.05 times" in found[0].message


def test_a_deviation_of_1_percent_of_a_large_map_is_not_chance():
    assert against_golden(report(1, 1.01), golden(report())) != ()
    error = golden(report())["parts"]["write.weight"]["error"]
    assert error == pytest.approx(1 / math.sqrt(2 * 768**2), rel=0.1)


def test_what_is_not_drawn_is_compared_exactly():
    held, changed = golden(linted(decoder())), decoder(1)
    assert against_golden(linted(decoder(1)), held) == ()
    with torch.no_grad():
        changed.layers[2].norm1.weight.fill_(1.001)
        changed.layers[4].attention.frequencies.mul_(1.01)
    found = {f.parameter for f in against_golden(linted(changed), held)}
    assert found == {"layers.2.norm1.weight", "layers.4.attention.frequencies"}


def test_differences_of_structure_are_told_by_name():
    held, model = golden(linted(decoder())), decoder()
    model.head = nn.Linear(64, 11, bias=True)
    model.extra = nn.Parameter(torch.ones(2))
    said = " ".join(f.message for f in against_golden(linted(model), held))
    assert "Its shape was [10, 64] and is [11, 64]" in said
    assert "2 parameters or buffers are new: `extra`, `head.bias`" in said
    own = golden(linted(model))
    assert own["structure"] != held["structure"]
    gone = against_golden(linted(decoder()), own)
    assert "2 parameters or buffers of the golden file are gone" in gone[0].message


def test_another_distribution_of_the_same_size_fails():
    model = Pair(1)
    with torch.no_grad():
        model.read.weight.uniform_(-0.02 * 3**0.5, 0.02 * 3**0.5)
    found = against_golden(inn.lint(model, torch.ones(1, 768)), golden(report()))
    assert "were normal and are uniform" in found[0].message


def test_a_file_is_read_back(tmp_path):
    path = tmp_path / "golden.json"
    save_golden(linted(decoder()), path)
    assert load_golden(path) == golden(linted(decoder()))


def test_weights_without_values_cannot_be_remembered():
    with torch.device("meta"):
        model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="2 parameters and buffers without values; expected"):
        golden(inn.lint(model))
    with pytest.raises(ValueError, match="ReLU has no values; expected a model with weights"):
        golden(inn.lint(nn.ReLU()))


def test_entries_that_differ_by_rounding_only_have_no_standard_deviation_to_divide_by(tmp_path):
    path = tmp_path / "golden.json"
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
    with torch.no_grad():
        model[1].weight[0] = 1 + 2**-23
    report = inn.lint(model, torch.ones(1, 8))
    assert (report.summaries["1.weight"].std, report.summaries["1.weight"].constant) == (0, False)
    save_golden(report, path)
    assert against_golden(report, load_golden(path)) == ()


def test_values_that_are_not_finite_are_told_from_such_as_are():
    model = Pair(0)
    with torch.no_grad():
        model.read.weight[0, 0] = math.nan
    broken = inn.lint(model, torch.ones(1, 768))
    for old, new, said in (
        (report(), broken, "It has no finite values any more."),
        (broken, report(), "It had no finite values."),
    ):
        assert [f.message for f in against_golden(new, golden(old))] == [said]


class Noisy(nn.Module):
    """What a seed decides beside weights: a bias of one entry, and a buffer of noise."""

    def __init__(self):
        super().__init__()
        self.map, self.head = nn.Linear(16, 64), nn.Linear(64, 1)
        nn.init.xavier_uniform_(self.map.weight)
        self.register_buffer("features", torch.randn(16, 16))
        self.register_buffer("rates", 100.0 ** -torch.arange(0, 1, 1 / 16))

    def forward(self, x):
        return self.head(self.map(x @ self.features * self.rates).tanh())


def test_another_seed_decides_no_number_that_is_held():
    models = []
    for seed in range(8):
        torch.manual_seed(seed)
        models.append(Noisy())
    reports = [inn.lint(model, torch.ones(1, 16)) for model in models]
    held = golden(reports[0])
    assert [f.message for r in reports[1:] for f in against_golden(r, held)] == []
    for name, change in {"rates": 1.001, "features": 2.0}.items():
        getattr(models[0], name).mul_(change)
        found = against_golden(inn.lint(models[0], torch.ones(1, 16)), held)
        assert [f.parameter for f in found] == [name]
        getattr(models[0], name).div_(change)
    nn.init.zeros_(models[0].head.bias)
    found = against_golden(inn.lint(models[0], torch.ones(1, 16)), held)
    assert [f.parameter for f in found] == ["head.bias"]
