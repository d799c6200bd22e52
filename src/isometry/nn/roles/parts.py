"""What lint speaks of: parameters and buffers, or parts of them, each with its role."""

import math
import re
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor

from isometry._result import Result
from isometry.nn.roles.uses import WeightMap

Role = Literal[
    "reader", "writer", "inner", "gate", "router", "stem", "head", "embedding", "position",
    "depthwise", "norm gain", "scale", "bias", "recurrence", "map", "other", "unused", "buffer",
]  # fmt: skip
"""What a parameter does: a map "reads" the stream, "writes" it, does neither ("inner") or makes
a factor ("gate"); "map" is one whose place no pass has shown."""

MAPS = ("reader", "writer", "inner", "gate", "router", "stem", "head", "depthwise", "map")
READERS = ("reader", "gate")


@dataclass(frozen=True)
class Part(Result):
    """A parameter or buffer, or the part of a fused one that has a role of its own.

    Attributes:
        parameter: The name in the model.
        role: What it does.
        shape: Of the part: (outputs, inputs) of a map, otherwise as it is stored.
        kind: The name with a star for every number: what repeats from layer to layer.
        span: First and last-plus-one of the outputs that are the part; None where all are.
        attention: "query", "key" or "value" where it makes one of them.
        stack: The kind's beginning, up to its first number: the layers that count together.
        map: The linear map, if it is one.
        tied: Further roles of the same tensor.
        uses: How often the pass applied it.
        computed: Whether the weight is made of it and others, as by weight normalisation.
        multiplier: Fixed number between a map that writes the stream and its addition.
    """

    parameter: str
    role: Role
    shape: tuple[int, ...]
    kind: str
    span: tuple[int, int] | None = None
    attention: str = ""
    stack: str = ""
    map: WeightMap | None = field(default=None, repr=False)
    tied: tuple[Role, ...] = ()
    uses: int = 0
    computed: bool = False
    multiplier: float = 1.0

    @property
    def name(self) -> str:
        """The parameter's name, with the rows where it is a part."""
        return self.parameter + ("" if self.span is None else f"[{self.span[0]}:{self.span[1]}]")

    @property
    def bank(self) -> bool:
        """Whether it is a stack of maps, as the experts of a mixture."""
        return self.map is not None and self.map.stacked > 0

    @property
    def fans(self) -> tuple[int, int]:
        """fan_in and fan_out."""
        assert self.map is not None
        out = self.map.fan_out if self.span is None else self.span[1] - self.span[0]
        return self.map.fan_in, out

    def with_role(self, role: Role) -> "Part":
        """Return the part with another role."""
        return replace(self, role=role)


def outputs(tensor: Tensor, described: WeightMap) -> int:
    """Return how many rows the matrix of one map of a parameter has."""
    stack = math.prod(tensor.shape[axis] for axis in described.order[: described.stacked])
    return described.matrix_shape(tensor.shape)[0] // stack


def kind_of(name: str) -> str:
    """Return a name with a star in the place of every number.

    Examples:
        >>> kind_of("h.3.attn.c_attn.weight")
        'h.*.attn.c_attn.weight'
    """
    return re.sub(r"(?<![a-zA-Z_])\d+", "*", name)


def stack_of(kind: str) -> str:
    """Return a kind up to its first star.

    Examples:
        >>> stack_of("encoder.layers.*.fc1.weight")
        'encoder.layers.'
    """
    return kind.partition("*")[0] if "*" in kind else ""


def layer_of(name: str) -> int | None:
    """Return the first number in a name, the layer's.

    Examples:
        >>> layer_of("encoder.layers.3.experts.1.weight")
        3
    """
    found = re.search(r"(?<![a-zA-Z_])\d+", name)
    return int(found[0]) if found else None
