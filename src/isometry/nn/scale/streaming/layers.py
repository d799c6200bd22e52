"""The modules of a model that are run one after the other: its layers, by the lists they are in."""

from collections import Counter
from collections.abc import Sequence

from torch import nn


def layers_of(model: nn.Module, given: Sequence[str | nn.Module] | None) -> dict[nn.Module, str]:
    """Return {layer: name}, in the model's order.

    Args:
        model: The model.
        given: Modules or names to take; without, what is in the outermost lists (`ModuleList`) or,
            of one class, repeatedly in a `Sequential`, and has modules of its own.

    Raises:
        ValueError: If there is none, or a name is not known.
    """
    names = {module: name for name, module in model.named_modules()}
    if given is not None:
        return _given(model, names, given)
    found: dict[nn.Module, str] = {}
    for module, name in names.items():
        if not any(name.startswith(f"{other}.") for other in found.values()):
            found |= {child: names[child] for child in _listed(module)}
    if not found:
        raise ValueError(
            f"`model` is a {type(model).__name__} without a list of layers; expected a `ModuleList`"
            " or a `Sequential` of modules. Name the layers with `blocks=`."
        )
    return found


def _listed(module: nn.Module) -> list[nn.Module]:
    if not isinstance(module, (nn.ModuleList, nn.Sequential)):
        return []
    composite = [child for child in module if next(child.children(), None) is not None]
    if isinstance(module, nn.ModuleList):
        return composite
    counts = Counter(type(child) for child in composite)
    return [child for child in composite if counts[type(child)] > 1]


def _given(
    model: nn.Module, names: dict[nn.Module, str], given: Sequence[str | nn.Module]
) -> dict[nn.Module, str]:
    by_name = {name: module for module, name in names.items()}
    found: dict[nn.Module, str] = {}
    for block in given:
        module = by_name.get(block) if isinstance(block, str) else block
        if module is None or module not in names:
            raise ValueError(
                f"`blocks` has {block!r}, which is no module of {type(model).__name__}; expected "
                "names such as 'layers.0'."
            )
        found[module] = names[module]
    return found
