import copy
import re

import numpy as np
import pytest
import torch
from torch import nn

from cases_models import MODELS, NOT_RESIDUAL, Residual, make, mlp, stack
from isometry.cli.load import load_input, load_model
from isometry.nn.diagnosis.diagnosis import diagnose
from isometry.nn.networks.hyper_resnet import HyperResNet
from isometry.nn.networks.resnet import ResNet
from isometry.theory.comparison import compare
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.propagation import ResNetSpec


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def net(activation="tanh", width=150, depth=20, sigma_w=1.0, seed=0):
    spec = ResNetSpec(activation=activation, depth=depth, sigma_w=sigma_w)
    return ResNet(spec, width, generator=seeded(seed))


def point(*shape):
    return torch.randn(shape, generator=seeded(1))


@pytest.fixture(scope="module")
def tanh():
    return diagnose(net(), point(1, 150), generator=seeded())


def test_the_law_of_the_blocks_is_that_of_the_spectrum(tanh):
    assert tanh.measured == "model"
    assert tanh.comparison.ks < 0.04  # 6 / N
    # Mean field says 0.968 at depth 100; one net of width 150 scatters by about sqrt(2 / N) / 2.
    assert tanh.c == pytest.approx(0.97, abs=0.15)
    assert tanh.scale == pytest.approx(1.0, abs=5 * tanh.scale_standard_error + 0.1)


def test_a_wrong_c_is_told_from_the_right_one(tanh):
    wrong = compare(tanh.spectrum, UniversalLaw(2 * tanh.c, tanh.scale))
    assert wrong.ks > 2 * tanh.comparison.ks


def test_the_report_says_what_the_numbers_mean(tanh):
    report = str(tanh)
    for part in ("c     = ", "upper edge of the bulk", "layers.19", "Near dynamical isometry"):
        assert part in report
    assert "The law describes the bulk" in report
    assert repr(tanh).startswith("Diagnosis(ResNet, c=")


def test_the_outlier_of_a_non_odd_activation_is_explained():
    d = diagnose(net("relu", width=100, depth=40), point(1, 100), generator=seeded())
    assert (
        d.outliers[-1].singular_value > 5
    )  # theory: about 12 when wide, well beyond the edge at 2.9
    assert "the mean direction of a non-odd activation" in str(d)


def test_blocks_are_given_by_keyword():
    with pytest.raises(TypeError, match="positional"):
        diagnose(net(width=8, depth=2), point(1, 8), ["0"])


def test_a_heavy_block_is_named():
    model = net(width=80, depth=10, sigma_w=0.5)
    with torch.no_grad():
        next(model.layers[7].parameters()).mul_(5.0)
    d = diagnose(model, point(1, 80), generator=seeded())
    assert re.search(r"Block `layers.7` alone carries \d\d% of c", d.findings[1])
    assert d.parameters[0].parameter.startswith("layers.7")
    assert d.parameters[0].rule == "role-scale"


def test_a_network_far_from_isometry_is_told_what_to_do():
    d = diagnose(net(width=80, sigma_w=3.0), point(1, 80), generator=seeded())
    assert d.findings[0].startswith("Far from isometry")
    assert "isometry.nn.residual_" in d.findings[0]


def test_lanczos_sees_what_the_dense_route_sees(tanh):
    d = diagnose(net(), point(1, 150), method="lanczos", num_matvecs=80, generator=seeded())
    # Eight probes at N = 150: a standard error of the cdf up to 0.02, three of these, and 6 / N.
    assert d.comparison.ks < 0.1
    assert d.c == tanh.c
    assert d.spectrum.values[-1] == pytest.approx(tanh.spectrum.values[-1], rel=1e-4)


@pytest.mark.parametrize(
    ("name", "measured"),
    [("gpt2", "trunk"), ("sequential", "trunk"), ("parallel", "model")],
)
def test_a_model_with_head_or_embedding_is_measured_on_its_trunk(name, measured):
    case = MODELS[name]
    model, x = make(case.build, case.shape)
    d = diagnose(model, x, batch_norm=case.batch_norm, generator=seeded())
    assert d.law is not None
    assert len(d.blocks) == case.blocks
    assert d.measured == measured


def test_a_model_with_batch_norm_is_called_by_its_own_name():
    case = MODELS["preactivation"]
    model, x = make(case.build, case.shape)
    d = diagnose(model, x, batch_norm="eval", num_probes=1, num_matvecs=5, generator=seeded())
    assert d.model == "Sequential"
    assert all(name in dict(model.named_parameters()) for name in (p.name for p in d.parameters))


def test_a_post_norm_stream_is_measured_and_its_law_refused_with_the_reason():
    case = MODELS["bert"]
    d = diagnose(*make(case.build, case.shape), generator=seeded())
    assert d.c is None
    assert d.comparison is None
    assert case.remark in d.reason
    assert len(d.stage_c) == 4
    assert "No prediction for the trunk" in str(d)


@pytest.mark.parametrize("name", NOT_RESIDUAL)
def test_a_model_without_residual_blocks_is_measured_and_not_predicted(name):
    build, shape, reason = NOT_RESIDUAL[name]
    d = diagnose(*make(build, shape), generator=seeded())
    assert (d.c, d.law, d.comparison, len(d.blocks)) == (None, None, None, 0)
    assert reason in d.reason
    assert d.spectrum.values[-1] > 0
    assert "median" in d.findings[0]


def test_a_zero_initialised_head_is_said_and_the_trunk_measured():
    model = nn.Sequential(stack(lambda: Residual(mlp(20, 40))), nn.Linear(20, 5))
    nn.init.zeros_(model[1].weight)
    d = diagnose(model, point(1, 20), generator=seeded())
    assert d.measured == "trunk"
    assert d.c is not None
    assert "own Jacobian is 0" in d.warnings[0]
    assert [f.parameter for f in d.parameters if f.rule == "zero"] == ["1.weight"]


def test_a_chain_with_a_zero_layer_says_that_its_jacobian_is_zero():
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 4))
    nn.init.zeros_(model[1].weight)
    d = diagnose(model, point(1, 6), generator=seeded())
    assert d.findings[0].startswith("The Jacobian is 0")
    assert "measured" in str(d)


def test_the_batch_norm_caveat_is_a_warning_of_the_report():
    model, x = make(MODELS["preactivation"].build, (2, 4, 3, 3))
    d = diagnose(model.eval(), x, batch_norm="eval", generator=seeded())
    assert "running statistics that were never updated" in d.warnings[0]


class AddOne(nn.Module):
    def forward(self, x):
        return x + 1


def with_nan():
    model = stack(lambda: Residual(mlp(8, 16)))
    with torch.no_grad():
        model[1].body[2].weight[0, 0] = torch.nan
    return model


def with_dropout():
    return stack(lambda: Residual(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1)))).train()


REFUSED = {
    "dropout": (with_dropout, point(1, 8), ValueError, r"dropout in train mode.*model.eval\(\)"),
    "integers": (AddOne, torch.zeros(1, 3, dtype=torch.long), TypeError, "embeddings"),
    "nan weights": (with_nan, point(1, 8), ValueError, "NaN or infinite weights in 'weight'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_one_sentence_with_the_remedy_and_changes_nothing(name):
    build, x, error, match = REFUSED[name]
    model, _ = make(build, (1,))
    before, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with pytest.raises(error, match=match):
        diagnose(model, x, generator=seeded())
    assert torch.equal(torch.get_rng_state(), rng)
    assert_same_state(model, before)


def assert_same_state(model, before):
    after = model.state_dict()
    assert after.keys() == before.keys()
    for key, value in before.items():
        assert torch.equal(
            after[key].flatten().view(torch.uint8), value.flatten().view(torch.uint8)
        ), key


def test_a_diagnosis_changes_nothing_in_the_model_and_no_global_state():
    model, x = make(MODELS["preactivation"].build, (2, 4, 3, 3))
    before, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    modes = [m.training for m in model.modules()]
    diagnose(model, x, batch_norm="batch", generator=seeded())
    assert_same_state(model, before)
    assert torch.equal(torch.get_rng_state(), rng)
    assert [m.training for m in model.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_same_seed_gives_the_same_diagnosis():
    one, other = (
        diagnose(net(width=30, depth=4), point(1, 30), generator=seeded()) for _ in range(2)
    )
    assert one.c == other.c
    np.testing.assert_array_equal(one.spectrum.values, other.spectrum.values)


def test_blocks_that_are_named_are_used_and_a_wrong_name_is_an_error():
    model = stack(lambda: Residual(mlp(8, 16)), 4)
    d = diagnose(model, point(1, 8), blocks=["1", "2"], generator=seeded())
    assert [b.name for b in d.blocks] == ["1", "2"]
    with pytest.raises(ValueError, match="`blocks` contains 'nine'"):
        diagnose(model, point(1, 8), blocks=["nine"])


def test_a_model_is_loaded_from_the_current_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [p for p in __import__("sys").path if p != str(tmp_path)])
    (tmp_path / "own_net_for_a_test.py").write_text(
        "import torch\n\ndef make_model():\n    return torch.nn.Linear(3, 3)\n\nlist_ = [1]\n"
    )
    assert isinstance(load_model("own_net_for_a_test:make_model"), nn.Linear)
    with pytest.raises(ValueError, match="Did you mean 'make_model'"):
        load_model("own_net_for_a_test:make_modle")
    with pytest.raises(ValueError, match="no module 'no_such_net'"):
        load_model("no_such_net:make")
    with pytest.raises(ValueError, match="expected `module:callable`"):
        load_model("own_net_for_a_test")
    with pytest.raises(TypeError, match="a list; expected a function"):
        load_model("own_net_for_a_test:list_")


def test_an_input_is_read_from_every_kind_of_file(tmp_path):
    from safetensors.torch import save_file

    x = point(2, 3)
    torch.save(x, tmp_path / "x.pt")
    np.save(tmp_path / "x.npy", x.numpy())
    save_file({"images": x}, tmp_path / "x.safetensors")
    for name in ("x.pt", "x.npy", "x.safetensors"):
        assert torch.equal(load_input(tmp_path / name), x)


def test_an_input_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected an existing file"):
        load_input(tmp_path / "none.pt")
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"ending in \.pt"):
        load_input(tmp_path / "x.png")
    (tmp_path / "x.npy").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="cannot be read"):
        load_input(tmp_path / "x.npy")
    torch.save({"a": point(1), "b": point(1)}, tmp_path / "two.pt")
    with pytest.raises(TypeError, match="holds 2 entries"):
        load_input(tmp_path / "two.pt")


def test_the_product_law_and_the_twin_stand_beside_the_law():
    model = stack(lambda: Residual(mlp(120, 120), gain=3.0), 4)
    d = diagnose(model, point(1, 120), twin=True, method="dense", generator=seeded(5))
    assert d.product_comparison.ks < 0.05  # 6 / N
    assert d.product_law_holds is True
    assert d.twin_comparison.ks < 0.1  # two matrices, 12 / N
    assert len(d.twin.values) == 120
    assert len(d.contributions) == 4
    heads = [line.split()[-4:] for line in str(d).splitlines()]
    assert ["product", "law", "twin", "measured"] in heads
    assert d.to_dict()["product_comparison"]["ks"] == d.product_comparison.ks
    assert d.rows()[0]["log range"] == d.contributions[0]
    assert diagnose(model, point(1, 120), generator=seeded(5)).twin is None


def test_blocks_that_are_not_free_are_told_by_the_product_law_and_the_twin():
    block = Residual(mlp(100, 100), gain=2.0)
    model = nn.Sequential(*[block] * 12)
    d = diagnose(model, point(1, 100), twin=True, method="dense", generator=seeded(5))
    assert d.product_law_holds is False
    assert "the blocks know each other's channels" in " ".join(d.findings)


def test_a_diagnosis_says_why_there_is_no_product_law():
    d = diagnose(stack(lambda: Residual(mlp(8, 16)), 1), point(1, 8), generator=seeded())
    assert d.product_law is None
    assert "no two residual blocks" in d.product_reason


def test_matrix_skips_have_no_c_and_are_compared_with_the_twin():
    net = HyperResNet(ResNetSpec("tanh", depth=4), 12, generator=seeded(), dtype=torch.float64)
    x = torch.randn(1, 12, generator=seeded(1), dtype=torch.float64)
    alone = diagnose(net, x, generator=seeded(2))
    assert (alone.c, alone.measured, alone.spectrum.dimension) == (None, "model", 12)
    assert "The skip of 4 of 4 blocks (first `layers.0`) is a matrix" in alone.reason
    beside = diagnose(net, x, twin=True, generator=seeded(2))
    assert (beside.c, beside.measured, beside.spectrum.dimension) == (None, "trunk", 48)
    assert beside.reason == alone.reason
    assert beside.twin_comparison.ks < 12 / 48  # each within 6/N of what both tend to
