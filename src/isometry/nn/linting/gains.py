"""Rules about vectors: gains of normalisations and biases."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator

from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.finding import Finding
from isometry.nn.linting.statistics import Summary
from isometry.nn.roles.graph import REARRANGING, SUMS, op
from isometry.nn.roles.parts import Part

_SPREAD = 1e-4
"""Relative spread of a gain's entries from which they are not one number."""
_OFF = 1.1
"""Ratio to torch's default from which a random bias is larger than it."""


def norm_gains(evidence: Evidence) -> Iterator[Finding]:
    """Find gains of normalisations whose entries differ before any training."""
    if evidence.trained:
        return
    for part in evidence.parts:
        summary = evidence.summaries.get(part.name)
        if part.role != "norm gain" or summary is None or not summary.finite or summary.size < 2:
            continue
        if summary.constant or summary.std <= _SPREAD * max(summary.rms, 1e-3):
            continue
        around = "0" if abs(summary.mean) < summary.std else f"{summary.mean:.3g}"
        yield Finding(
            part.name, "norm-gain", "error" if around == "0" else "warning",
            f"The gain of a normalisation is drawn at random: its entries have a standard "
            f"deviation of {summary.std:.3g} around {around}.",
            "Set it to 1 (0 where the module adds 1); trained weights are linted with "
            "`trained=True`.", summary.std,
        )  # fmt: skip
    yield from _shifts(evidence)
    yield from _unequal(evidence)
    yield from _silent(evidence)


def _shifts(evidence: Evidence) -> Iterator[Finding]:
    """Find biases beside the gains of normalisations whose entries differ before any training."""
    gains = {p.parameter for p in evidence.parts if p.role == "norm gain"}
    for part in evidence.parts:
        summary = evidence.summaries.get(part.name)
        gain = part.parameter.removesuffix("bias") + "weight"
        if part.role != "bias" or gain not in gains or summary is None or not summary.finite:
            continue
        if not summary.constant and summary.std > _SPREAD:
            yield Finding(
                part.name, "norm-gain", "warning",
                f"The bias of a normalisation is drawn at random: its entries have a standard "
                f"deviation of {summary.std:.3g} around {summary.mean:.3g}.",
                "Set it to 0; trained weights are linted with `trained=True`.", summary.std,
            )  # fmt: skip


def _silent(evidence: Evidence) -> Iterator[Finding]:
    """Find gains of 0 that are multiplied by as they are, and not at the end of a branch."""
    graph = evidence.followed.graph
    if graph is None:
        return
    ends = _added(evidence)
    direct = {u.names[0] for node in graph.nodes for u in node.uses if u.direct}
    for part in evidence.parts:
        summary = evidence.summaries.get(part.name)
        zero = summary is not None and summary.constant and summary.mean == 0
        if part.role == "norm gain" and zero and part.parameter in direct - ends:
            yield Finding(
                part.name, "norm-gain", "warning",
                "The gain of a normalisation is 0 and not at the end of a branch: what comes "
                "behind it sees nothing.",
                "Set it to 1.", 0.0,
            )  # fmt: skip


def _unequal(evidence: Evidence) -> Iterator[Finding]:
    """Find constant gains that are not what the same gain is in the other layers."""
    groups: dict[tuple, list[tuple[Part, Summary]]] = defaultdict(list)
    ends = _ends_of_branches(evidence)
    for part in evidence.parts:
        summary = evidence.summaries.get(part.name)
        if part.role == "norm gain" and summary is not None and summary.constant:
            groups[part.kind, part.parameter in ends].append((part, summary))
    for same in groups.values():
        values = [summary.mean for _, summary in same]
        usual = statistics.mode(values)
        odd = [(part, s.mean) for part, s in same if s.mean != usual]
        odd = [(part, value) for part, value in odd if value != 0 or part.parameter in ends]
        if len(same) >= 3 and 0 < len(odd) <= (len(same) - 1) // 2:
            for part, value in odd:
                yield Finding(
                    part.name, "norm-gain", "warning",
                    f"It is {value:.4g}, while {len(same) - len(odd)} of its siblings are "
                    f"{usual:.4g}.",
                    "Set it as they are set.", value,
                )  # fmt: skip


def _ends_of_branches(evidence: Evidence) -> set[str]:
    """Return the gains whose result is added to the stream: a block may start at 0 by them."""
    graph = evidence.followed.graph
    if graph is None:
        return set()
    ending = set().union(*(graph.linear_part(b) for _, b in graph.additions.values()), set())
    return {use.names[0] for index in ending for use in graph.nodes[index].uses}


def _added(evidence: Evidence) -> set[str]:
    """Return the gains whose result is added to anything: what is added to still goes on."""
    graph = evidence.followed.graph
    assert graph is not None
    sums = [node for node in graph.nodes if op(node) in SUMS and len(node.inputs) == 2]
    ending = {i for node in sums for _, side in node.inputs for i in graph.linear_part(side)}
    return {use.names[0] for index in ending for use in graph.nodes[index].uses}


def biases(evidence: Evidence) -> Iterator[Finding]:
    """Find random biases that are larger than what the weights make of the input.

    In a deep network of torch's default, whose signal shrinks to what the biases feed in, they are
    that as well: what is within its bound of 1 / sqrt(fan_in) is left alone.
    """
    graph = evidence.followed.graph
    if graph is None or evidence.trained:
        return
    beside = _beside(evidence)
    for part in evidence.parts:
        summary = evidence.summaries.get(part.name)
        if part.role != "bias" or summary is None or part.parameter not in beside:
            continue
        rest, fan_in = beside[part.parameter]
        if not summary.finite or summary.constant or abs(summary.mean) > summary.std:
            continue
        default = (3 * fan_in) ** -0.5
        if summary.std <= default * max(_OFF, math.exp(6 * summary.standard_error)):
            continue
        if _speaks_alone(evidence, part.parameter):
            continue
        if summary.rms > rest:
            yield Finding(
                part.name, "bias-size", "warning",
                f"Its entries are random with a root mean square of {summary.rms:.3g}, more than "
                f"the {rest:.3g} that the weights make of the input, and their standard deviation "
                f"is {summary.std / default:.3g} times torch's default of {default:.3g}.",
                f"Set it to 0, or draw it within 1 / sqrt(fan_in) = {fan_in**-0.5:.3g}.",
                summary.rms / max(rest, 1e-30),
            )  # fmt: skip


def _speaks_alone(evidence: Evidence, bias: str) -> bool:
    """Return whether the weights beside a bias are all 0: it opens gates and drowns nothing."""
    weight = bias.removesuffix("bias") + "weight"
    beside = [evidence.summaries.get(p.name) for p in evidence.parts if p.parameter == weight]
    return bool(beside) and all(summary is not None and summary.rms == 0 for summary in beside)


def _beside(evidence: Evidence) -> dict[str, tuple[float, int]]:
    """Return {bias: root mean square of what its map gives without it, fan_in of that map}."""
    graph = evidence.followed.graph
    assert graph is not None
    fans = {part.parameter: evidence.default_fan(part) for part in evidence.maps}
    found: dict[str, tuple[float, int]] = {}
    for node in graph.nodes:
        bias = (node.applied and node.applied.bias) or ""
        if node.applied is not None and node.applied.name in fans and bias in evidence.summaries:
            rest = math.sqrt(max(node.rms**2 - evidence.summaries[bias].rms ** 2, 0.0))
            found.setdefault(bias, (rest, fans[node.applied.name]))
        if op(node) in SUMS and len(node.inputs) == 1 and node.uses:
            before = graph.nodes[node.inputs[0][1]]
            while op(before) in REARRANGING and len(before.inputs) == 1:
                before = graph.nodes[before.inputs[0][1]]
            if before.applied is not None and before.applied.name in fans:
                found.setdefault(node.uses[0].names[0], (before.rms, fans[before.applied.name]))
    return found
