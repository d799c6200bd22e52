"""What one layer's pass leaves: its numbers, its parts, and what it hands on; as files and back."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from isometry.nn.linting.finding import Finding
from isometry.nn.linting.statistics import Summary
from isometry.nn.roles.parts import Part, kind_of, stack_of
from isometry.nn.roles.uses import WeightMap
from isometry.nn.scale.products import BlockSums


@dataclass(frozen=True)
class Passed:
    """One call of a layer.

    Attributes:
        name: The layer's.
        blocks: The sums of its residual blocks; none where the stream's shape changes.
        sizes: Root mean square of the stream before and after it.
        parts: The parts of its parameters, under their names in the model.
        summaries: Their numbers.
        orthogonal: Names of the parts that are orthogonal.
        findings: What looks wrong in it alone.
        output: What it returned.
    """

    name: str
    blocks: tuple[BlockSums, ...]
    sizes: tuple[float, float]
    parts: tuple[Part, ...]
    summaries: Mapping[str, Summary]
    orthogonal: tuple[str, ...]
    findings: tuple[Finding, ...]
    output: Any = field(repr=False)


def packed(passed: Passed) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return a pass as a record of JSON's types, and its tensors.

    Raises:
        NotImplementedError: If the layer returns more than tensors, numbers and tuples of them.
    """
    tensors: dict[str, Tensor] = {}
    record = {
        "name": passed.name,
        "sizes": list(passed.sizes),
        "blocks": [_block(sums) for sums in passed.blocks],
        "parts": [asdict(part) for part in passed.parts],
        "summaries": {name: asdict(one) for name, one in passed.summaries.items()},
        "orthogonal": list(passed.orthogonal),
        "findings": [asdict(finding) for finding in passed.findings],
        "output": _plan(passed.output, tensors, passed.name),
    }
    return record, tensors


def unpacked(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Passed:
    """Return a pass from its record and its tensors, bit by bit as it was."""
    return Passed(
        name=record["name"],
        blocks=tuple(_sums(one) for one in record["blocks"]),
        sizes=tuple(record["sizes"]),
        parts=tuple(_part(one) for one in record["parts"]),
        summaries={name: Summary(**one) for name, one in record["summaries"].items()},
        orthogonal=tuple(record["orthogonal"]),
        findings=tuple(Finding(**one) for one in record["findings"]),
        output=_built(record["output"], tensors),
    )


def _block(sums: BlockSums) -> dict[str, Any]:
    numbers = {"products": sums.products.tolist(), "squares": sums.squares.tolist()}
    return {"name": sums.name, "skip": sums.skip, "entries": sums.entries} | numbers


def _sums(record: Mapping[str, Any]) -> BlockSums:
    wide = {key: torch.tensor(record[key], dtype=torch.float64) for key in ("products", "squares")}
    return BlockSums(record["name"], record["skip"], entries=record["entries"], **wide)


def _part(record: Mapping[str, Any]) -> Part:
    described = record["map"]
    if described is not None:
        described = WeightMap(**described | {"order": tuple(described["order"])})
    span = record["span"]
    fields: dict[str, Any] = {"shape": tuple(record["shape"]), "tied": tuple(record["tied"])}
    fields |= {"span": span and tuple(span), "map": described}
    return Part(**dict(record) | fields)


def _plan(output: Any, tensors: dict[str, Tensor], name: str) -> Any:
    if isinstance(output, Tensor):
        tensors[str(len(tensors))] = output.detach().contiguous().clone()
        return {"tensor": str(len(tensors) - 1)}
    if type(output) in _SEQUENCES.values():
        kind = "tuple" if isinstance(output, tuple) else "list"
        return {kind: [_plan(item, tensors, name) for item in output]}
    if output is None or isinstance(output, (bool, int, float, str)):
        return {"value": output}
    raise NotImplementedError(
        f"`model` has a layer {name!r} that returns a {type(output).__name__}; expected tensors, "
        "numbers or tuples of them, which can be kept. Leave out the folder that keeps them."
    )


def _built(plan: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    ((kind, content),) = plan.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "value":
        return content
    return _SEQUENCES[kind](_built(item, tensors) for item in content)


_SEQUENCES: dict[str, Callable[[Any], Any]] = {"tuple": tuple, "list": list}


def renamed(part: Part, name: str) -> Part:
    """Return a part of a layer under the model's name for its parameter."""
    kind = kind_of(name)
    return replace(part, parameter=name, kind=kind, stack=stack_of(kind))
