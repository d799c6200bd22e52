"""The stream's growth in the pass, against what branches that are independent of it would give."""

import math
from collections.abc import Iterator

from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.finding import Finding
from isometry.nn.roles.graph import Graph

_MUCH = 3.0
"""Growth of the root mean square that is worth a note."""
_ALIGNED = 1.5
"""Measured over predicted growth that is worth a note: 53 families of models lie in .90 to 1.12."""


def growth(evidence: Evidence) -> Iterator[Finding]:
    """Note a stream that grows, and branches that are not independent of it."""
    graph = evidence.followed.graph
    if graph is None or evidence.trained or len(graph.additions) < 2:
        return
    sums = [graph.nodes[a].rms for a in graph.additions]
    measured, aligned = sums[-1] / sums[0] if sums[0] > 0 else math.nan, alignment(graph)
    if not (math.isfinite(measured) and math.isfinite(aligned) and aligned > 0):
        return
    predicted = (
        f"{measured:.3g} times in root mean square from its first to its last of {len(sums)} "
        f"additions; with branches independent of it, it would by {measured / aligned:.3g}"
    )
    if measured > _MUCH:
        yield Finding(
            None, "growth", "note", f"The stream grows {predicted}.",
            "Depth scaling of the maps that write it, 1/sqrt(2L), keeps it level.", measured,
        )  # fmt: skip
    if aligned > _ALIGNED or aligned < 1 / _ALIGNED:
        yield Finding(
            None, "growth", "note",
            f"The branches are not independent of the stream: it changes {predicted}.",
            "They share a direction: an activation's mean (`plan(centre=True)` removes it), biases "
            "or layers that are alike, or weights that are copies.", aligned,
        )  # fmt: skip


def alignment(graph: Graph) -> float:
    """Return measured growth over that with branches that are uncorrelated with the stream.

    An addition of the sum's mean square m to the skip's s and the branch's b is off by m / (s + b);
    the result is the root of the product of these over all additions but the first, so that a norm
    or a factor on the stream between two additions changes nothing. Derived here.
    """
    total = 0.0
    for addition, (skip, branch) in list(graph.additions.items())[1:]:
        expected = math.hypot(graph.nodes[skip].rms, graph.nodes[branch].rms)
        rms = graph.nodes[addition].rms
        if not (rms > 0 and expected > 0):
            return math.nan
        total += math.log(rms / expected)
    return math.exp(total)
