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


def stored(folder: Path, shapes: Mapping[str, Sequence[int]]) -> Stored:
    """Find a model's parameters in the safetensors files of a folder.

    Args:
        folder: With one file or several, as a checkpoint's shards.
        shapes: {name: shape} of the parameters. A name may lack a prefix that the files' names
            have ("model."), or have one that they lack.

    Raises:
        FileNotFoundError: If the folder has no such file.
        ValueError: If a parameter is missing or has another shape, or a file cannot be read.
    """
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        raise FileNotFoundError(
            f"`weights` is {folder}; expected a folder with files that end in .safetensors."
        )
    found: dict[str, tuple[Path, tuple[int, ...]]] = {}
    for path in files:
        try:
            with safe_open(path, "pt") as file:
                found |= {k: (path, tuple(file.get_slice(k).get_shape())) for k in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ValueError(
                f"`weights` has {path.name}, which cannot be read ({error}); expected a file of "
                "safetensors."
            ) from error
    keys = {name: _key(name, found) for name in shapes}
    wrong = [f"{name} is missing" for name, key in keys.items() if key is None] + [
        f"{name} has shape {found[key][1]}, not {tuple(shapes[name])}"
        for name, key in keys.items()
        if key is not None and found[key][1] != tuple(shapes[name])
    ]
    if wrong:
        told = "; ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise ValueError(
            f"`weights` is {folder}, which does not fit the model: {told}. Expected the names and "
            "shapes of its parameters."
        )
    return Stored({name: (found[key][0], key) for name, key in keys.items() if key is not None})


def _key(name: str, found: Mapping[str, object]) -> str | None:
    """Return what the files call a parameter: its name, with a prefix more or less."""
    if name in found:
        return name
    longer = [key for key in found if key.endswith(f".{name}")]
    if len(longer) == 1:
        return longer[0]
    shorter = name.partition(".")[2]
    return shorter if shorter in found else None
