"""One module of a foreign model, lent: its buffers cloned, its weights frozen, and put back."""

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from isometry.nn.sandbox.random import Source, source_of
from isometry.nn.sandbox.undo import Undo

_CONTAINERS = (dict, OrderedDict, list, set, deque)
_OWN = ("_parameters", "_buffers")
"""Handled by themselves: a weight may be offloaded or sharded in between."""


def isolate(module: nn.Module, undo: Undo, *, met: bool = False) -> None:
    """Clone the buffers, freeze the parameters and note the attributes until the undoing.

    Args:
        module: The module, without its children.
        undo: Where the undoing is registered.
        met: Whether the module is being called; hooks registered meanwhile are not its own.

    Raises:
        ValueError: If a parameter or a buffer has no values yet.
    """
    refuse_lazy(module)
    if isinstance(module, torch.jit.ScriptModule):
        for _, buffer in module.named_buffers(recurse=False):
            undo.before(_copy_back, buffer, buffer.detach().clone(), buffer._version)
    else:
        _keep_attributes(module, undo, met=met)
        if isinstance(module, DistributedDataParallel):  # prepare no backward, send no buffers
            module.require_backward_grad_sync = module.require_forward_param_sync = False
        originals = dict(module._buffers)
        undo.before(_put_back, module._buffers, originals)
        if originals:
            module._buffers.update(
                {key: None if b is None else b.clone() for key, b in originals.items()}
            )
    for key, parameter in module.named_parameters(recurse=False):
        if not parameter.is_leaf or parameter.is_inference():
            continue
        undo.before(_restore_gradient, parameter, parameter.grad)
        if parameter.requires_grad:
            undo.before(_thaw, module, key, parameter)
            parameter.requires_grad_(False)


def refuse_lazy(module: nn.Module) -> None:
    """Refuse a module, without its children, whose shapes its first input is still to decide.

    Raises:
        ValueError: If a parameter or a buffer has no values yet.
    """
    tables: tuple[Any, ...] = (module._parameters, module._buffers)
    if any(is_lazy(tensor) for held in tables for tensor in held.values()):
        raise ValueError(
            f"`f` has uninitialised lazy parameters in {type(module).__name__}; expected a "
            "model with weights. Call it once on an input before measuring it."
        )


def _keep_attributes(module: nn.Module, undo: Undo, *, met: bool) -> None:
    """Note which attributes there are, and what plain containers among them hold."""
    table = vars(module)
    before = dict(table)
    contents = [
        (value, value.copy() if value else ())
        for key, value in before.items()
        if type(value) in _CONTAINERS and key not in _OWN and not (met and key.endswith("_hooks"))
    ]
    undo.before(_restore_attributes, table, before, contents)


def _restore_attributes(table: dict, before: dict, contents: Any) -> None:
    _put_back(table, before)
    for container, content in contents:
        if container or content:
            _refill(container, content)


def _refill(container: Any, content: Any) -> None:
    if isinstance(container, (list, deque)):
        if len(container) != len(content) or any(
            a is not b for a, b in zip(container, content, strict=True)
        ):
            container.clear()
            container.extend(content)
    elif content:
        _put_back(container, content) if isinstance(container, dict) else _reset(container, content)
    elif container:
        container.clear()


def _reset(container: set, content: set) -> None:
    if container != content:
        container.clear()
        container.update(content)


def _put_back(table: dict, before: Mapping) -> None:
    """Give a dictionary the entries it had, in their order; one that has them is left alone."""
    changed = len(table) != len(before) or any(
        key not in table or table[key] is not value for key, value in before.items()
    )
    if changed:
        table.update(before)
        for key in [key for key in table if key not in before]:
            del table[key]


def use_running_statistics(module: torch.jit.ScriptModule, undo: Undo) -> None:
    """Put a scripted batch normalisation into eval mode; it is known by what it calls."""
    inner = any(calls(child, "aten::batch_norm") for child in module.children())
    if module.training and calls(module, "aten::batch_norm") and not inner:
        undo.before(setattr, module, "training", True)
        module.training = False


def calls(module: nn.Module, operator: str) -> bool:
    """Return whether a scripted module calls an operator, itself or in a child."""
    graph = getattr(module, "inlined_graph", None)
    return graph is not None and bool(graph.findAllNodes(operator))


def _copy_back(buffer: Tensor, content: Tensor, version: int) -> None:
    if buffer._version != version:
        buffer.detach().copy_(content)


def _restore_gradient(parameter: Tensor, gradient: Tensor | None) -> None:
    if parameter.grad is not gradient:
        parameter.grad = gradient


def _thaw(module: nn.Module, key: str, parameter: nn.Parameter) -> None:
    """Restore the flag, also where an offloading hook has put another parameter in its place."""
    parameter.requires_grad_(True)
    if isinstance(module._parameters, dict):  # not so in a scripted module
        current = module._parameters.get(key)
        if current is not None and current.is_leaf:
            current.requires_grad_(True)


def own_memory(module: nn.Module) -> Iterator[torch.UntypedStorage]:
    """Yield the memory of the module's plain tensors: parameters, buffers, attributes."""
    held = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    if not isinstance(module, torch.jit.ScriptModule):
        held += [v for k, v in vars(module).items() if k not in ("_modules", *_OWN)]
    for value in held:
        for leaf in [value] if isinstance(value, Tensor) else _inside(value):
            if type(leaf) in (Tensor, nn.Parameter, nn.Buffer) and leaf.layout is torch.strided:
                yield leaf.untyped_storage()


def _inside(value: object) -> list[Any]:
    return tree_leaves(value) if type(value) in (dict, list, tuple) and value else []


def own_generators(module: nn.Module) -> Iterator[Source]:
    """Yield the random generators that the module keeps as attributes."""
    if not isinstance(module, torch.jit.ScriptModule):
        for value in vars(module).values():
            source = source_of(value)
            if source is not None:
                yield source
