import pytest
import torch
from torch import nn

import isometry as iso
from isometry import nn as inn
from isometry.report import Origin, diagnosis_page


@pytest.fixture(scope="module")
def found():
    seed = torch.Generator().manual_seed(0)
    net = inn.ResNet(iso.ResNetSpec("relu", depth=8, sigma_w=1.4), 48, generator=seed)
    return inn.diagnose(net, torch.randn(1, 48, generator=seed), twin=True, generator=seed)


def test_the_verdict_is_the_first_finding_and_the_others_follow(found):
    page = diagnosis_page(found, Origin(["isometry diagnose m:f"], {"seed": 3}))
    assert page.verdict == found.findings[0]
    assert page.tone == {True: "good", False: "bad", "unresolved": "open"}[found.isometric]
    text = page.html()
    for sentence in found.findings[1:]:
        assert sentence.split("'")[0] in text
    assert "isometry diagnose m:f" in text
    assert "seed: 3" in text


def test_the_numbers_are_those_of_the_summary_and_the_twin_is_among_them(found):
    numbers = diagnosis_page(found).numbers
    assert numbers["outliers"] == len(found.outliers)
    assert numbers["to the twin"] == found.twin_comparison.ks
    assert numbers["c"].startswith(f"{found.c:.3g}")


def test_a_model_without_blocks_has_a_page_that_says_why_nothing_is_predicted():
    model = nn.Sequential(nn.Linear(16, 16), nn.Tanh())
    found = inn.diagnose(model, torch.ones(1, 16))
    page = diagnosis_page(found)
    assert page.tone == "open"
    assert "c" not in page.numbers
    assert found.reason[:40] in page.html()
    assert page.figure is not None


def test_a_jacobian_of_zeros_has_a_page_without_a_figure():
    model = nn.Linear(4, 4)
    nn.init.zeros_(model.weight)
    assert diagnosis_page(inn.diagnose(model, torch.ones(1, 4))).figure is None


def test_a_diagnosis_saves_its_page(found, tmp_path):
    path = found.save_html(tmp_path / "d.html")
    assert path.read_text() == diagnosis_page(found).html()


class Gated(nn.Module):
    """A branch behind a gate, as those of a diffusion transformer."""

    def __init__(self, gate):
        super().__init__()
        self.branch, self.gate = nn.Linear(16, 16), nn.Parameter(torch.full((16,), gate))

    def forward(self, x):
        return x + self.gate * self.branch(x)


@pytest.mark.parametrize(("gate", "said"), [(0.0, True), (1e-30, True), (0.5, False)])
def test_a_spectrum_that_is_one_point_is_said_to_be_one(gate, said):
    model = nn.Sequential(nn.Linear(16, 16), *[Gated(gate) for _ in range(3)])
    found = inn.diagnose(model, torch.ones(1, 16))
    page = diagnosis_page(found)
    assert (page.figure.caption == "Every singular value of the trunk is 1, to rounding.") is said
    assert ("All singular values of the bulk are 1" in page.html()) is said
    # of a point rounding alone decides the distance: 0.5 says nothing
    assert (found.summary()["ks"] is None) is said
    assert ("distance to the law (KS)" not in page.numbers) is said
