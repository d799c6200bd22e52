"""The command that measures a model larger than memory, one layer after the other."""

from pathlib import Path
from typing import TYPE_CHECKING

from isometry.cli.output import check_folder, json_text
from isometry.cli.progress import progress

if TYPE_CHECKING:
    from torch import Tensor, nn


def stream(
    model: str,
    /,
    *,
    seq: int | None = None,
    input: list[Path] | None = None,
    recipe: str = "llama",
    weights: Path | None = None,
    trained: bool = False,
    blocks: list[str] | None = None,
    num_probes: int = 8,
    seed: int = 0,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Measure c, growth and initialisation of a model of any size, one layer in memory at a time.

    Args:
        model: module:callable, file.py:callable or hf:config.json; it is built without weights.
        seq: Number of random tokens to take for an input.
        input: An input in their place, as .pt, .npy or .safetensors.
        recipe: What the weights are drawn by, as in lint: gpt2, bert, llama, llama-depth, vit, t5,
            mup-like, completep-like, "torch default", he, resnet, xavier, or a .toml file.
        weights: A folder of .safetensors files to read the weights from in place of drawing them.
        trained: The weights read are meant to be trained.
        blocks: Names of the layers; found without.
        num_probes: Random probes for each residual block.
        seed: Seed of weights, probes and random tokens.
        out: A folder that keeps every finished layer: the same command goes on after a kill.
        json: Print JSON.
    """
    from isometry.cli import load
    from isometry.nn.scale.streaming.skeletons import skeleton
    from isometry.nn.scale.streaming.streaming import stream as measure

    check_folder("--out", out)
    with skeleton():
        net = load.load_model(model)
    x = load.load_inputs(input) if input else _tokens(net, seq, seed)
    with progress("layers") as show:
        found = measure(
            net,
            x,
            recipe=recipe,
            weights=weights,
            seed=seed,
            num_probes=num_probes,
            blocks=blocks,
            trained=trained,
            out=out,
            progress=show,
        )
    print(json_text(found) if json else found)  # noqa: T201


def _tokens(model: "nn.Module", count: int | None, seed: int) -> "Tensor":
    """Draw token ids that the model's first embedding has.

    Raises:
        ValueError: If no number is given, or the model has no embedding.
    """
    import torch

    found = [m for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    if count is None or count < 1 or not found:
        told = "the model has no embedding of tokens" if not found else f"`--seq` is {count}"
        raise ValueError(f"{told}; expected `--seq` with a number of tokens, or `--input` files.")
    source = torch.Generator().manual_seed(seed)
    return torch.randint(found[0].num_embeddings, (1, count), generator=source)
