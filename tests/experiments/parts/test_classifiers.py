import math

import pytest
import torch

from isometry.experiments.parts.classifiers import Classifier, draw_trunk, inputs, scheme_sigma_w
from isometry.nn.resnet import ConvResNet, ResNet
from isometry.theory.propagation import ResNetSpec, effective_cumulant

DENSE = {
    "images": "digits", "limit": 12, "activation": "gelu", "depth": 3, "sigma_w": 1.0,
    "sigma_b": 0.0, "width": 20, "side": 0,
}  # fmt: skip


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


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_equal_c_gives_that_c(activation):
    sigma_w = scheme_sigma_w("equal c", activation, depth=10, value=0.8)
    assert effective_cumulant(ResNetSpec(activation, 10, sigma_w)) == pytest.approx(0.8)


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ValueError, match="`scheme` is 'best'; expected one of 'equal sigma_w'"):
        scheme_sigma_w("best", "relu", depth=10, value=1.0)


@pytest.mark.parametrize(("side", "kind"), [(0, ResNet), (4, ConvResNet)])
def test_every_classifier_starts_at_the_same_loss(side, kind):
    settings = {**DENSE, "side": side}
    x, y = inputs(settings, dtype=torch.float32)
    trunk = draw_trunk(settings, seed=0, dtype=torch.float32)
    model = Classifier(trunk, x[0].numel())
    assert isinstance(trunk, kind)
    loss = torch.nn.functional.cross_entropy(model(x), y)
    assert float(loss.detach()) == pytest.approx(math.log(10))
    loss.backward()
    assert float(model.readout.weight.grad.norm()) > 0


def test_the_readout_does_not_see_a_common_mean():
    model = Classifier(torch.nn.Identity(), 6)
    with torch.no_grad():
        model.readout.weight.normal_(generator=torch.Generator().manual_seed(0))
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(5 * x + 7), model(x), rtol=1e-4, atol=1e-4)
