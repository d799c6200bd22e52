"""What a measurement of the blocks takes on one rank of many: bytes and calls, without the ranks.

Tensors are fake, and so is the process group: nothing is computed and nothing sent, but every
operation of one rank is seen, with its true shapes. Memory is what the operations of one
measurement keep alive at once, beside the rank's part of the weights.

Layers are alike, so that the numbers are linear in how many there are: they are taken at 2 and at 4
layers and continued to the true number; --whole runs all of them.

    python benchmarks/table_scale.py
"""

import argparse
from dataclasses import replace
from typing import Any

import torch
from torch import distributed
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

from _sized import SIZES, Decoder, Size, shard
from isometry._result import format_table
from isometry.nn.scale.cost import Cost, held_bytes
from isometry.nn.scale.scale import local_sums
from isometry.nn.scale.share import Share

ROWS = [
    ("7B", {"dp": 8}, 4096),
    ("70B", {"dp": 8, "tp": 8}, 4096),
    ("70B", {"dp": 64}, 4096),
    ("8 x 7B, 2 of 8 experts", {"dp": 16}, 4096),
]
PROBES = 4
GIB = 2**30


def measured(size: Size, sizes: dict[str, int], tokens: int, probes: int) -> dict[str, int]:
    """Return the bytes and the calls of one measurement on the first rank."""
    ranks = 1
    for count in sizes.values():
        ranks *= count
    distributed.init_process_group("fake", rank=0, world_size=ranks, store=FakeStore())
    try:
        mesh = init_device_mesh("cpu", tuple(sizes.values()), mesh_dim_names=tuple(sizes))
        share = Share.of(mesh)
        with torch.device("meta"):
            model = Decoder(size).eval()
        parameters = sum(p.numel() for p in model.parameters())
        shard(model, mesh)
        with FakeTensorMode(allow_non_fake_inputs=True):
            model.to_empty(device="cpu")
            x = torch.randint(0, size.words, (1, tokens))
            with Cost() as cost:
                found = local_sums(model, x, share, num_probes=probes)
            flat = torch.stack([row.flat for row in found.rows]).nbytes
            held = held_bytes(model)
    finally:
        distributed.destroy_process_group()
    counts = dict(cost.collectives)
    return {
        "parameters": parameters,
        "held": held,
        "peak": cost.peak,
        "blocks": len(found.rows),
        "gathers": sum(n for name, n in counts.items() if "gather" in name),
        "reductions": sum(n for name, n in counts.items() if "reduce" in name),
        "last": len(found.share.parts),
        "last bytes": 2 * flat,
    }


def continued(size: Size, sizes: dict[str, int], tokens: int) -> dict[str, float]:
    """Return what all layers take, from what 2 and 4 of them do."""
    few, more = (measured(replace(size, depth=d), sizes, tokens, PROBES) for d in (2, 4))
    return {key: few[key] + (more[key] - few[key]) / 2 * (size.depth - 2) for key in few}


def row(name: str, sizes: dict[str, int], tokens: int, whole: bool) -> dict[str, Any]:
    """Return one row of the table."""
    size = SIZES[name]
    found = measured(size, sizes, tokens, PROBES) if whole else continued(size, sizes, tokens)
    counts = ("blocks", "gathers", "reductions", "last")
    blocks, gathers, reductions, last = (round(found[key]) for key in counts)
    return {
        "model": name,
        "mesh": ", ".join(f"{k}={v}" for k, v in sizes.items()),
        "parameters, 10^9": found["parameters"] / 1e9,
        "blocks": blocks,
        "weights a rank, GiB": found["held"] / GIB,
        "peak beside them, GiB": found["peak"] / GIB,
        "all-gathers": gathers,
        "the model's all-reduces": reductions,
        "own reductions": last,
        "their kB": found["last bytes"] / 1e3,
    }


def main() -> None:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--whole", action="store_true", help="run all layers: minutes")
    whole = parser.parse_args().whole
    print(format_table([row(*case, whole) for case in ROWS], markdown=True))


if __name__ == "__main__":
    main()
