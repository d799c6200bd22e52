import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from isometry.theory.activations.lookup import activation
from isometry.theory.gaussian import gaussian_moments

JUMPS = pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")
FIELDS = ("mean", "square", "slope", "slope_square")


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.25))

    def forward(self, x):
        return torch.where(x > 0.4, x - 0.4, self.slope * (x - 0.4))


def shifted_leaky(h):
    return np.where(h > 0.4, h - 0.4, 0.25 * (h - 0.4))


# A callable, an equal named activation or NumPy callable, kinks to be found.
CALLABLES = [
    (lambda h: np.tanh(h), "tanh", ()),
    (lambda h: h * (h > 0), "relu", (0.0,)),
    (lambda h: np.maximum(h, 0.1 * h), "leaky_relu(0.1)", (0.0,)),
    (lambda h: np.clip(h, -0.25, 2.0), "hardtanh(-0.25, 2)", (-0.25, 2.0)),
    (lambda h: np.abs(h) - (h < 0) * np.abs(h), "relu", (0.0,)),
    (lambda h: np.where(np.abs(h) > 0.5, h, 0), "hardshrink", (-0.5, 0.5)),
    (lambda h: h / (1 + abs(h)), "softsign", ()),
    (lambda h: h - np.tanh(h), "tanhshrink", ()),
    (math.tanh, "tanh", ()),
    (lambda x: x if x > 0 else 0.1 * x, "leaky_relu(0.1)", (0.0,)),
    (lambda x: torch.tanh(x) * 1.0, "tanh", ()),
    (lambda x: x.clamp(-0.25, 2.0), "hardtanh(-0.25, 2)", (-0.25, 2.0)),
    (torch.Tensor.sigmoid, "sigmoid", ()),
    (nn.Sequential(nn.ReLU()), "relu", (0.0,)),
    (Gated(), shifted_leaky, (0.4,)),
]


@JUMPS
@pytest.mark.parametrize(("spec", "same", "kinks"), CALLABLES)
def test_an_unknown_callable_has_the_moments_of_the_known_one(spec, same, kinks):
    act, known = activation(spec), activation(same)
    assert act.breakpoints == pytest.approx(kinks, abs=1e-9)
    assert act.odd == known.odd
    for q in (1e-2, 1.0, 400.0):
        got, wanted = gaussian_moments(act, q), gaussian_moments(known, q)
        for field in FIELDS:
            value = getattr(wanted, field)
            assert getattr(got, field) == pytest.approx(value, rel=1e-8, abs=1e-300)


def test_callables_work_where_torch_is_not_loaded():
    code = (
        "import sys, numpy as np; from isometry.theory.activations.lookup import activation; "
        "act = activation(lambda h: np.maximum(h - 0.5, 0)); "
        "print(act.breakpoints, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(0.5,) False"
