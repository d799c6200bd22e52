"""Several processes on this machine that compute together: started, joined, their answers read."""

import contextlib
import datetime
import json
import os
import pathlib
import subprocess
import sys

import torch.distributed as dist

TESTS = pathlib.Path(__file__).parent


def together(worker, ranks, folder, *, seconds=280):
    """Run a worker of this folder as WORKER RANK RANKS FOLDER; return what each wrote."""
    places = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": places}
    workers = [
        subprocess.Popen(
            [sys.executable, str(TESTS / worker), str(rank), str(ranks), str(folder)],
            stderr=subprocess.PIPE,
            text=True,
            env=environment | {"GLOO_SOCKET_IFNAME": "lo"},
        )
        for rank in range(ranks)
    ]
    try:
        said = [process.communicate(timeout=seconds)[1] for process in workers]
    finally:
        for process in workers:
            process.kill()
    assert [process.returncode for process in workers] == [0] * ranks, said[0][-2000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)]


@contextlib.contextmanager
def joined():
    """Join the other processes; yield (ranks, a function that writes what this one answers)."""
    rank, ranks, folder = int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'store'}",
        rank=rank,
        world_size=ranks,
        timeout=datetime.timedelta(seconds=120),
    )

    def answer(results):
        (folder / f"{rank}.json").write_text(json.dumps(results, default=repr))
        dist.barrier()

    yield ranks, answer
    dist.destroy_process_group()
