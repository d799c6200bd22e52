"""Draw all weights by a recipe so that they are the same on any number of processes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from isometry._checks import check_integer
from isometry._typing import Checked, Integer
from isometry.nn.init.draw_entries import key_of, normals, runs
from isometry.nn.init.draw_recipe import Fill, factors, fills
from isometry.nn.roles.follow import followed
from isometry.nn.roles.recipes import RecipeLike, recipe_of
from isometry.nn.sandbox._typing import ModelInput
from isometry.nn.sandbox.shards import held_indices
from isometry.nn.sandbox.unwrap import plain_parameters, unwrapped

SomeModule = TypeVar("SomeModule", bound=Callable[..., Any])


def draw_(
    model: SomeModule,
    recipe: RecipeLike,
    seed: Integer,
    *,
    x: ModelInput = None,
    keep: Checked[Sequence[str]] = (),
) -> SomeModule:
    """Draw the weights of a model by a recipe, each entry known by the seed and its own place.

    Args:
        model: A module, whole or sharded (FSDP2, tensor parallelism, both), compiled or not; what
            is on the meta device and not sharded gets storage on the CPU.
        recipe: As for :func:`isometry.nn.lint`: "gpt2", "llama", ..., a table of laws by role, or
            a TOML file with one. Laws give standard deviations; all draws are normal.
        seed: Of the draw; an entry depends on it, on the parameter's name and on the entry's
            place in the whole tensor, and on nothing else.
        x: An input, as the model takes it, where the recipe tells apart what only a pass shows:
            maps that write the stream, queries. Of a sharded model only its shape counts.
        keep: Names of parameters that stay as they are; a star stands for anything.

    Returns:
        The model.

    Raises:
        TypeError: If ``model`` is no module, ``seed`` is not an integer, or the recipe is of
            another type.
        ValueError: If the recipe is not known, says nothing of a parameter, or needs an input;
            nothing is written then. If a sharded parameter has no storage.
        NotImplementedError: If a parameter is a sum over processes.

    Notes:
        A role that the recipe has no law for: gains of normalisations are 1 (0 where the model
        adds 1 to them), biases 0, embeddings normal of standard deviation 1, other maps (stem,
        head, router) by the law of maps that read the stream; the row of an embedding's padding
        is 0. Where the recipe fits a common factor in lint, it is 1 here.

        Numbers are drawn in float32 on the CPU and then converted, and each process draws the
        entries that it holds and no others, in about the time that `torch.randn` takes for them.
        They are the same bits on every number of processes of one kind of processor; another kind
        may round the last bit otherwise.

    References:
        [salmon2011] SC '11, doi:10.1145/2063384.2063405: Philox, a generator by counter.

    Examples:
        >>> one = draw_(nn.Linear(3, 2), "llama", seed=0)
        >>> other = draw_(nn.Linear(3, 2, device="meta"), "llama", seed=0)
        >>> bool((one.weight == other.weight).all())
        True
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"`model` is a {type(model).__name__}; expected a torch.nn.Module.")
    seed = check_integer("seed", seed, minimum=0)
    chosen = recipe_of(recipe)
    root: Any = unwrapped(model)
    known = plain_parameters(root)
    _refuse_unplaced(known)
    seen = followed(root, x)
    whole = {name: _whole(p) for name, p in seen.parameters.items()}
    made = fills(replace(seen, parameters=whole), chosen, keep)
    parts = {name: held_indices(known[name]) for name in made}
    for name, fill in made.items():
        fill_(_with_storage(root, known[name]), fill, key_of(seed, name), parts[name])
    return model  # pyright: ignore[reportReturnType]


@torch.no_grad()
def fill_(
    parameter: Tensor, fill: Fill, key: int, indices: Sequence[np.ndarray | None] | None = None
) -> None:
    """Write what a parameter becomes into the part of it that this process holds.

    Args:
        parameter: The parameter, with storage.
        fill: What it becomes.
        key: Of its sequence of numbers.
        indices: For each axis the places that are held; found without.
    """
    held: Any = parameter.detach()
    places = held_indices(parameter) if indices is None else indices
    shape = tuple(parameter.shape)
    local: Tensor = held.to_local() if hasattr(held, "to_local") else held
    if fill.std == 0:
        local.fill_(fill.value)
        return
    target = local if local.is_contiguous() else torch.empty(local.shape, dtype=local.dtype)
    flat, at = target.view(-1), 0
    for numbers in _numbers(key, shape, places):
        drawn = torch.from_numpy(numbers).mul_(fill.std)
        flat[at : at + len(drawn)].copy_(drawn)
        at += len(drawn)
    if fill.axis is not None:
        own = torch.tensor(factors(fill), dtype=torch.float32)[_slot(places[fill.axis])]
        target.mul_(
            own.to(target).reshape([-1 if a == fill.axis else 1 for a in range(len(shape))])
        )
    if fill.blank is not None:
        rows = np.arange(shape[0]) if places[0] is None else places[0]
        target[torch.from_numpy(np.flatnonzero(rows == fill.blank % shape[0]))] = 0.0
    if target is not local:
        local.copy_(target)


def _numbers(
    key: int, shape: tuple[int, ...], places: Sequence[np.ndarray | None]
) -> Iterator[np.ndarray]:
    for start, stop in runs(shape, places):
        yield from normals(key, start, stop)


def _slot(places: np.ndarray | None) -> Any:
    return slice(None) if places is None else torch.from_numpy(places)


def _whole(parameter: Tensor) -> Tensor:
    """Return a tensor of the whole shape without values for a shard, others as they are."""
    if not hasattr(parameter, "placements"):
        return parameter
    return torch.empty(parameter.shape, dtype=parameter.dtype, device="meta")


def _refuse_unplaced(known: dict[str, Tensor]) -> None:
    """Refuse shards without storage, which only the mesh's own call can give them.

    Raises:
        ValueError: If there is one.
    """
    empty = [name for name, p in known.items() if p.is_meta and hasattr(p, "placements")]
    if empty:
        raise ValueError(
            f"`model` has {empty[0]!r} sharded and on the meta device; expected shards with "
            "storage. Call `model.to_empty(device=...)` first."
        )


def _with_storage(root: nn.Module, parameter: Tensor) -> Tensor:
    """Return a parameter, or what takes its place in all modules that hold it, with storage."""
    if not parameter.is_meta:
        return parameter
    new = nn.Parameter(
        torch.empty(parameter.shape, dtype=parameter.dtype), requires_grad=parameter.requires_grad
    )
    for module in root.modules():
        for key, held in module._parameters.items():
            if held is parameter:
                module._parameters[key] = new
    return new
