import pytest
import torch
from torch import nn

from isometry.nn.blocks.blocks import residual_blocks
from isometry.nn.blocks.traces import block_traces
from isometry.nn.init.init import apply_, plan
from isometry.nn.networks.resnet import ResNet
from isometry.theory.propagation import ResNetSpec


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Block(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.branch = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.branch(x)


def dense(width=24):
    torch.manual_seed(0)
    blocks = [Block(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(6)]
    return nn.Sequential(*blocks)


def coherent(model, x):
    """Return the parts of every branch's mean square that all samples share, by hooks."""
    parts = []

    def note(module, inputs, y):
        mean = y.mean(dim=[0, *range(2, y.ndim)])
        parts.append(float(mean.square().mean() / y.square().mean()))

    hooks = [block.branch.register_forward_hook(note) for block in model]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return parts


def test_a_branch_that_ends_in_a_bias_has_no_mean_afterwards():
    model, x = dense(), torch.randn(64, 24, generator=seeded())
    made = plan(model, x, c=1.0, centre=True, generator=seeded())
    before = coherent(apply_(model, plan(model, x, c=1.0, generator=seeded())), x)
    after = coherent(apply_(model, made), x)
    assert min(before) > 0.2
    assert max(after) < 1e-6
    assert [row.bias for row in made.centred] == [f"{i}.branch.2.bias" for i in range(6)]
    assert max(row.after for row in made.centred) < 1e-6
    assert made.residual <= 0.02  # measured without the means


def test_c_is_kept_where_the_means_were_part_of_what_a_norm_divides_by():
    torch.manual_seed(0)
    layers = [
        (nn.LayerNorm(48), nn.Linear(48, 48), nn.GELU(), nn.Linear(48, 48)) for _ in range(12)
    ]
    model, x = nn.Sequential(*[Block(*row) for row in layers]), torch.randn(64, 48)
    made = plan(model, x, c=4.0, centre=True, rtol=0.03, generator=seeded())
    assert made.residual <= 0.03
    apply_(model, made)
    assert max(coherent(model, x)) < 1e-5
    traces = [t.c for t in block_traces(residual_blocks(model, x), generator=seeded(3))]
    assert sum(traces) == pytest.approx(4.0, rel=0.06)


def test_a_convolutional_branch_is_centred_per_channel():
    torch.manual_seed(0)
    layers = [(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 1)) for _ in range(3)]
    model, x = nn.Sequential(*[Block(*row) for row in layers]), torch.randn(4, 6, 6, 6)
    apply_(model, plan(model, x, c=0.5, centre=True, generator=seeded()))
    assert max(coherent(model, x)) < 1e-6


def test_where_no_bias_reaches_the_output_it_is_reported():
    torch.manual_seed(0)
    model = nn.Sequential(*[Block(nn.Linear(16, 16), nn.ReLU()) for _ in range(3)])
    made = plan(model, torch.randn(32, 16), c=0.5, centre=True, generator=seeded())
    assert all(row.bias is None and row.after == row.before > 0.1 for row in made.centred)
    assert "wrap its activation" in made.centred[0].why
    assert "3 branches keep their mean" in str(made)


def test_a_plan_without_centre_has_no_such_rows():
    model, x = dense(), torch.randn(16, 24, generator=seeded())
    assert plan(model, x, generator=seeded()).centred == ()


def test_our_network_gets_the_theorys_means_and_a_smaller_outlier():
    net = ResNet(ResNetSpec("relu", depth=30), 200, generator=seeded())
    x = torch.randn(1, 200, generator=seeded(1))
    largest = []
    for centre in (False, True):
        apply_(net, plan(net, x, centre=centre, generator=seeded()))
        largest.append(float(torch.linalg.matrix_norm(net.jacobian(x), 2)))
    assert net.spec.centre
    assert net.layers[3].mean > 0
    assert largest[1] < 0.6 * largest[0]


def test_a_single_sample_has_no_mean():
    with pytest.raises(ValueError, match="Pass a batch"):
        plan(dense(), torch.randn(1, 24), centre=True)
