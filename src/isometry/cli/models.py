"""Commands about a user's own model, named as ``module:callable``."""

from pathlib import Path

from isometry._words import BatchNorm, SpectrumMethod
from isometry.cli.faults import in_options
from isometry.cli.output import PICTURES, check_place, complain, json_text, write_plot
from isometry.cli.progress import progress

_ADVISED = {
    name: f"--{name.replace('_', '-')}" for name in ("batch_norm", "method", "num_matvecs", "twin")
}
"""Arguments that a diagnosis may advise, and what they are called here."""


def diagnose(
    model: str,
    /,
    *,
    input: list[Path],
    wrt: str | None = None,
    output: str | None = None,
    checkpoint: Path | None = None,
    blocks: list[str] | None = None,
    batch_norm: BatchNorm | None = None,
    method: SpectrumMethod | None = None,
    num_probes: int | None = None,
    num_matvecs: int | None = None,
    twin: bool = False,
    seed: int = 0,
    html: Path | None = None,
    plot: Path | None = None,
    json: bool = False,
) -> None:
    """Measure a model's Jacobian spectrum and compare it with what its blocks predict.

    Args:
        model: module:callable or file.py:callable; the callable takes no argument and returns the
            model. Or hf:, timm: or torchvision: and a name, where that package is installed.
        input: One sample with its batch axis, as .pt, .npy or .safetensors; of a model with several
            inputs one file for each, in order, or one file that holds them by name.
        wrt: Name or place of the input to differentiate; the first of floating point without.
        output: Name or place of the output to differentiate; the first tensor without.
        checkpoint: Weights to put into the model: .safetensors, or .pt with a state dictionary.
        blocks: Names of the residual blocks; found by structure without.
        batch_norm: Statistics of batch normalisation: eval or batch.
        method: dense or lanczos; chosen by size without.
        num_probes: Random probes; they follow the size without.
        num_matvecs: Products each way per probe (lanczos); until resolved without.
        twin: Also measure the rotated twin, which tells whether the blocks are free of each other.
        seed: Seed of the probes.
        html: Also write a self-contained page with the figure.
        plot: Also write the figure alone: .svg, .png or .pdf.
        json: Print JSON.
    """
    import torch

    from isometry.cli import load
    from isometry.cli.origin import origin
    from isometry.nn.diagnosis.diagnosis import diagnose as measure
    from isometry.report import diagnosis_page

    check_place("--html", html)
    check_place("--plot", plot, *PICTURES)
    x, net = load.load_inputs(input), load.load_model(model)
    load.load_checkpoint(net, checkpoint)
    with progress("spectrum") as show:
        found = measure(
            net,
            x,
            wrt=load.key_of(wrt),
            output=load.key_of(output),
            blocks=blocks,
            batch_norm=batch_norm,
            method=method,
            num_probes="auto" if num_probes is None else num_probes,
            num_matvecs="auto" if num_matvecs is None else num_matvecs,
            twin=twin,
            generator=torch.Generator().manual_seed(seed),
            progress=show,
        )
    print(json_text(found) if json else in_options(str(found), _ADVISED))  # noqa: T201
    write_plot(plot, found.plot)
    if html is not None:
        diagnosis_page(found, origin(seed=seed)).write_html(html)
        complain("written", html)
