"""The role of every parameter and buffer, from the dataflow of one pass and from its module."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise

from torch import Tensor, nn

from isometry.nn.roles.events import events
from isometry.nn.roles.flow import Applied, Node, Use
from isometry.nn.roles.graph import FACTORS, REARRANGING, SUMS, Graph, is_norm, op
from isometry.nn.roles.parts import MAPS, Part, Role, kind_of, outputs, stack_of
from isometry.nn.roles.uses import WeightMap

_BENDING = {"exp", "softplus", "sigmoid", "tanh", "log_sigmoid_forward", "cumsum", "log"}
_CALLS = 3
"""Calls of one map that are looked at."""


def parts_of(
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    modules: Mapping[str, nn.Module],
    graph: Graph | None,
    maps: Mapping[str, WeightMap],
) -> list[Part]:
    """Return the parts of all parameters and buffers in the model's order.

    Args:
        parameters: By name.
        buffers: By name.
        modules: By name.
        graph: Of a pass; None leaves what the modules' classes say.
        maps: What map each parameter is.
    """
    found = {} if graph is None else _from_graph(parameters, graph, maps)
    declared = _declared(parameters, modules)
    parts: list[Part] = []
    for name, p in parameters.items():
        own = found.get(name) or [_plain(name, p, maps.get(name), declared.get(name), graph)]
        parts += own
    parts = _by_kind(_as_siblings(parts, parameters))
    return parts + [_part(name, b, "buffer") for name, b in buffers.items()]


def _part(name: str, p: Tensor, role: Role, described: WeightMap | None = None) -> Part:
    kind = kind_of(name)
    if described is None:
        return Part(name, role, tuple(p.shape), kind, stack=stack_of(kind))
    shape = (outputs(p, described), described.matrix_shape(p.shape)[1])
    return Part(name, role, shape, kind, stack=stack_of(kind), map=described)


def _plain(
    name: str, p: Tensor, described: WeightMap | None, declared: Role | None, graph: Graph | None
) -> Part:
    """Return the part of a parameter that no pass has used."""
    if declared is not None:
        return _part(name, p, declared, described if declared in MAPS else None)
    if described is not None and p.ndim > 1:
        return _part(name, p, "map", described)
    if p.ndim == 1 and name.endswith("bias"):
        return _part(name, p, "bias")
    return _part(name, p, "unused" if graph is not None else "other")


def _declared(
    parameters: Mapping[str, Tensor], modules: Mapping[str, nn.Module]
) -> dict[str, Role]:
    """Return the roles that the classes of torch's modules give away."""
    roles: dict[str, Role] = {}
    batch = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    instance = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
    norms = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, *batch, *instance)
    for prefix, module in modules.items():
        for key, _ in module.named_parameters(recurse=False):
            name = f"{prefix}.{key}".lstrip(".")
            if name not in parameters:
                continue
            if isinstance(module, norms) or type(module).__name__.endswith(
                ("LayerNorm", "RMSNorm")
            ):
                roles[name] = "norm gain" if key == "weight" else "bias"
            elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
                roles[name] = "embedding"
            elif isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
                roles[name] = "inner" if key.startswith("weight") else "bias"
    return roles


def _from_graph(
    parameters: Mapping[str, Tensor], graph: Graph, maps: Mapping[str, WeightMap]
) -> dict[str, list[Part]]:
    calls: dict[str, list[Node]] = defaultdict(list)
    uses: dict[str, list[tuple[Node, Use]]] = defaultdict(list)
    for node in graph.nodes:
        if node.applied is not None and node.applied.name in parameters:
            calls[node.applied.name].append(node)
        for use in node.uses:
            for name in use.names:
                uses[name].append((node, use))
    writing: dict[int, float] = {}
    for addition in graph.additions:
        writing |= graph.writers(addition)
    found: dict[str, list[Part]] = {}
    for name, p in parameters.items():
        if calls[name] and p.ndim > 1 and name in maps:
            found[name] = _map_parts(name, p, maps[name], graph, calls[name], writing)
            tied = {_use_role(graph, node, use, p) for node, use in uses[name] if not node.applied}
            also = tuple(sorted(tied & {"embedding", "position"}))
            if also:
                found[name] = [replace(part, tied=also) for part in found[name]]
        elif uses[name]:
            roles: Counter[Role] = Counter(
                _use_role(graph, node, use, p) for node, use in uses[name]
            )
            found[name] = [
                replace(_part(name, p, roles.most_common(1)[0][0]), uses=len(uses[name]))
            ]
    return found


def _use_role(graph: Graph, node: Node, use: Use, p: Tensor) -> Role:
    """Return what a parameter that is no map does at a call."""
    name = op(node)
    if use.through & _BENDING:
        return "recurrence"
    if is_norm(node):
        return "norm gain" if use.place == 1 else "bias"
    if node.applied is not None:
        return "bias"
    if name == "embedding":
        return "embedding" if node.inputs else "position"
    if name in SUMS:
        flat = sum(size > 1 for size in p.shape) <= 1
        return "bias" if flat and use.direct else "position"
    if name in FACTORS:
        others = [source for _, source in node.inputs]
        normed = any(_is_bare_norm(graph, source) for source in others)
        return "norm gain" if normed and sum(size > 1 for size in p.shape) <= 1 else "scale"
    if name in ("cat", "stack", "copy", "where", "index_put", "masked_fill", "slice_scatter"):
        return "embedding"
    return "other"


def _is_bare_norm(graph: Graph, index: int) -> bool:
    """Return whether a tensor is normalised, has no gain yet, and goes nowhere else."""
    while True:
        node = graph.nodes[index]
        if len(graph.consumers[index]) > 1 and not graph.normalises(index):
            return False
        if graph.normalises(index):
            gained = any(use.place == 1 for use in node.uses) and is_norm(node)
            return not gained and len(graph.consumers[index]) == 1
        if op(node) not in REARRANGING or len(node.inputs) != 1:
            return False
        index = node.inputs[0][1]


def _map_parts(
    name: str,
    p: Tensor,
    described: WeightMap,
    graph: Graph,
    calls: Sequence[Node],
    writing: Mapping[int, float],
) -> list[Part]:
    """Return a map, or the parts of a fused one whose outputs go different ways."""
    if not described.kernel:  # what was applied may be a slice
        described = replace(described, fan_out=outputs(p, described))
    base = replace(_part(name, p, "inner", described), uses=len(calls))
    by_slice: dict[tuple[int, int] | None, list[Node]] = defaultdict(list)
    for call in calls:
        by_slice[_slice(call.applied, p, described)].append(call)
    parts: list[Part] = []
    for rows, own in sorted(by_slice.items(), key=lambda item: item[0] or (0, 0)):
        factors = [writing[c.index] for c in own[:_CALLS] if c.index in writing]
        start, stop = rows or (0, outputs(p, described))
        split = _split(graph, own[0], stop - start) or [((0, stop - start), _met(graph, own))]
        for (a, b), met in split:
            whole = rows is None and len(split) == 1
            part = replace(
                base,
                role=_role(graph, own, writing, met),
                attention=_attention(met),
                span=None if whole else (start + a, start + b),
                shape=(b - a, base.shape[1]),
                computed=own[0].applied is not None and len(own[0].applied.names) > 1,
                multiplier=factors[0] if factors else 1.0,
            )
            parts.append(part)
    return parts + _unused_rows(base, parts, outputs(p, described))


def _unused_rows(base: Part, parts: Sequence[Part], total: int) -> list[Part]:
    """Return the rows between the parts, which the input does not reach."""
    taken = sorted(part.span for part in parts if part.span is not None)
    edges = zip([0, *(b for _, b in taken)], [*(a for a, _ in taken), total], strict=True)
    return [
        replace(base, role="map", span=(a, b), shape=(b - a, base.shape[1]))
        for a, b in edges
        if taken and a < b
    ]


def _met(graph: Graph, calls: Sequence[Node]) -> frozenset[str]:
    return frozenset[str]().union(
        *(events(graph, graph.consumers[node.index]) for node in calls[:_CALLS])
    )


def _attention(met: frozenset[str]) -> str:
    return next((word for word in ("query", "key", "value") if word in met), "")


def _role(
    graph: Graph, calls: Sequence[Node], writing: Mapping[int, float], met: frozenset[str]
) -> Role:
    node = calls[0]
    assert node.applied is not None
    if node.applied.groups > 1 and node.applied.contracted is None:
        width = node.applied.shape[0 if node.applied.transposed else 1]
        if width == 1 or node.applied.groups == node.applied.shape[0]:
            return "depthwise"
    if any(call.index in writing for call in calls[:_CALLS]):
        return "writer"
    if "choice" in met:
        return "router"
    later = [a for a in graph.additions if graph.is_above(node.index, a)]
    before = [s for s in graph.stream if s != node.index and graph.is_above(s, node.index)]
    if graph.additions and not later:
        return "head"
    if graph.additions and not before:
        return "stem"
    if any(graph.reads_stream(call.index) for call in calls[:_CALLS]):
        return "gate" if "gate" in met else "reader"
    return "inner"


def _slice(applied: Applied | None, p: Tensor, described: WeightMap) -> tuple[int, int] | None:
    """Return which rows of a matrix were applied, if not all of them."""
    if applied is None or p.ndim != 2 or not applied.stride or applied.contracted is None:
        return None
    axis = described.order[0]
    across = [a for a in range(len(applied.shape)) if a != applied.contracted % len(applied.shape)]
    size = applied.shape[across[-1]] if across else 1
    if size == p.shape[axis] or p.stride(axis) == 0:
        return None
    start = (applied.offset - int(p.storage_offset())) // p.stride(axis)
    inside = start >= 0 and start + size <= p.shape[axis]
    return (start, start + size) if inside else None


def _split(graph: Graph, node: Node, total: int) -> list[tuple[tuple[int, int], frozenset[str]]]:
    """Return the runs of a map's outputs that go different ways, with what becomes of each."""
    groups: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
    for consumer, place, rows in _consumers(graph, node):
        groups[tuple(rows.tolist())].append((consumer, place))
    met: dict[int, set[str]] = defaultdict(set)
    for rows, consumers in groups.items():
        if not consumers:
            continue
        what = events(graph, consumers)
        for row in rows:
            met[row] |= what
    signatures = [frozenset(met.get(row, ())) & _TELLING for row in range(total)]
    if not any(signatures):
        return []
    edges = [0, *(i for i in range(1, total) if signatures[i] != signatures[i - 1]), total]
    if len(edges) > 8 or min(b - a for a, b in pairwise(edges)) < 2:
        return []  # interleaved: head by head, or channel by channel
    return [((a, b), frozenset(met.get(a, ()))) for a, b in pairwise(edges)]


_TELLING = frozenset(("query", "key", "value", "gate", "gated"))


def _consumers(graph: Graph, node: Node) -> Iterator[tuple[int, int, Tensor]]:
    """Yield (consumer, operand, outputs) of what uses a map's output or views of it."""
    todo, seen = [node.index], set()
    while todo:
        index = todo.pop()
        if index in seen:
            continue
        seen.add(index)
        for after, place in graph.consumers[index]:
            rows = graph.nodes[after].rows.get(place)
            if rows is not None:
                yield after, place, rows
            elif not graph.nodes[after].rows and graph.nodes[after].applied is None:
                todo.append(after)


def _as_siblings(parts: list[Part], parameters: Mapping[str, Tensor]) -> list[Part]:
    """Give what no pass reached, as an expert without tokens, the maps of one by the same name."""
    reached: dict[tuple, list[Part]] = {}
    for name, own in groupby(parts, key=lambda part: part.parameter):
        maps = list(own)
        if all(part.map is not None and part.uses for part in maps):
            reached.setdefault((maps[0].kind, parameters[name].shape), maps)
    result: list[Part] = []
    for part in parts:
        same = reached.get((part.kind, parameters[part.parameter].shape), [])
        if part.role == "unused" and part.map is None and same:
            result += [replace(one, parameter=part.parameter, uses=0) for one in same]
        else:
            result.append(part)
    return result


def _by_kind(parts: list[Part]) -> list[Part]:
    """Give what no pass reached the role of what goes by the same name with other numbers."""
    votes: dict[tuple, Counter[Role]] = defaultdict(Counter)
    for part in parts:
        if part.role not in ("map", "unused"):
            votes[part.kind, part.span, part.shape][part.role] += 1
    result = []
    for part in parts:
        known = votes.get((part.kind, part.span, part.shape))
        if known and part.role in ("map", "unused"):
            part = part.with_role(known.most_common(1)[0][0])
        result.append(part)
    return result
