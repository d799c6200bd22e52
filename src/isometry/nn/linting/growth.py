"""The stream's growth in the pass, against what the standard deviations alone predict."""

import math
from collections.abc import Iterator

from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.finding import Finding

_MUCH = 3.0
"""Growth of the root mean square that is worth a note."""


def growth(evidence: Evidence) -> Iterator[Finding]:
    """Note a stream that grows, and how much of it independent branches explain."""
    graph = evidence.followed.graph
    if graph is None or evidence.trained or len(graph.additions) < 2:
        return
    sums = [graph.nodes[a].rms for a in graph.additions]
    first, last = sums[0], sums[-1]
    if not (first > 0 and math.isfinite(last)):
        return
    measured = last / first
    if measured > _MUCH:
        yield Finding(
            None, "growth", "note",
            f"The stream grows {measured:.3g} times in root mean square from its first to its last "
            f"of {len(sums)} additions.",
            "Depth scaling of the maps that write it, 1/sqrt(2L), keeps it level.", measured,
        )  # fmt: skip
