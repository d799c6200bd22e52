import math

import pytest
import torch
from torch import nn

from cases_lint import HEADS, RMS, STD, WIDTH, decoder, edited, tokens
from isometry import nn as inn


class Apart(nn.Module):
    """The same attention with queries, keys and values in weights of their own."""

    def __init__(self, fused):
        super().__init__()
        self.norm = RMS()
        self.key, self.value, self.query, self.out = (
            nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4)
        )
        with torch.no_grad():
            q, k, v = fused.qkv.weight.chunk(3)
            for own, other in zip((self.query, self.key, self.value), (q, k, v), strict=True):
                own.weight.copy_(other)
            self.out.weight.copy_(fused.o.weight)

    def forward(self, x):
        z = self.norm(x)
        heads = [
            m(z).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for m in (self.query, self.key, self.value)
        ]
        y = nn.functional.scaled_dot_product_attention(*heads, is_causal=True)
        return x + self.out(y.transpose(1, 2).reshape(x.shape))


class Fused(nn.Module):
    def __init__(self, attention, norm):
        super().__init__()
        self.attention, self.norm = attention, norm

    def forward(self, x):
        return x + self.attention(self.norm(x))


def seeded():
    return torch.Generator().manual_seed(0)


def test_the_same_rule_with_another_seed_differs_nowhere():
    found = inn.compare_models(decoder(0), decoder(1), tokens(), generator=seeded())
    assert found.differing == ()
    assert (found.only_a, found.only_b) == ((), ())
    assert len(found.pairs) == 43
    assert len(found.c_a) == len(found.c_b) == 12


def test_roles_that_differ_are_named_with_the_factor_and_what_it_does_to_c():
    other = edited(lambda i, layer: layer.down.weight.mul_(12**0.5))
    found = inn.compare_models(decoder(), other, tokens(), generator=seeded())
    assert {p.a.split(".", 2)[2] for p in found.differing} == {"down.weight"}
    assert [round(p.ratio, 2) for p in found.differing] == [3.46] * 6
    assert found.c_b[1] / found.c_a[1] == pytest.approx(12, rel=0.1)
    assert "sqrt(3)" not in str(found)
    assert "6 of 43 maps with the same place differ" in str(found)


def test_fused_and_separate_weights_are_matched_by_what_they_do():
    layers = [layer.attention for layer in decoder().layers]
    fused = nn.Sequential(*[Fused(a, RMS()) for a in layers])
    apart = nn.Sequential(*[Apart(a) for a in layers])
    found = inn.compare_models(fused, apart, tokens(), generator=seeded())
    assert found.differing == ()
    assert {(p.role, p.b.split(".")[1]) for p in found.pairs} == {
        ("query", "query"), ("key", "key"), ("value", "value"), ("writer", "out"),
    }  # fmt: skip
    nn.init.normal_(apart[3].value.weight, std=2 * STD, generator=seeded())
    changed = inn.compare_models(fused, apart, tokens(), generator=seeded())
    assert [p.b for p in changed.differing] == ["3.value.weight"]


def test_what_has_no_counterpart_is_told_apart():
    shorter = decoder()
    del shorter.layers[5]
    found = inn.compare_models(decoder(), shorter, tokens(), generator=seeded())
    assert len(found.only_a) == 7
    assert found.only_b == ()
    assert "Only in the first: " in str(found)


def test_models_without_blocks_have_no_c():
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    found = inn.compare_models(a, b, torch.ones(1, 4), generator=seeded())
    assert (found.c_a, found.c_b) == ((), ())
    assert found.rows()[0]["role"] == found.pairs[0].role


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.a, self.b = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return x + self.b(torch.relu(self.a(self.norm(x))))


def small(blocks=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(*[Small() for _ in range(blocks)])


def broken(value):
    model = small()
    with torch.no_grad():
        model[1].a.weight[0, 0] = value
    return model


X = torch.linspace(-1, 1, 16).reshape(2, 8)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_maps_that_are_not_finite_are_told_and_not_dropped(value):
    found = inn.compare_models(small(), broken(value), X, generator=seeded())
    assert [p.b for p in found.differing] == ["1.a.weight"]
    assert math.isnan(found.differing[0].std_b)
    assert found.differing[0].std_a > 0
    assert len(found.pairs) == len(found.compared) == 6
    assert "1 of 6 maps with the same place differ." in str(found)
    assert "NaN or infinite entries in the second: `1.a.weight`." in found.remarks
    assert any(r.startswith("c of the second is missing: ") for r in found.remarks)
    assert len(found.c_a) == 3


def test_maps_that_are_not_finite_in_both_cannot_be_compared():
    found = inn.compare_models(broken(math.nan), broken(math.inf), X, generator=seeded())
    assert found.differing == ()
    assert (len(found.pairs), len(found.compared)) == (6, 5)
    assert "0 of 5 maps" in str(found)
    assert sum("NaN or infinite entries in the" in remark for remark in found.remarks) == 2


def test_weights_without_values_are_told():
    for a in (small(), small().to("meta")):
        found = inn.compare_models(a, small().to("meta"), X, generator=seeded())
        assert "None of 6 maps with the same place could be compared." in str(found)
        assert any("Without values in the second" in remark for remark in found.remarks)
        assert any("meta device" in r for r in found.remarks if r.startswith("c of the second"))
        assert found.compared == found.differing == ()


def test_c_is_shown_as_far_as_either_has_blocks():
    found = inn.compare_models(small(3), small(2, seed=1), X, generator=seeded())
    assert (len(found.c_a), len(found.c_b)) == (3, 2)
    rows = [line.split() for line in str(found).splitlines() if line.strip()[:2] in ("1 ", "2 ")]
    assert [row[2] == "-" for row in rows] == [False, True]
    assert "The first has 3 blocks and the second 2" in str(found)


def test_what_stands_in_the_way_of_c_is_told():
    chain = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
    found = inn.compare_models(small(), chain, X, generator=seeded())
    assert "c of the second is missing: `model` has no residual block" in str(found)
    nothing = inn.compare_models(nn.Tanh(), nn.Tanh(), X, generator=seeded())
    assert "No map has the same place in both models." in str(nothing)
    blind = inn.compare_models(small(), small(seed=1), None)
    assert "Not looked at in the first: no input was given." in blind.remarks
    assert (blind.c_a, blind.c_b) == ((), ())
