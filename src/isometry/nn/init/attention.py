"""Which rows of a map make queries and keys: those that the weights of an attention depend on.

Names and layouts differ (three maps, one fused map, rows interleaved by head, fewer keys than
queries), what they do does not: in its own block a query or a key acts through a softmax only,
and a value does not act through it.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from isometry.nn.blocks.blocks import Block
from isometry.nn.blocks.graph import Vertex, operation
from isometry.nn.blocks.recording import Recording, record
from isometry.nn.init.changes import Changes, tried
from isometry.nn.init.measured import MeasuredModel
from isometry.nn.roles.uses import WeightMap

_SOFTMAX = ("Softmax", "SafeSoftmax")


def query_key_rows(
    model: MeasuredModel, changes: Changes, blocks: Sequence[Block], maps: Mapping[str, WeightMap]
) -> dict[str, Tensor]:
    """Return {name: which of its outputs are queries or keys} for the maps that make some."""
    with tried(model.root, changes):
        recording = record(model.f, model.x, model.batch_norm)
    leaves = {recording.names[id(leaf)]: leaf for leaf in recording.parameters}
    first = _first_uses(recording)
    begins = [min((first[n] for n in b.parameters if n in first), default=0) for b in blocks]
    found: dict[str, Tensor] = {}
    for index, block in enumerate(blocks):
        end = begins[index + 1] if index + 1 < len(blocks) else len(recording.graph.order)
        stretch = recording.graph.order[begins[index] : end]
        weights = [v for v in stretch if operation(v) in _SOFTMAX]
        for name in [n for n in block.parameters if n in maps and n in leaves]:
            rows = _rows(weights, leaves[name], maps[name])
            if rows is not None:
                found[name] = rows
    return found


def _first_uses(recording: Recording) -> dict[str, int]:
    """Return {parameter: place in the order of the first tensor that it enters}."""
    first: dict[str, int] = {}
    for place, vertex in enumerate(recording.graph.order[1:], 1):
        for _, _, leaf in recording.graph.leaves(vertex):
            if id(leaf) in recording.names:
                first.setdefault(recording.names[id(leaf)], place)
    return first


def _rows(weights: Sequence[Vertex], leaf: Tensor, described: WeightMap) -> Tensor | None:
    """Return which outputs of a map these attention weights depend on; None where on none."""
    if not weights:
        return None
    generator = torch.Generator().manual_seed(0)
    probes = [_probe(vertex, generator) for vertex in weights]
    grad = torch.autograd.grad(
        [GradientEdge(*vertex) for vertex in weights],  # pyright: ignore[reportArgumentType]
        [leaf],
        probes,
        retain_graph=True,
        allow_unused=True,
    )[0]
    if grad is None:
        return None
    rows = described.rows(grad).abs().amax(1) > 0
    return rows if bool(rows.any()) else None


def _probe(vertex: Vertex, generator: torch.Generator) -> Tensor:
    metadata = vertex[0]._input_metadata[vertex[1]]
    probe = torch.randn(tuple(metadata.shape), generator=generator)
    return probe.to(dtype=metadata.dtype, device=metadata.device)
