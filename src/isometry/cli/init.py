"""The command that initialises a user's own model at a chosen c and saves its weights."""

from pathlib import Path

from isometry._words import BatchNorm, PlanMethod, Scheme
from isometry.cli.output import check_place, complain, json_text
from isometry.cli.progress import progress


def init(
    model: str,
    /,
    *,
    input: list[Path],
    wrt: str | None = None,
    output: str | None = None,
    checkpoint: Path | None = None,
    c: float | None = None,
    condition_number: float | None = None,
    branch_gain: float | None = None,
    save: Path | None = None,
    blocks: list[str] | None = None,
    batch_norm: BatchNorm | None = None,
    method: PlanMethod | None = None,
    redraw: bool = False,
    scheme: Scheme = "normal",
    rtol: float = 0.02,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Initialise a model at an effective cumulant c; print the plan, save the weights.

    Args:
        model: module:callable or file.py:callable; the callable takes no argument and returns the
            model. Or hf:, timm: or torchvision: and a name, where that package is installed.
        input: A typical batch, as .pt, .npy or .safetensors; of a model with several inputs one
            file for each, in order, or one file that holds them by name.
        wrt: Name or place of the input to differentiate; the first of floating point without.
        output: Name or place of the output to differentiate; the first tensor without.
        checkpoint: Weights to start from: .safetensors, or .pt with a state dictionary.
        c: Effective cumulant of all blocks together; 1 by default.
        condition_number: Wanted condition number of the Jacobian in place of c.
        branch_gain: Wanted sum of |X|^2 / |S|^2 over the blocks, branch over skip, in place of c:
            where a skip S is a matrix.
        save: Where to write the weights (.safetensors); without it the plan is only printed.
        blocks: Names of the residual blocks; found by structure without.
        batch_norm: Statistics of batch normalisation: eval or batch.
        method: theory or data; chosen by the model without.
        redraw: Set gains that are off to 1 and draw zero weights anew.
        scheme: How weights are drawn: normal, orthogonal or delta_orthogonal.
        rtol: Accepted relative distance of every block's c from its share.
        seed: Seed of draws and probes.
        json: Print JSON.

    Raises:
        TypeError: If weights are to be saved and the model is no module.
    """
    import torch

    from isometry.cli import load
    from isometry.nn.init.init import apply_, plan

    check_place("--save", save, ".safetensors")
    x, net = load.load_inputs(input), load.load_model(model)
    load.load_checkpoint(net, checkpoint)
    if save is not None and not isinstance(net, torch.nn.Module):
        raise TypeError(
            f"`--save` is {save} but the model is a {type(net).__name__}; expected a "
            "torch.nn.Module, whose weights can be saved. Return the module that it calls."
        )
    with progress("blocks measured") as show:
        made = plan(
            net,
            x,
            wrt=load.key_of(wrt),
            output=load.key_of(output),
            c=c,
            condition_number=condition_number,
            branch_gain=branch_gain,
            blocks=blocks,
            batch_norm=batch_norm,
            method=method,
            redraw=redraw,
            scheme=scheme,
            rtol=rtol,
            generator=torch.Generator().manual_seed(seed),
            progress=show,
        )
    print(json_text(made) if json else made)  # noqa: T201
    if save is not None:
        from safetensors.torch import save_model

        save_model(apply_(net, made), str(save))
        complain("written", save)
