"""One layer where it is called: its numbers, and what lint says of it alone."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.finding import Finding
from isometry.nn.linting.growth import growth
from isometry.nn.linting.laws import laws
from isometry.nn.linting.lint import RULES
from isometry.nn.linting.scales import layers
from isometry.nn.roles.follow import followed
from isometry.nn.sandbox.unwrap import plain_modules
from isometry.nn.scale.layer import run_layer
from isometry.nn.scale.probes import signs
from isometry.nn.scale.products import sums_of
from isometry.nn.scale.streaming.passed import Passed, renamed

_ALONE = tuple(rule for rule in RULES if rule not in (layers, laws, growth))
"""Rules that one layer's own weights answer."""


@dataclass(frozen=True)
class LayerCall:
    """A call of a layer, as the model makes it."""

    module: nn.Module
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def stream(self) -> Tensor:
        """The stream: the first tensor of floating point among what the layer takes.

        Raises:
            ValueError: If there is none.
        """
        for value in (*self.args, *self.kwargs.values()):
            if isinstance(value, Tensor) and value.is_floating_point():
                return value
        raise ValueError(
            f"`model` calls the layer {self.name!r} without a tensor of floating point; expected "
            "the stream among its arguments. Name the layers with `blocks=`."
        )

    def at(self, s: Tensor) -> Any:
        """Call the layer at another stream, all else the same."""
        own = self.stream
        args = [s if value is own else value for value in self.args]
        kwargs = {key: s if value is own else value for key, value in self.kwargs.items()}
        return self.module(*args, **kwargs)


def measured(call: LayerCall, *, seed: int, number: int, num_probes: int, trained: bool) -> Passed:
    """Return the numbers of a layer that has its weights, and what it hands on.

    Raises:
        ValueError: If a number is not finite.
    """
    s = call.stream.detach()
    outputs: list[Any] = []

    def layer(point: Tensor) -> Any:
        outputs[:] = [call.at(point)]
        return outputs[0]

    names = {m: f"{call.name}.{key}".strip(".") for key, m in plain_modules(call.module)}
    found = run_layer(layer, s, names)
    y = found.keep.output.detach()

    def draw(block: int, probe: int) -> Tensor:
        return signs((seed, number, block, probe), s.shape, dtype=s.dtype, device=s.device)

    sums = sums_of(found, draw, num_probes, call.name) if y.shape == s.shape else []
    output = tree_map(_cut, outputs[0])
    del found, outputs
    sizes = _size(s), _size(y)
    if not all(map(math.isfinite, sizes)):
        raise ValueError(
            f"`model` has a layer {call.name!r} behind which the stream is not finite; expected "
            "finite numbers. Look for NaN or infinite weights, or a smaller recipe."
        )
    evidence = Evidence(followed(call.at, s), trained)
    return Passed(
        name=call.name,
        blocks=tuple(sums),
        sizes=sizes,
        parts=tuple(renamed(part, f"{call.name}.{part.parameter}") for part in evidence.parts),
        summaries={f"{call.name}.{key}": one for key, one in evidence.typical.items()},
        orthogonal=tuple(
            f"{call.name}.{part.name}" for part in evidence.maps if evidence.is_orthogonal(part)
        ),
        findings=tuple(_findings(evidence, call.name)),
        output=output,
    )


def _findings(evidence: Evidence, layer: str) -> Iterator[Finding]:
    """Yield what looks wrong in one layer alone, under the model's names."""
    for rule in _ALONE:
        for finding in rule(evidence):
            name = layer if finding.parameter is None else f"{layer}.{finding.parameter}"
            yield replace(finding, parameter=name)


def _size(tensor: Tensor) -> float:
    """Return the root mean square of a tensor's entries."""
    return float(tensor.double().square().mean().sqrt())


def _cut(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf
