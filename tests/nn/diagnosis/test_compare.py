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
