import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from isometry import nn as inn
from isometry.nn.sandbox.specimen import Specimen


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Branch(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.norm, self.up, self.down = (
            nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        )  # fmt: skip

    def forward(self, x):
        return x + self.down(torch.tanh(self.up(self.norm(x))))


@dataclass
class Output:
    loss: Tensor | None
    logits: Tensor


class Small(nn.Module):
    """A GPT's shape: tokens and positions, blocks, a head; logits and, with targets, a loss."""

    def __init__(self, how="tuple"):
        super().__init__()
        torch.manual_seed(0)
        self.wte, self.wpe = nn.Embedding(11, 6), nn.Embedding(8, 6)
        self.h = nn.ModuleList(Branch() for _ in range(3))
        self.head, self.how = nn.Linear(6, 11), how
        self.double()

    def trunk(self, e):
        x = e + self.wpe(torch.arange(e.shape[1]))
        for block in self.h:
            x = block(x)
        return self.head(x)

    def forward(self, idx, targets=None):
        logits = self.trunk(self.wte(idx))
        loss = None if targets is None else nn.functional.cross_entropy(logits[0], targets[0])
        if self.how == "dict":
            return {"loss": loss, "logits": logits}
        return Output(loss, logits) if self.how == "dataclass" else (logits, loss)


class Timed(nn.Module):
    """A diffusion model's shape: a state and a time, with a mask in front."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.block, self.time = Branch(), nn.Linear(1, 6)
        self.double()

    def forward(self, mask, x, t, scale=1.0):
        x.mul_(1)
        return self.block(x * mask + scale * self.time(t))


IDS = torch.tensor([[0, 1, 2, 3]])


@pytest.mark.parametrize("how", ["tuple", "dict", "dataclass"])
def test_of_token_ids_the_point_is_their_embeddings(how):
    model = Small(how)
    e = model.wte(IDS).detach()
    expected = torch.autograd.functional.jacobian(model.trunk, e).reshape(44, 24)
    for x, named in (
        (IDS, {}),
        ({"targets": IDS, "idx": IDS}, {}),
        ((IDS, IDS), {"wrt": "idx", "output": 0 if how == "tuple" else "logits"}),
        (None, {"inputs": (IDS, IDS), "wrt": 0}),
    ):
        J = inn.JacobianOperator(model, x, **named)
        torch.testing.assert_close(J.to_dense(), expected)
        assert J.about == "what `embedding` makes of `idx` with `wte.weight`"


def test_every_entry_point_takes_token_ids_and_says_what_the_point_is():
    model = Small()
    by_hand = inn.diagnose(model.trunk, model.wte(IDS).detach(), generator=seeded())
    found = inn.diagnose(model, IDS, generator=seeded())
    assert found.c == pytest.approx(by_hand.c, rel=1e-9)
    assert "with respect to what `embedding` makes of `idx` with `wte.weight`" in found.conditions
    assert [b.name for b in inn.residual_blocks(model, IDS)] == ["h.0", "h.1", "h.2"]
    monitor = inn.JacobianMonitor(generator=seeded())
    assert monitor(model, IDS, 0)["jacobian/c"] == pytest.approx(by_hand.c, rel=0.1)
    inn.residual_(model, IDS, c=0.5, generator=seeded())
    assert inn.diagnose(model, IDS, generator=seeded()).c == pytest.approx(0.5, rel=0.03)


def test_one_of_several_inputs_is_the_point_and_the_others_are_held():
    model, generator = Timed(), seeded()
    mask, t = torch.ones(1, 6).double(), torch.ones(1, 1).double()
    x = torch.randn(1, 6, generator=generator).double()
    expected = torch.autograd.functional.jacobian(lambda z: model(mask, z.clone(), t), x)
    inputs = {"t": t, "x": x, "mask": mask}
    before = {key: value.clone() for key, value in inputs.items()}
    for given in (inputs, (mask, x, t)):
        J = inn.JacobianOperator(model, given)
        assert J.about == "`x`"
        torch.testing.assert_close(J.to_dense(), expected.reshape(6, 6))
    J = inn.JacobianOperator(model, inputs=inputs, wrt="t")
    assert J.shape == (6, 1)
    plan = inn.plan(model, inputs, c=0.5, generator=seeded())
    assert inn.diagnose(inn.apply_(model, plan), inputs).c == pytest.approx(0.5, rel=0.03)
    assert all(torch.equal(inputs[key], value) for key, value in before.items())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: inn.JacobianOperator(Timed(), (IDS, IDS), wrt="z"), "`wrt` is 'z'; .* 'mask', 'x"),
        (lambda: inn.JacobianOperator(Small(), IDS, output="logit"), "`output` is 'logit'; .*0, 1"),
        (lambda: inn.JacobianOperator(nn.ReLU(), (None, "a")), "`x` holds no tensor"),
        (lambda: inn.JacobianOperator(nn.ReLU(), IDS, inputs=IDS), "are both given"),
        (lambda: inn.JacobianOperator(lambda i: i + 1, IDS), "int64 and `f` makes nothing of it"),
        (lambda: inn.diagnose(5, IDS), "`model` is a int; expected a module"),
    ],
)
def test_what_is_no_point_is_refused_with_what_there_is(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_a_specimen_is_passed_on_as_it_is():
    specimen = Specimen.of(Small(), IDS)
    assert Specimen.of(specimen, None) is specimen
    assert not specimen.plain
    assert specimen(specimen.point).shape == (1, 4, 11)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("how", ["scripted", "traced", "scripted inside"])
def test_a_scripted_model_is_measured_and_planned_and_comes_out_as_it_was(how):
    torch.manual_seed(0)
    x, bare = torch.randn(16, 12), nn.Sequential(Branch(12), Branch(12))
    if how == "scripted inside":
        net = nn.Sequential(*(torch.jit.script(branch) for branch in bare))
    else:
        net = torch.jit.script(bare) if how == "scripted" else torch.jit.trace(bare, x)
    before = {k: (v.data_ptr(), v.clone(), v.requires_grad) for k, v in net.named_parameters()}
    expected = inn.diagnose(bare, x, generator=seeded())
    found = inn.diagnose(net, x, generator=seeded())
    assert found.c == pytest.approx(expected.c, rel=1e-4)
    assert found.blocks[0].samples.shape == expected.blocks[0].samples.shape
    plan = inn.plan(net, x, c=0.5, generator=seeded())
    for key, parameter in net.named_parameters():
        pointer, value, flag = before[key]
        assert (parameter.data_ptr(), parameter.requires_grad) == (pointer, flag)
        assert torch.equal(parameter, value)
    inn.apply_(bare, plan)
    assert inn.diagnose(bare, x).c == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda net: nn.init.constant_(net[0].weight, math.nan), "with `0.weight` contains NaN"),
        (lambda net: net.to("meta"), "parameters of `f` are on the meta device"),
    ],
)
def test_what_is_wrong_with_an_embedding_is_not_put_down_to_the_ids(edit, message):
    net = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 3))
    edit(net)
    with pytest.raises(ValueError, match=r"^[^`]*`(embedding|f)`") as caught:
        Specimen.of(net, torch.arange(4)[None])
    assert message in str(caught.value)
