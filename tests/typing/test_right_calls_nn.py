# pyright: strict
"""Calls about models that a type checker accepts, and that work."""

import torch
from torch import nn
from torch.distributed.pipelining import PipelineStage

import isometry as iso
from isometry import nn as inn


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_module_and_a_function_are_models():
    spec = iso.ResNetSpec("tanh", depth=2)
    net = inn.ResNet(spec, 8, generator=seeded())
    x = torch.randn(1, 8, generator=seeded())
    for model in (net, torch.tanh, nn.Tanh()):
        J = inn.JacobianOperator(model, x, batch_norm="eval", route="autograd")
        assert inn.singular_spectrum(J.T, "lanczos", num_probes=2, generator=seeded()).dimension
    found = inn.diagnose(net, x, blocks=None, method="dense", generator=seeded())
    assert found.c is not None
    planned = inn.plan(net, x, c=1, method="theory", scheme="orthogonal", generator=seeded())
    assert inn.apply_(net, planned).spec.depth == 2
    assert inn.residual_(net, x, shares=[1, 1.0], rtol=0.3, generator=seeded()) is net
    assert inn.baselines.he(net, x, blocks=None, generator=seeded()).c is None


class Stage:
    """What a pipeline stage of torch has."""

    def __init__(self, submod: nn.Module) -> None:
        self.submod = submod
        self.stage_index = 0


def of_torch(stage: PipelineStage, x: torch.Tensor) -> None:
    """Only for the type checker: a stage needs a process group."""
    inn.measure_scale([stage, stage], x)
    inn.JacobianMonitor(at="blocks")(stage, x, 0)


def test_a_pipeline_stage_is_followed():
    net = inn.ResNet(iso.ResNetSpec("tanh", depth=2), 8, generator=seeded())
    x = torch.randn(1, 8, generator=seeded())
    monitor = inn.JacobianMonitor(at="blocks")
    found = monitor(net, x, 0)
    assert found is not None
    assert found == monitor(Stage(net), x, 0) == monitor([Stage(net)], x, 0)


def test_results_have_exported_types():
    net = inn.ResNet(iso.ResNetSpec("tanh", depth=4), 8, generator=seeded())
    x = torch.randn(1, 8, generator=seeded())
    stream: inn.Stream = inn.residual_stream(net, x)
    scale: inn.ScaleReport = inn.measure_scale(net, x, num_probes=4, seed=1)
    block: inn.BlockScale = scale.blocks[0]
    assert block.backward > 0
    assert inn.JacobianMonitor(every=2, at="blocks")(net, x, 1) is None
    traces: list[inn.BlockTraces] = inn.block_traces(stream.blocks, generator=seeded())
    law: inn.MeasuredCumulant = inn.measured_law(traces)
    top: inn.ExtremeSingularValues = inn.largest_singular_values(
        inn.JacobianOperator(net, x), k=2, generator=seeded()
    )
    assert law.c > 0
    assert len(top.s) == 2
