"""Which layers a model has, and what each was called with in one forward pass without gradients.

Layers are the children of lists, dictionaries and sequences of modules, the outermost that map the
stream to the stream; of a model without any it is the model. The pass keeps the stream in front of
every layer, and nothing of what the layers compute.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isometry._checks import suggest
from isometry.nn.sandbox.inputs import picked
from isometry.nn.sandbox.undo import Undo, reversible
from isometry.nn.sandbox.unwrap import plain_modules, unwrapped
from isometry.nn.scale.layer import inner

_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)


@dataclass(eq=False)
class Call:
    """One call of a layer.

    Attributes:
        name: Of the layer.
        layer: The module.
        args: What it was called with by position.
        kwargs: What it was called with by name.
        key: Which of them is the stream.
        autocast: Whether operations were cast, to what, and on which type of device.
        square: The sum of squares of what it returned here, to compare with.
    """

    name: str
    layer: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    key: int | str
    autocast: tuple[bool, torch.dtype, str]
    square: Tensor | None = None

    @property
    def stream(self) -> Tensor:
        """The stream in front of the layer."""
        return self.args[self.key] if isinstance(self.key, int) else self.kwargs[self.key]

    def __call__(self, s: Tensor) -> Any:
        """Call the layer with another stream, all else as it was."""
        args, kwargs = self.args, self.kwargs
        if isinstance(self.key, int):
            args = (*args[: self.key], s, *args[self.key + 1 :])
        else:
            kwargs = {**kwargs, self.key: s}
        enabled, dtype, device = self.autocast
        with torch.autocast(device, dtype, enabled=enabled):
            return self.layer(*args, **kwargs)


def layers_of(model: nn.Module, blocks: Sequence[str | nn.Module] | None) -> dict[nn.Module, str]:
    """Return the modules that may be layers, with their names.

    Args:
        model: The model, or one stage of it.
        blocks: The layers, or their names; found without.

    Raises:
        ValueError: If a name is none of the model's.
    """
    names = {module: name for name, module in plain_modules(model)}
    if blocks is None:
        return {layer: names[layer] for layer in _candidates(model)} or {_inside(model): ""}
    by_name = {name: module for module, name in names.items()}
    wanted = [by_name.get(b) if isinstance(b, str) else b for b in blocks]
    for block, layer in zip(blocks, wanted, strict=True):
        if layer is None or layer not in names:
            raise ValueError(
                f"`blocks` contains {block!r}, which is no module of the model; expected modules "
                f"or their names.{suggest(str(block), list(by_name))}"
            )
    return {layer: names[layer] for layer in wanted if layer is not None}


def _candidates(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost modules inside containers that are none themselves."""
    for child in map(_inside, _inside(module).children()):
        if isinstance(_inside(module), _CONTAINERS) and not isinstance(child, _CONTAINERS):
            yield child
        else:
            yield from _candidates(child)


def _inside(module: nn.Module) -> nn.Module:
    inner = unwrapped(module)
    assert isinstance(inner, nn.Module)
    return inner


def captured(run: Callable[[], Any], layers: Mapping[nn.Module, str]) -> tuple[list[Call], Any]:
    """Run a model without gradients; return the calls of its layers, and what it returned.

    A call that does not map the stream to one of its shape is left out.
    """
    calls: list[Call] = []
    with torch.no_grad(), _noting(layers, calls):
        output = run()
    return [call for call in calls if call.square is not None], output


@reversible
def _noting(undo: Undo, layers: Mapping[nn.Module, str], calls: list[Call]) -> None:
    """Note what each layer is called with; the hooks are temporary and communicate nothing."""
    open_calls: list[Call | None] = []

    def before(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        key = _stream_key(args, kwargs)
        call = None
        if key is not None:
            device = (args[key] if isinstance(key, int) else kwargs[key]).device.type
            cast = (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device), device)
            call = Call(layers[layer], layer, args, dict(kwargs), key, cast)
            calls.append(call)
        open_calls.append(call)

    def after(*called: Any) -> None:
        result = called[-1]
        call, y = open_calls.pop(), picked(result, None)
        if call is not None and isinstance(y, Tensor) and y.shape == call.stream.shape:
            call.square = inner(y, y)

    for layer in layers:
        undo.before(forget_hooks, layer, (before, after))
        layer.register_forward_pre_hook(before, with_kwargs=True)
        layer.register_forward_hook(after, with_kwargs=True)


def forget_hooks(module: nn.Module, hooks: Sequence[object]) -> None:
    """Take hooks away from a module, whether or not they were there."""
    for table, named in (
        (module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs),
        (module._forward_hooks, module._forward_hooks_with_kwargs),
    ):
        for key in [key for key, hook in table.items() if any(hook is one for one in hooks)]:
            del table[key]
            named.pop(key, None)


def _stream_key(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | str | None:
    """Return the place or the name of the first tensor of real numbers."""
    for key, value in [*enumerate(args), *kwargs.items()]:
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim:
            return key
    return None
