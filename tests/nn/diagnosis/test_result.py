import html
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from isometry.nn.diagnosis.diagnosis import diagnose
from isometry.nn.diagnosis.result import outliers
from isometry.nn.networks.resnet import ResNet
from isometry.theory.comparison import compare
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.propagation import ResNetSpec
from isometry.theory.spectrum import Spectrum


@pytest.fixture(scope="module")
def tanh():
    generator = torch.Generator().manual_seed(0)
    net = ResNet(ResNetSpec("tanh", depth=20, sigma_w=1.0), 150, generator=generator)
    return diagnose(net, torch.randn(1, 150, generator=generator), generator=generator)


def test_a_diagnosis_becomes_json_a_frame_and_html(tanh):
    back = json.loads(json.dumps(tanh.to_dict()))
    assert back["c"] == tanh.c
    assert len(back["blocks"]) == 20
    assert tanh.to_frame()["share of c"].sum() == pytest.approx(1.0)
    assert back["schema"] == "isometry/diagnosis/2"
    assert sum(back["shares"]) == pytest.approx(1.0)


def test_a_notebook_shows_what_it_means_before_the_numbers(tanh):
    page = tanh._repr_html_()
    assert page.index(html.escape(tanh.findings[0])) < page.index("<svg") < page.index("<table>")
    assert page.count("<details>") == 2
    assert page.count("<tr>") == 21 + 2  # the blocks, and the scalars, each with its head
    hostile = replace(tanh, model="<script>", warnings=("<b>",))._repr_html_()
    assert "<script>" not in hostile
    assert "&lt;b&gt;" in hostile


def test_the_summary_is_scalars_alone(tanh):
    summary = tanh.summary()
    assert json.loads(json.dumps(summary)) == summary
    assert all(isinstance(v, (str, int, float, bool, type(None))) for v in summary.values())
    assert summary["singular_value_max"] == pytest.approx(math.sqrt(tanh.spectrum.values[-1]))
    assert summary["ks"] == tanh.comparison.ks


def test_the_picture_has_everything_that_predicts_the_spectrum(tanh):
    ax = Figure().subplots()
    assert replace(tanh, twin=tanh.spectrum).plot(ax) is ax
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "measured", "law", "product law", "twin",
    ]  # fmt: skip
    ax = replace(tanh, law=None, product_law=None).plot(Figure().subplots())
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["measured"]


def test_the_verdicts_are_fields_and_in_the_dictionary(tanh):
    assert (tanh.isometric, tanh.law_holds) == (True, True)
    assert json.loads(json.dumps(tanh.to_dict()))["isometric"] is True


def test_outliers_are_given_in_s_and_in_edges():
    law = UniversalLaw(1.0)
    low, high = law.support()
    bulk = law.icdf((np.arange(400) + 0.5) / 400)
    values = np.concatenate([[0.0, low / 100], bulk, [high * 9]])
    below, above = outliers(compare(Spectrum(values), law))
    assert (below.singular_value, below.over_edge) == pytest.approx((math.sqrt(low) / 10, 0.1))
    assert (above.singular_value, above.over_edge) == pytest.approx((math.sqrt(high) * 3, 3.0))
    assert outliers(None) == ()
