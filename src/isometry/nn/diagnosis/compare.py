"""Two initialisations side by side, matched by what parameters do and not by their names."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch

from isometry._result import Result, format_table, plain
from isometry.nn.diagnosis.cumulants import cumulants
from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.factors import named_factor
from isometry.nn.roles.follow import followed
from isometry.nn.roles.parts import Part
from isometry.nn.sandbox._typing import Generator, Model, ModelInput
from isometry.nn.sandbox.random import generator_or_fresh, seed_from
from isometry.nn.sandbox.specimen import Specimen

_SHOWN = 4
"""Names that a remark tells."""
_SIGMAS = 6.0
"""Standard errors within which two standard deviations are one."""


@dataclass(frozen=True)
class RoleDifference(Result):
    """Two maps with the same place in two models.

    Attributes:
        role: What both do; queries, keys and values by that name.
        a: Name in the first model.
        b: Name in the second model.
        std_a: Standard deviation in the first; NaN where its entries are not finite or have no
            values.
        std_b: The same in the second.
        ratio: Second over first; NaN where one of them is.
        differs: Whether that is more than chance, or one of the two alone is not finite.
    """

    role: str
    a: str
    b: str
    std_a: float
    std_b: float
    ratio: float
    differs: bool


@dataclass(frozen=True)
class ModelComparison(Result):
    """What :func:`compare_models` found; ``print`` it.

    Attributes:
        pairs: The maps that have a counterpart, in the order in which the first model runs them.
        only_a: Maps of the first model without a counterpart.
        only_b: Maps of the second model without a counterpart.
        c_a: c of every block of the first model, NaN where the skip is a matrix; empty where it was
            not measured.
        c_b: The same of the second.
        remarks: What was not compared, and why.
    """

    pairs: tuple[RoleDifference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    c_a: tuple[float, ...]
    c_b: tuple[float, ...]
    remarks: tuple[str, ...] = ()

    @property
    def compared(self) -> tuple[RoleDifference, ...]:
        """The pairs of which something is known: both have values, and not both are NaN."""
        return tuple(p for p in self.pairs if p.differs or not math.isnan(p.ratio))

    @property
    def differing(self) -> tuple[RoleDifference, ...]:
        """The pairs that differ by more than chance."""
        return tuple(pair for pair in self.pairs if pair.differs)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per pair."""
        return plain(self.pairs)

    def __str__(self) -> str:
        rows = [
            {"role": p.role, "a": p.a, "b": p.b, "b / a": p.ratio, "": named_factor(p.ratio)[2:]}
            for p in self.differing
        ]
        parts = [self._head(), *([format_table(rows)] if rows else [])]
        for word, names in (("first", self.only_a), ("second", self.only_b)):
            if names:
                parts.append(f"Only in the {word}: {_named(names)}.")
        if self.c_a or self.c_b:
            known = [[None if math.isnan(c) else c for c in own] for own in (self.c_a, self.c_b)]
            pairs = enumerate(zip_longest(*known))
            parts.append(
                format_table([{"block": i, "c of a": a, "c of b": b} for i, (a, b) in pairs])
            )
        return "\n\n".join([*parts, *self.remarks])

    def _head(self) -> str:
        if not self.pairs:
            return "No map has the same place in both models."
        if not self.compared:
            return f"None of {len(self.pairs)} maps with the same place could be compared."
        return f"{len(self.differing)} of {len(self.compared)} maps with the same place differ."


def compare_models(
    a: Model, b: Model, x: ModelInput, *, x_b: ModelInput = None, generator: Generator = None
) -> ModelComparison:
    """Compare the initialisations of two models, matched by role and order.

    The i-th map of a role in one model belongs to the i-th of that role in the other, fused weights
    part by part; names, classes and the layout of weights do not matter.

    Args:
        a: The first model, as for :func:`isometry.nn.lint`.
        b: The second: another implementation, or the same with the weights of a checkpoint.
        x: The input of both.
        x_b: The input of the second, where it takes another one.
        generator: Source of the probes for c; without one `torch.manual_seed` decides.

    Returns:
        The comparison; ``print`` it.

    Raises:
        TypeError: If a model is not callable, or an input does not fit.

    Notes:
        c of the blocks is from 8 probes, the same for both models; its standard error is that of
        :func:`isometry.nn.block_traces`.
    """
    other = x if x_b is None else x_b
    one, two = (Evidence(followed(m, z)) for m, z in ((a, x), (b, other)))
    pairs, only_a, only_b = _matched(one, two)
    seed = seed_from(generator_or_fresh(generator))
    (c_a, why_a), (c_b, why_b) = (_cumulants(m, z, seed) for m, z in ((a, x), (b, other)))
    remarks = [*_remarks("first", one, why_a), *_remarks("second", two, why_b)]
    if c_a and c_b and len(c_a) != len(c_b):
        remarks.append(
            f"The first has {len(c_a)} blocks and the second {len(c_b)}: those of a row have the "
            "same number from the input on, and no more in common."
        )
    return ModelComparison(tuple(pairs), tuple(only_a), tuple(only_b), c_a, c_b, tuple(remarks))


def _matched(one: Evidence, two: Evidence) -> tuple[list[RoleDifference], list[str], list[str]]:
    first, second = _by_place(one), _by_place(two)
    pairs = [
        _difference(one, two, p, q)
        for key in first
        for p, q in zip(first[key], second.get(key, ()), strict=False)
    ]
    return pairs, _left(first, second), _left(second, first)


def _left(one: Mapping[str, Sequence[Part]], two: Mapping[str, Sequence[Part]]) -> list[str]:
    return [p.name for key, parts in one.items() for p in parts[len(two.get(key, ())) :]]


def _by_place(evidence: Evidence) -> dict[str, list[Part]]:
    """Return the maps by what they do, each list in the order in which the pass runs them."""
    graph = evidence.followed.graph
    order = {} if graph is None else {
        node.applied.name: node.index for node in reversed(graph.nodes) if node.applied is not None
    }  # fmt: skip
    found: dict[str, list[Part]] = defaultdict(list)
    for part in sorted(evidence.maps, key=lambda p: order.get(p.parameter, math.inf)):
        found[part.attention or part.role].append(part)
    return found


def _difference(one: Evidence, two: Evidence, p: Part, q: Part) -> RoleDifference:
    s, t = one.summaries.get(p.name), two.summaries.get(q.name)
    if s is None or t is None or not (s.finite and t.finite):
        std_a, std_b = (z.std if z is not None and z.finite else math.nan for z in (s, t))
        differs = s is not None and t is not None and s.finite != t.finite
        return RoleDifference(_role(p), p.name, q.name, std_a, std_b, math.nan, differs)
    if s.std == 0 or t.std == 0:
        ratio = 1.0 if s.std == t.std else (math.inf if s.std == 0 else 0.0)
        return RoleDifference(_role(p), p.name, q.name, s.std, t.std, ratio, ratio != 1)
    ratio = t.std / s.std
    error = math.hypot(s.standard_error, t.standard_error)
    differs = abs(math.log(ratio)) > _SIGMAS * error
    return RoleDifference(_role(p), p.name, q.name, s.std, t.std, ratio, differs)


def _role(part: Part) -> str:
    return part.attention or part.role


def _cumulants(model: Model, x: ModelInput, seed: int) -> tuple[tuple[float, ...], str]:
    """Return c of every block, and what stands in its way, if any."""
    if x is None:
        return (), ""  # which the remark on the pass says
    try:
        specimen = Specimen.of(model, x, batch_norm="eval")
    except (ValueError, TypeError) as error:
        return (), str(error).partition("; expected")[0]
    return cumulants(specimen, torch.Generator().manual_seed(seed), batch_norm="eval")


def _remarks(which: str, evidence: Evidence, why: str) -> Iterator[str]:
    """Yield what is not known of one of the models."""
    known = {part.name: evidence.summaries.get(part.name) for part in evidence.maps}
    broken = [name for name, s in known.items() if s is not None and not s.finite]
    absent = [name for name, s in known.items() if s is None]
    if broken:
        yield f"NaN or infinite entries in the {which}: {_named(broken)}."
    if absent:
        yield f"Without values in the {which}, as on the meta device: {_named(absent)}."
    if evidence.followed.remark:
        yield f"Not looked at in the {which}: {evidence.followed.remark}."
    if why:
        yield f"c of the {which} is missing: {why}."


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"`{name}`" for name in names[:_SHOWN]) + more
