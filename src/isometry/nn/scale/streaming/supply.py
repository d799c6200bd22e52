"""Where the weights of a streamed model come from: a recipe's draw, or files of safetensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from isometry.nn.init.draw import fill_
from isometry.nn.init.draw_entries import key_of
from isometry.nn.init.draw_recipe import Fill

_BLIND = Fill(std=0.02)
"""What a parameter is before anything is known of its role."""

_WEIGHTS = {"F64", "F32", "F16", "BF16"}
"""Types of safetensors files in which a parameter's entries are what it is."""


@dataclass
class Drawn:
    """Weights drawn by a recipe, each entry by its place; roles become known as blocks are met."""

    seed: int
    fills: dict[str, Fill] = field(default_factory=dict)

    def __call__(self, name: str, parameter: Tensor) -> None:
        """Write what the recipe says, or leave what is there."""
        if name in self.fills:
            fill_(parameter, self.fills[name], key_of(self.seed, name))


@dataclass(frozen=True)
class Blind:
    """Weights of any values, to see what they are for."""

    unfilled: frozenset[str]

    def __call__(self, name: str, parameter: Tensor) -> None:
        """Write small random numbers where there is nothing."""
        if name in self.unfilled:
            fill_(parameter, _BLIND, key_of(0, name))


@dataclass(frozen=True)
class Stored:
    """Weights in a folder of safetensors files: {name of the model: (file, name in the file)}."""

    places: Mapping[str, tuple[Path, str]]

    def __call__(self, name: str, parameter: Tensor) -> None:
        """Read the parameter, in its own type."""
        path, key = self.places[name]
        with safe_open(path, "pt") as file:
            parameter.copy_(file.get_tensor(key))


def stored(
    folder: Path,
    shapes: Mapping[str, Sequence[int]],
    kept: Mapping[str, Sequence[int]],
    tied: Mapping[str, Sequence[str]],
) -> Stored:
    """Find a model's parameters and buffers in the safetensors files of a folder.

    Args:
        folder: With one file or several, as a checkpoint's shards.
        shapes: {name: shape} of the parameters. A name may lack a prefix that the files' names
            have ("model."), or have one that they lack.
        kept: The same of the buffers that a state dict keeps; the files may lack them.
        tied: {name: all names} of parameters that have several; the files have one of them.

    Raises:
        FileNotFoundError: If the folder has no such file.
        ValueError: If a parameter is missing, has another shape or is quantised, or a file cannot
            be read.
    """
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        raise FileNotFoundError(
            f"`weights` is {folder}; expected a folder with files that end in .safetensors."
        )
    found: dict[str, tuple[Path, tuple[int, ...], str]] = {}
    for path in files:
        try:
            with safe_open(path, "pt") as file:
                slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
                found |= {k: (path, tuple(s.get_shape()), s.get_dtype()) for k, s in slices.items()}
        except (OSError, SafetensorError) as error:
            raise ValueError(
                f"`weights` has {path.name}, which cannot be read ({error}); expected a file of "
                "safetensors."
            ) from error
    keys = {
        name: next(filter(None, (_key(n, found) for n in tied.get(name, [name]))), None)
        for name in (*shapes, *kept)
    }
    wanted = {**shapes, **kept}
    wrong = [f"{name} is missing" for name in shapes if keys[name] is None] + [
        f"{name} has shape {found[key][1]}, not {tuple(wanted[name])}"
        for name, key in keys.items()
        if key is not None and found[key][1] != tuple(wanted[name])
    ]
    if wrong:
        told = "; ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise ValueError(
            f"`weights` is {folder}, which does not fit the model: {told}. Expected the names and "
            "shapes of its parameters. Save the model once as it is in memory: "
            "`safetensors.torch.save_model(model, 'folder/model.safetensors')`."
        )
    _refuse_quantised(folder, {n: found[k][2] for n in shapes for k in [keys[n]] if k is not None})
    return Stored({name: (found[key][0], key) for name, key in keys.items() if key is not None})


def _refuse_quantised(folder: Path, types: Mapping[str, str]) -> None:
    """Refuse parameters whose entries are codes, which are not the weights.

    Raises:
        ValueError: If there is one.
    """
    codes = {name: kind for name, kind in types.items() if kind not in _WEIGHTS}
    if codes:
        name, kind = next(iter(codes.items()))
        raise ValueError(
            f"`weights` is {folder}, in which {name} and {len(codes) - 1} more are quantised "
            f"({kind}): codes, which are weights only times their scales; expected float32, "
            "float64, bfloat16 or float16. Dequantise the checkpoint, and save it in bfloat16."
        )


def _key(name: str, found: Mapping[str, object]) -> str | None:
    """Return what the files call a parameter: its name, with a prefix more or less."""
    if name in found:
        return name
    longer = [key for key in found if key.endswith(f".{name}")]
    if len(longer) == 1:
        return longer[0]
    shorter = name.partition(".")[2]
    return shorter if shorter in found else None
