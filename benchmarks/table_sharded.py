"""How far the numbers of a sharded model are from the whole one's, on two to eight processes.

Model, plans and pipeline stages are those of the tests (``tests/scale_worker.py``); every
process is a gloo rank on this machine. A row gives the largest difference of any rank's numbers.

    python benchmarks/table_sharded.py
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from isometry._result import format_table
from isometry.nn.scale.scale import measure_scale

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS))
cases: Any = importlib.import_module("cases_scale")

KINDS = {
    2: {
        "dp": "FSDP2",
        "tp": "tensor parallel",
        "sequence": "tensor parallel, the stream split along the sequence",
        "distributed": "the same, the stream a DTensor",
        "pp": "pipeline of two stages",
    },
    4: {
        "dp tp": "FSDP2 and tensor parallel",
        "pp dp": "pipeline of two stages, FSDP2 inside",
        "pp tp": "pipeline of two stages, tensor parallel inside",
    },
    8: {"dp tp pp": "pipeline of two stages, FSDP2 over tensor parallel inside"},
}
FLOOR = 1e-2
"""Size of v, by which differences of numbers that may be 0, such as t and k, are judged."""


def together(ranks: int) -> list[dict[str, Any]]:
    """Run the workers; return what each wrote."""
    places = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    own = {"PYTHONPATH": places, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(TESTS / "scale_worker.py")]
        workers = [
            subprocess.Popen([*command, str(rank), str(ranks), folder], env=os.environ | own)
            for rank in range(ranks)
        ]
        if any(worker.wait() for worker in workers):
            raise SystemExit("a worker failed; its output is above.")
        return [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(ranks)]


def row(kind: str, found: list[dict[str, Any]], whole: dict[str, Any]) -> dict[str, Any]:
    """Return the largest differences of one kind from the whole model."""
    pairs = [
        (a, b)
        for one in found
        for got, expected in zip(one["blocks"], whole["blocks"], strict=True)
        for a, b in zip(got, expected, strict=True)
    ]
    return {
        "model": kind,
        "processes": len(found),
        "c off by": max(abs(one["c"] / whole["c"] - 1) for one in found),
        "log scale off by": max(abs(one["log_scale"] - whole["log_scale"]) for one in found),
        "a block's t, v, k, c or gain off by": max(
            abs(a - b) / max(abs(b), FLOOR) for a, b in pairs
        ),
    }


def main() -> None:
    whole = cases.numbers(measure_scale(cases.whole_model(), cases.batch(), seed=3))
    rows = []
    for ranks, kinds in KINDS.items():
        found = together(ranks)
        rows += [row(said, [one[kind] for one in found], whole) for kind, said in kinds.items()]
    print(format_table(rows, markdown=True))


if __name__ == "__main__":
    main()
