"""Look through what people wrap a model in: the function and the names inside are the same."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

_HOLDERS = (DataParallel, DistributedDataParallel, AveragedModel)


def held_by(module: object) -> nn.Module | None:
    """Return the module that a wrapper holds: a compiled, a data-parallel, an averaged one."""
    if isinstance(module, _HOLDERS):
        return module.module
    compiled = getattr(module, "_orig_mod", None) if isinstance(module, nn.Module) else None
    return compiled if isinstance(compiled, nn.Module) else None


def unwrapped(model: Callable[..., Any]) -> Callable[..., Any]:
    """Return the model inside all wrappers."""
    while (inner := held_by(model)) is not None:
        model = inner
    return model


def replicated_over(model: object) -> list[Any]:
    """Return the process groups over which a wrapper keeps equal copies of a model."""
    groups: list[Any] = []
    while (inner := held_by(model)) is not None:
        group = model.process_group if isinstance(model, DistributedDataParallel) else None
        if group is not None and group.size() > 1:
            groups.append(group)
        model = inner
    return groups


def plain_modules(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield every module once with its name, wrappers under the name of what they hold."""
    seen: set[nn.Module] = set()
    todo: list[tuple[str, nn.Module]] = [("", root)]
    while todo:
        name, module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        yield name, module
        inner = held_by(module)
        children = [
            (name if child is inner else f"{name}.{key}".lstrip("."), child)
            for key, child in module._modules.items()
            if child is not None
        ]
        todo.extend(reversed(children))


def plain_parameters(root: nn.Module) -> dict[str, Tensor]:
    """Return every parameter once, tied ones under their first name, without wrappers' names."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, module in plain_modules(root):
        for key, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{name}.{key}".lstrip(".")] = parameter
    return found
