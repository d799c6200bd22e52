import pytest
import torch
from torch import nn

from cases_modules import Residual, mlp, stack
from isometry import nn as inn
from isometry.nn.blocks.blocks import residual_stream
from isometry.nn.blocks.spans import SpanningBlock
from isometry.nn.init.init import plan


class Around(nn.Module):
    """A path of its own goes around three blocks of six."""

    def __init__(self):
        super().__init__()
        self.blocks = stack(lambda: Residual(mlp(8, 16)), 6)
        self.around = nn.Linear(8, 8)

    def forward(self, x):
        for i, block in enumerate(self.blocks):
            start = x if i == 1 else None
            x = block(x)
            h = start if start is not None else (h if i > 1 else None)
            if i == 3:
                x = x + torch.tanh(self.around(h))
        return x


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(Residual(mlp(8, 16)), Residual(mlp(8, 16)), nn.Linear(8, 8))

    def forward(self, x):
        return x + self.inner(x)


class Parallel(nn.Module):
    """Two terms, an activation with a sum inside, and a gate: one addition."""

    def __init__(self):
        super().__init__()
        self.left, self.right = mlp(8, 16), mlp(8, 16)

    def forward(self, x):
        h = self.left(x)
        cubic = torch.tanh(h + 0.04 * h**3)
        return x + cubic * torch.sigmoid(h) + self.right(x)


MODELS = {
    "around": (Around, {"(blocks.1, blocks.2, blocks.3, around)": ("blocks.1", "blocks.2")}),
    "nested": (lambda: nn.Sequential(Nested(), Residual(mlp(8, 16))),
               {"0": ("0.inner.0", "0.inner.1")}),
    "parallel": (lambda: nn.Sequential(Parallel(), Parallel()), {}),
    "plain": (lambda: stack(lambda: Residual(mlp(8, 16)), 3), {}),
}  # fmt: skip


def made(name):
    build, expected = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().double(), torch.randn(4, 8, dtype=torch.float64), expected


@pytest.mark.parametrize("name", MODELS)
def test_a_block_with_additions_of_its_own_is_named_with_them(name):
    model, x, expected = made(name)
    found = residual_stream(model, x).spans
    assert {span.block: span.additions for span in found} == expected


@pytest.mark.parametrize("name", ["around", "nested", "plain"])
def test_plan_diagnosis_and_their_results_say_so(name):
    model, x, expected = made(name)
    seeded = torch.Generator().manual_seed(0)
    diagnosis, planned = inn.diagnose(model, x, generator=seeded), plan(model, x, generator=seeded)
    assert diagnosis.spans == planned.spans
    assert len(diagnosis.spans) == len(expected)
    for span in diagnosis.spans:
        assert f"Block `{span.block}` spans 2 more residual additions" in " ".join(
            diagnosis.findings
        )
        assert f"together: {span}" in str(planned)
    assert diagnosis.to_dict()["spans"] == planned.to_dict()["spans"]
    assert ("spans" in str(planned)) == bool(expected)


def test_many_additions_are_counted_and_few_are_shown():
    text = str(SpanningBlock("h", tuple(f"h.{i}" for i in range(6))))
    assert text.startswith(
        "block `h` spans 6 more residual additions (`h.0`, `h.1`, `h.2`, `h.3` and"
    )
    assert "and 2 more)" in text
    assert "1 more residual addition (outside any module)" in str(SpanningBlock("h", ("",)))
