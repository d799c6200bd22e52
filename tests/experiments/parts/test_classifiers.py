import math

import pytest
import torch

from isometry.experiments.parts.classifiers import Classifier, draw_trunk, inputs
from isometry.nn.networks.resnet import ConvResNet, ResNet

DENSE = {
    "images": "digits", "limit": 12, "activation": "gelu", "depth": 3, "sigma_w": 1.0,
    "sigma_b": 0.0, "width": 20, "side": 0,
}  # fmt: skip


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


def test_the_raw_readout_sees_it():
    model = Classifier(torch.nn.Identity(), 6, raw=True)
    torch.nn.init.ones_(model.readout.weight)
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(x + 1), model(x) + 6)
