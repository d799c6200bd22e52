import math
import sys

import pytest
import torch

from isometry.experiments.parts.rungs import (
    RUNGS,
    TOP,
    linear_point,
    resolve,
    rung_settings,
    scheme_sigma_w,
    spec_of,
)
from isometry.nn.networks.resnet import ResNet
from isometry.theory.activations.lookup import activation
from isometry.theory.propagation import ResNetSpec, effective_cumulant, propagate


def settings_at(rung, name, c=1.0):
    shared = {"activation": name, "depth": 10, "sigma_b": 0.0}
    return shared | rung_settings(rung, name, depth=10, c=c)


@pytest.mark.parametrize(
    ("scheme", "value", "expected"), [("equal sigma_w", 0.7, 0.7), ("He", 1.0, math.sqrt(20))]
)
def test_a_scheme_gives_its_standard_deviation(scheme, value, expected):
    assert scheme_sigma_w(scheme, "relu", depth=10, value=value) == expected


def test_he_is_variance_two_over_width():
    spec = ResNetSpec("relu", depth=10, sigma_w=scheme_sigma_w("He", "relu", depth=10, value=1.0))
    weight = next(
        ResNet(spec, 200, generator=torch.Generator().manual_seed(0)).linear_maps()
    ).weight
    assert float(weight.detach().var()) == pytest.approx(2 / 200, rel=0.05)  # 40,000 entries: 0.7 %


@pytest.mark.parametrize("rung", RUNGS[2:])
@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_from_the_third_rung_on_every_activation_has_the_c(rung, name):
    spec = spec_of(settings_at(rung, name, c=0.8))
    assert effective_cumulant(spec) == pytest.approx(0.8, rel=1e-6)
    assert effective_cumulant(spec) != pytest.approx(0.88, rel=0.05)


def test_every_rung_adds_its_part():
    by_rung = {rung: settings_at(rung, "tanh") for rung in RUNGS}
    assert [s["centre"] for s in by_rung.values()] == [False] * 3 + [True] * 4
    assert [s["rate"] != 1.0 for s in by_rung.values()] == [False] * 4 + [True] * 3
    assert [s["scale"] is not None for s in by_rung.values()] == [False] * 5 + [True] * 2
    assert by_rung["+ linear share"]["shift"] == 0.0
    assert by_rung[TOP]["shift"] != 0.0
    # rates go with Var W, that is with sigma_w^2, and ReLU's at c = 1 is 1
    assert by_rung[TOP]["rate"] == pytest.approx(by_rung[TOP]["sigma_w"] ** 2 / 2)
    assert settings_at(TOP, "relu")["rate"] == pytest.approx(1.0)


def test_a_dropped_mean_would_be_seen():
    with_mean, without = (spec_of(settings_at(rung, "sigmoid")) for rung in RUNGS[2:4])
    assert abs(propagate(with_mean).m1[-1]) > 1.0
    assert propagate(without).m1[-1] == 0.0


@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_the_linear_share_is_relus(name):
    point = linear_point(activation(name))
    assert (point.linear, point.shift) == (pytest.approx(0.7334711, abs=1e-6), 0.0)


def test_what_only_tends_to_the_share_or_has_one_alone_is_taken_near():
    assert linear_point(activation("elu")).linear == pytest.approx(0.7335, abs=0.02)
    leaky = linear_point(activation("leaky_relu(0.1)"))
    assert (leaky.scale, leaky.linear) == (1.0, pytest.approx(0.804, abs=1e-3))
    with pytest.raises(ValueError, match="Leave out this rung"):
        linear_point(activation("linear"))


def test_an_activation_of_ones_own_is_found_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "own_phi.py").write_text("import torch\n\ndef phi(h):\n    return torch.tanh(h)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert resolve("own_phi:phi").name == "phi"
    assert spec_of(settings_at("equal c", "own_phi:phi")).activation.name == "phi"
    with pytest.raises(ValueError, match="cannot be imported"):
        resolve("own_phi:psi")


def test_an_unknown_scheme_or_rung_is_refused():
    with pytest.raises(ValueError, match="`scheme` is 'best'; expected one of 'equal sigma_w'"):
        scheme_sigma_w("best", "relu", depth=10, value=1.0)
    with pytest.raises(ValueError, match="`rung` is 'best'"):
        rung_settings("best", "relu", depth=10, c=1.0)
