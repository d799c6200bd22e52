"""The command that says whether a model's initialisation landed, for people and for CI."""

from pathlib import Path
from typing import Literal

from isometry.cli.output import check_place, complain, json_text
from isometry.cli.progress import progress


def lint(
    model: str,
    /,
    *,
    input: list[Path] | None = None,
    checkpoint: Path | None = None,
    recipe: str | None = None,
    trained: bool = False,
    fail_on: Literal["error", "warning", "note", "never"] = "error",
    save: Path | None = None,
    against: Path | None = None,
    html: Path | None = None,
    json: bool = False,
) -> int:
    """Say whether a model's initialisation landed: what contradicts itself, and the remedy.

    Args:
        model: module:callable or file.py:callable; the callable takes no argument and returns the
            model. Or hf:, timm: or torchvision: and a name, where that package is installed.
        input: An input, as .pt, .npy or .safetensors; of a model with several inputs one file for
            each, in order, or one file that holds them by name. Without it fewer roles are known.
        checkpoint: Weights to put into the model: .safetensors, or .pt with a state dictionary.
        recipe: What the weights are to follow: gpt2, bert, llama, llama-depth, vit, t5, mup-like,
            completep-like, "torch default", he, resnet, xavier, or a .toml file.
        trained: The weights are meant to be trained: find those that are still a fresh draw.
        fail_on: Least severity that makes the exit status 1.
        save: Write a golden file (.json): roles, shapes and standard deviations.
        against: Compare with a golden file; what differs by more than chance is an error.
        html: Also write a self-contained page.
        json: Print JSON.

    Returns:
        The exit status: 1 where something of that severity is found.
    """
    from isometry.cli import load
    from isometry.cli.origin import origin
    from isometry.nn.linting.gate import with_golden
    from isometry.nn.linting.golden import save_golden
    from isometry.nn.linting.lint import lint as look
    from isometry.report import lint_page

    check_place("--save", save, ".json")
    check_place("--html", html)
    x = load.load_inputs(input) if input else None
    net = load.load_model(model)
    load.load_checkpoint(net, checkpoint)
    with progress("weights") as show:
        report = look(net, x, recipe=recipe, trained=trained, progress=show)
    if against is not None:
        report = with_golden(report, against)
    print(json_text(report) if json else report)  # noqa: T201
    if save is not None:
        save_golden(report, save)
        complain("written", save)
    if html is not None:
        lint_page(report, origin()).write_html(html)
        complain("written", html)
    return 0 if fail_on == "never" or not report.worst(fail_on) else 1
