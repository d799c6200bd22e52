"""Weights lent to modules for as long as they compute: on the meta device before and after."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Supply = Callable[[str, Tensor], None]
"""Where weights come from: called with a parameter's name and the tensor to write it into."""


@contextmanager
def lent(
    modules: Iterable[nn.Module], names: Mapping[Tensor, str], supply: Supply
) -> Iterator[None]:
    """Give modules weights for as long as the context is open.

    Args:
        modules: Each with the parameters that it holds itself.
        names: The model's names for its parameters.
        supply: Where the values come from; what has storage already is given as well.
    """
    made: dict[Tensor, nn.Parameter] = {}
    places: list[tuple[nn.Module, str, Tensor]] = []
    try:
        for module in modules:
            for key, held in module._parameters.items():
                if held is not None and held in names:
                    places.append((module, key, held))
                    if held not in made:
                        made[held] = _filled(held, names[held], supply)
                    module._parameters[key] = made[held]
        yield
    finally:
        for module, key, held in places:
            module._parameters[key] = held  # pyright: ignore[reportArgumentType]


def _filled(held: Tensor, name: str, supply: Supply) -> nn.Parameter:
    values = torch.empty(held.shape, dtype=held.dtype) if held.is_meta else held.detach().clone()
    supply(name, values)
    return nn.Parameter(values, requires_grad=False)


def first_names(root: nn.Module) -> dict[Tensor, str]:
    """Return the first name of every parameter; tied ones have one."""
    found: dict[Tensor, str] = {}
    for name, parameter in root.named_parameters(remove_duplicate=False):
        found.setdefault(parameter, name)
    return found


def tied_names(root: nn.Module) -> dict[str, list[str]]:
    """Return all names of every parameter, by its first."""
    first = first_names(root)
    found: dict[str, list[str]] = {}
    for name, parameter in root.named_parameters(remove_duplicate=False):
        found.setdefault(first[parameter], []).append(name)
    return found
