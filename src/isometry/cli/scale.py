"""The command that measures every block of a model, on all the ranks that hold it together."""

from pathlib import Path

from isometry._checks import check_real
from isometry.cli.output import check_place, complain, json_text


def scale(
    model: str,
    /,
    *,
    input: str,
    mesh: str | None = None,
    split: str | None = None,
    blocks: list[str] | None = None,
    num_probes: int = 8,
    seed: int = 0,
    c: float | None = None,
    timeout: float = 300.0,
    save: Path | None = None,
    json: bool = False,
) -> int:
    """Measure c, gains and stream growth of every block, on one process or under torchrun.

    Args:
        model: module:callable or file.py:callable. The callable returns the model, sharded or not;
            it may take the device mesh. Without it, FSDP2 shards the model over the batch's ranks.
        input: A batch, as .pt, .npy or .safetensors, or the word tokens for random token ids:
            tokens:4x64 are four sequences of 64.
        mesh: Names and sizes, as in dp=2,tp=2,pp=2; the batch is split along dp, and pp are the
            pipeline stages. All ranks share out the batch without.
        split: What else is split, as in tp=1: the stream along tp, over its axis 1.
        blocks: Names of the layers; the children of the model's lists of modules without.
        num_probes: Random sign vectors a block, at least 3.
        seed: Of the probes, the token ids and the model's own draws.
        c: The c that the initialisation is to have: the exit status is 1 where it is off.
        timeout: Seconds that a rank waits for another.
        save: Write the report (.json), on rank 0.
        json: Print JSON.

    Returns:
        The exit status: 1 where c is not as wanted or a number is not finite.
    """
    from isometry.cli import ranks
    from isometry.nn.scale.scale import local_sums
    from isometry.nn.scale.together import together
    from isometry.report.files import write_text

    check_place("--save", save, ".json")
    wanted = None if c is None else check_real("c", c, minimum=0.0)
    sizes, axes = ranks.sizes_of("--mesh", mesh), ranks.sizes_of("--split", split)
    with ranks.joined(sizes, timeout) as place, together():
        net = ranks.load(model, place, seed)
        x, share = ranks.batch_of(input, net, place.share(axes or None), seed)
        measured = local_sums(net, x, share, blocks=blocks, num_probes=num_probes, seed=seed)
        report = measured.reduced().gathered(share.stages)
        if place.rank == 0:
            print(json_text(report) if json else report)  # noqa: T201
            if save is not None:
                write_text(save, json_text(report) + "\n")
                complain("written", save)
    return 0 if report.landed(wanted) else 1
