"""Per-block numbers of a model at any size: every rank measures its part, one reduction ends it.

The model runs once without gradients, and what each layer was called with is kept. Then each layer
is run again alone, with gradients, for the reverse products of its blocks. Memory is the stream in
front of every layer and the activations of one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh

from isometry._checks import check_integer
from isometry._typing import Checked, Integer
from isometry.nn.sandbox._typing import Blocks, ModelInput, Staged
from isometry.nn.sandbox.inputs import picked
from isometry.nn.sandbox.unwrap import plain_modules
from isometry.nn.scale.capture import Call, captured, layers_of
from isometry.nn.scale.layer import run_layer
from isometry.nn.scale.loan import gathered, lent
from isometry.nn.scale.products import BlockSums, sums_of
from isometry.nn.scale.report import ScaleReport
from isometry.nn.scale.result import BlockScale
from isometry.nn.scale.share import Share, refuse_untried, sharded_over
from isometry.nn.scale.stages import check_stages, modules_of, receive, send, stage_index
from isometry.nn.scale.together import together

_SAME = 1e-2
"""Relative difference of a layer's output, when it is run again, that 16 bits may cause."""


@dataclass(frozen=True, eq=False)
class Row:
    """One block's sums on this rank.

    Attributes:
        sums: Themselves.
        added: The groups over which its stream is a sharded tensor, so that parts add up.
        change: How much its layer's output changed when it was run again, of shape (1,): relative
            to its sum of squares.
    """

    sums: BlockSums
    added: tuple[ProcessGroup, ...]
    change: Tensor

    @property
    def flat(self) -> Tensor:
        """All that is added up over the ranks, in one vector."""
        entries = self.change.new_tensor([self.sums.entries])
        return torch.cat([self.sums.products.flatten(), self.sums.squares, self.change, entries])

    def filled(self, total: Sequence[float], index: int) -> BlockScale:
        """Return the block's numbers from sums over the whole batch.

        Raises:
            ValueError: If the layer changed from one run to the other.
        """
        *products, before, after, change, entries = total
        if change > _SAME:
            raise ValueError(
                f"The layer of block {self.sums.name!r} gives different results when called twice; "
                "expected a deterministic one. Switch off what is random: `model.eval()`."
            )
        sums = replace(
            self.sums,
            products=torch.tensor(products, dtype=torch.float64).reshape(self.sums.products.shape),
            squares=torch.tensor([before, after], dtype=torch.float64),
            entries=round(entries),
        )
        return BlockScale.of(sums, index)


@dataclass(frozen=True, eq=False)
class Measured:
    """The sums of this rank's blocks, not yet added up over the others.

    Attributes:
        share: What they are of.
        rows: One for each block.
    """

    share: Share
    rows: tuple[Row, ...]

    def reduced(self) -> ScaleReport:
        """Add up over the ranks; every rank has to call it, and gets the same.

        Raises:
            ValueError: If there is no block, ranks that hold the same stream have other numbers, or
                a layer is random.
        """
        if not self.rows:
            raise ValueError(
                "`model` has no layer that maps the stream to one of the same shape; expected "
                "layers in a list of modules. Name them with `blocks=`."
            )
        flat = torch.stack([row.flat for row in self.rows])
        total = self.share.total(flat, [row.added for row in self.rows]).tolist()
        blocks = [
            row.filled(sums, i) for i, (row, sums) in enumerate(zip(self.rows, total, strict=True))
        ]
        return ScaleReport.of(blocks, self.share.stages, flat.device)


def measure_scale(
    model: Staged,
    x: ModelInput,
    *,
    mesh: Checked[DeviceMesh | None] = None,
    split: Checked[Mapping[str, int] | None] = None,
    blocks: Blocks = None,
    num_probes: Integer = 8,
    seed: Integer = 0,
) -> ScaleReport:
    """Return c, gains and stream growth of every residual block, on the ranks that hold the model.

    Args:
        model: A module, plain or sharded by FSDP2 or a tensor-parallel plan; a
            ``torch.distributed.pipelining.PipelineStage`` or a list of them. It has to be in eval
            mode where dropout or batch normalisation are in it.
        x: This rank's part of the batch, as the model takes it: a tensor, or a tuple or dictionary
            of inputs. Later pipeline stages ignore it.
        mesh: The device mesh, with names; "pp" are the pipeline stages. Without one all processes
            are data parallel.
        split: {dimension of the mesh: axis of the stream that it splits}. Without it the batch is
            split along dimensions whose names begin with dp, ddp, fsdp, hsdp, data or batch, and
            the stream is the same along all others.
        blocks: Layers, or their names, each from the stream to the stream; without it the children
            of the model's lists of modules.
        num_probes: Random sign vectors a block, at least 3.
        seed: Of the probes; the same seed gives the same probes however the model is sharded.

    Returns:
        The report, the same on every rank of a stage; the totals are those of all stages.

    Raises:
        TypeError: If the model is no module or stage, or a layer returns no tensor.
        ValueError: If no layer maps the stream to the stream, a layer is random, or ranks that
            should hold the same stream do not.
        NotImplementedError: If a stream is a pending sum, the model sharded by the first FSDP, or
            experts or the sequence spread over ranks along a dimension of that name (ep, cp).
        RuntimeError: If another rank is gone, or does not answer within its group's timeout.

    Notes:
        Cost: two forward passes and 2 ``num_probes`` backward passes without parameter gradients.
        Forward mode and second derivatives, which distributed tensors lack or have wrong in torch
        2.13, take no part. Routing of experts is held as the pass chose it.

    Examples:
        >>> layers = [nn.Linear(64, 64, bias=False) for _ in range(4)]
        >>> for layer in layers:
        ...     _ = nn.init.zeros_(layer.weight)
        >>> class Model(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layers = nn.ModuleList(layers)
        ...     def forward(self, x):
        ...         for layer in self.layers:
        ...             x = x + layer(x).tanh()
        ...         return x
        >>> measure_scale(Model(), torch.ones(1, 64), blocks=[""]).c
        0.0
    """
    share = Share.of(mesh, split)
    options = {"blocks": blocks, "num_probes": num_probes, "seed": seed}
    with together():
        return local_sums(model, x, share, **options).reduced()


def local_sums(
    model: object,
    x: ModelInput,
    share: Share,
    *,
    blocks: Blocks = None,
    num_probes: Integer = 8,
    seed: Integer = 0,
) -> Measured:
    """Measure this rank's part; no collective but those of the model itself takes part.

    Raises:
        TypeError: As :func:`measure_scale`.
        ValueError: As :func:`measure_scale`.
        NotImplementedError: As :func:`measure_scale`.
    """
    probes = check_integer("num_probes", num_probes, minimum=3)
    seed = check_integer("seed", seed, minimum=0)
    modules = modules_of(model)
    check_stages(model, share.stages is not None)
    meshes: set[Any] = {getattr(p, "device_mesh", None) for m in modules for p in m.parameters()}
    for mesh in meshes - {None}:
        refuse_untried("`model` is on a mesh that", mesh)
    stages = list(model) if isinstance(model, (list, tuple)) else [model]
    stages.sort(key=lambda stage: stage_index(stage) or 0)
    with lent(modules):
        found = [
            row
            for module, stage in zip(modules, stages, strict=True)
            for row in _of_stage(module, stage, x, share, blocks, seed, probes)
        ]
    return Measured(share, tuple(found))


def _of_stage(
    module: nn.Module, stage: Any, x: Any, share: Share, blocks: Blocks, seed: int, probes: int
) -> list[Row]:
    """Run a model, or a stage of it, and measure its layers; as one layer where none has a skip."""
    names = {m: name for name, m in plain_modules(module)}

    def rows(layers: Mapping[nn.Module, str]) -> list[Row]:
        calls, first = _pass(module, stage, x, share, layers)
        return [
            row
            for place, call in enumerate(calls)
            for row in _of_call(call, share, (seed, first + place), probes, names)
        ]

    found = rows(layers_of(module, blocks))
    seen = any(row.sums.skip is not None for row in found)
    if seen or blocks is not None or share.stages is not None:
        return found
    whole = rows({module: ""})
    return whole if any(row.sums.skip is not None for row in whole) or not found else found


def _pass(
    module: nn.Module, stage: Any, x: Any, share: Share, layers: Mapping[nn.Module, str]
) -> tuple[list[Call], int]:
    """Run a model, or one stage between two others.

    Returns:
        The calls of its layers, and how many layers the stages before have.
    """
    index, group = stage_index(stage), share.stages
    first, point = 0, x
    if index and group is not None:
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        first, point = receive(group, stage.stage_index_to_group_rank[index - 1], device)
    calls, output = captured(lambda: _called(module, point), layers)
    if index is not None and group is not None and index + 1 < stage.num_stages:
        last = first + len(calls)
        send(group, stage.stage_index_to_group_rank[index + 1], last, picked(output, None))
    return calls, first


def _called(model: nn.Module, x: Any) -> Any:
    """Call a model with one input, several in order, or several by name."""
    if isinstance(x, Mapping):
        return model(**x)
    return model(*x) if isinstance(x, (tuple, list)) else model(x)


def _of_call(
    call: Call, share: Share, key: Sequence[int], probes: int, names: Mapping[nn.Module, str]
) -> list[Row]:
    """Run one layer again with gradients and measure its blocks."""
    s = call.stream
    with gathered(call.layer, names):
        layer = run_layer(call, s, {m: names[m] for m in call.layer.modules() if m in names})
        assert call.square is not None
        change = (layer.squares[layer.target] / call.square - 1).abs().nan_to_num().reshape(1)

        def draw(block: int, probe: int) -> Tensor:
            return share.draw((*key, block, probe), s)

        added = sharded_over(s)
        return [Row(sums, added, change) for sums in sums_of(layer, draw, probes, call.name)]
