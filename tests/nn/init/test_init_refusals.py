import pytest
import torch
from torch import nn

from cases_models import MODELS, make
from cases_modules import Gate, LayerScale, Residual, mlp, stack
from isometry.nn.init.init import apply_, plan, residual_
from isometry.nn.networks.resnet import ConvResNet, ResNet
from isometry.theory.propagation import ResNetSpec


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def points(*shape):
    return torch.randn(*shape, generator=seeded())


def built(layer, depth=2):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return stack(layer, depth)


def branches():
    return built(lambda: Residual(mlp(8, 16)))


class Skew(nn.Module):
    """x + a (W - W^T) x: J is orthogonal to first order at any scale."""

    def __init__(self):
        super().__init__()
        self.weight, self.gain = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x + self.gain * (x @ (self.weight - self.weight.T))


class Drift(nn.Module):
    """x + W x with W close to the identity."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(8) + 0.01 * torch.randn(8, 8))

    def forward(self, x):
        return x + x @ self.weight


class Normed(nn.Module):
    """A normalisation without a weight undoes the scale of the linear map."""

    def __init__(self):
        super().__init__()
        self.map, self.norm = nn.Linear(8, 8, bias=False), nn.LayerNorm(8, elementwise_affine=False)

    def forward(self, x):
        return x + self.norm(self.map(x))


class NoWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.ones(8))

    def forward(self, x):
        return x + torch.tanh(x + self.shift)


def nan():
    model = branches()
    model[1].body[0].weight.detach()[0, 0] = float("nan")
    return model


def spectral():
    return built(lambda: Residual(nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))))


def zero():
    model = branches()
    nn.init.zeros_(model[1].body[2].weight)
    return model


BATCH_NORM = MODELS["preactivation"]
BAD = {
    "c zero": (branches, {"c": 0}, ValueError, "`c` is 0.0; expected a finite number > 0"),
    "c negative": (branches, {"c": -1.0}, ValueError, "`c` is -1.0"),
    "c text": (branches, {"c": "1"}, TypeError, "`c` is '1'"),
    "kappa": (branches, {"condition_number": 1.0}, ValueError, "`condition_number` is 1.0"),
    "both": (branches, {"c": 1.0, "condition_number": 2.0}, ValueError, "expected one of them"),
    "rtol": (branches, {"rtol": 0}, ValueError, "`rtol` is 0"),
    "scheme": (branches, {"scheme": "ortogonal"}, ValueError, "Did you mean 'orthogonal'"),
    "method": (branches, {"method": "magic"}, ValueError, "expected 'theory', 'data' or None"),
    "theory": (branches, {"method": "theory"}, NotImplementedError, "the model is a Sequential"),
    "shares": (branches, {"shares": [1.0]}, ValueError, "has 1 entries; expected one for each of"),
    "share zero": (branches, {"shares": [1.0, 0.0]}, ValueError, "`shares` is 0.0"),
    "blocks": (branches, {"blocks": ["7"]}, ValueError, "'7', which the model does not call"),
    "no block": (lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU()), {}, ValueError, "no residual"),
    "no linear map": (lambda: built(NoWeights), {}, ValueError, "no linear map or gain"),
    "drift": (lambda: built(Drift), {"c": 4.0}, ValueError, "branch drifts along the skip"),
    "skew": (lambda: built(Skew), {}, ValueError, "0 or skew-symmetric"),
    "normalised": (lambda: built(Normed), {"c": 8.0}, ValueError, "a norm behind '0.map.weight'"),
    "nan": (nan, {}, ValueError, "NaN or infinite weights in 'weight' of layer '1.body.0'"),
    "spectral": (spectral, {}, ValueError, "by `SpectralNorm`, which keeps its size"),
    "zero map": (zero, {}, ValueError, "'1.body.2.weight' at 0 .* Pass `redraw=True`"),
    "rezero": (lambda: built(lambda: Gate(mlp(8, 8), 0.0)), {}, ValueError, "'0.alpha' at 0"),
    "dropout": (
        lambda: built(lambda: Residual(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)))),
        {}, ValueError, "dropout in train mode",
    ),
    "sign": (
        lambda: ResNet(ResNetSpec("sign", depth=2), 8, generator=seeded()), {}, ValueError,
        r"expected a value in \[0, 0\]",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")
@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_done_is_refused_and_the_model_stays_bitwise(case):
    build, options, error, match = BAD[case]
    model = build()
    parameters = list(model.parameters())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(error, match=match):
        residual_(model, points(16, 8), generator=seeded(), **options)
    after = model.state_dict()
    assert all(p is q for p, q in zip(model.parameters(), parameters, strict=True))
    for key, value in before.items():
        assert torch.equal(after[key].nan_to_num(), value.nan_to_num())


def test_batch_statistics_must_be_stated():
    model, x = make(BATCH_NORM.build, BATCH_NORM.shape)
    with pytest.raises(ValueError, match="`batch_norm` is None"):
        plan(model, x, generator=seeded())


def test_zero_padding_is_not_covered_by_the_theory():
    net = ConvResNet(ResNetSpec("tanh", depth=2), 4, generator=seeded(), padding_mode="zeros")
    with pytest.raises(NotImplementedError, match="circular padding"):
        plan(net, points(1, 4, 5, 5), method="theory", generator=seeded())


def test_another_device_is_named():
    model = branches()
    with pytest.raises(ValueError, match=r"'0\.body\.0\.weight' on the meta device"):
        plan(model.to("meta"), points(4, 8), generator=seeded())
    with pytest.raises(ValueError, match="`x` is on the meta device"):
        plan(branches(), points(4, 8).to("meta"), generator=seeded())


def test_a_plan_for_another_model_writes_nothing():
    made = plan(branches(), points(16, 8), generator=seeded())
    other = built(lambda: Residual(mlp(8, 24)))
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(ValueError, match="the model has shape"):
        apply_(other, made)
    with pytest.raises(ValueError, match="the model has no such parameter"):
        apply_(nn.Linear(3, 3), made)
    with pytest.raises(ValueError, match="on the meta device"):
        apply_(branches().to("meta"), made)
    with pytest.raises(TypeError, match="Pass the module that the function calls"):
        apply_(lambda x: x, made)
    assert all(torch.equal(other.state_dict()[key], value) for key, value in before.items())


def test_a_type_that_cannot_hold_the_values_is_refused():
    made = plan(branches(), points(16, 8), c=0.5, generator=seeded())
    made = type(made)(
        **vars(made) | {"changes": {k: v.times(1e9) for k, v in made.changes.items()}}
    )
    other = branches().half()
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(ValueError, match=r"torch\.float16 cannot hold"):
        apply_(other, made)
    assert all(torch.equal(other.state_dict()[key], value) for key, value in before.items())


OFF = {
    "zero map": (zero, "1.body.2.weight"),
    "rezero": (lambda: built(lambda: Gate(mlp(8, 8), 0.0)), "1.alpha"),
    "layer scale": (lambda: tiny(), "1.gamma"),
}


def tiny():
    model = built(lambda: LayerScale(mlp(8, 8), 8))
    for block in model:
        block.gamma.detach().fill_(1e-6)
    return model


@pytest.mark.parametrize("scheme", ["normal", "orthogonal"])
@pytest.mark.parametrize("case", OFF)
def test_what_is_off_is_set_or_drawn_anew_when_asked(case, scheme):
    build, name = OFF[case]
    model, x = build(), points(64, 8)
    made = plan(model, x, c=0.3, redraw=True, scheme=scheme, generator=seeded())
    assert made.blocks[1].tensors == (name,)
    assert made.blocks[1].why.endswith("redrawn")
    apply_(model, made)
    assert made.c_after == pytest.approx(0.3, rel=0.02)
    assert float(dict(model.named_parameters())[name].detach().abs().max()) > 1e-3


def test_a_function_of_several_modules_is_refused():
    one, two = branches(), branches()
    with pytest.raises(ValueError, match="calls 2 separate modules"):
        plan(lambda x: two(one(x)), points(4, 8), generator=seeded())
    with pytest.raises(TypeError, match="`model` is a int"):
        plan(3, points(4, 8), generator=seeded())
