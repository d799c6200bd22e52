"""One pass of a foreign model, followed for lint and left as it was."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from isometry.nn.roles.flow import Flow
from isometry.nn.roles.graph import Graph
from isometry.nn.roles.shapes_only import is_sharded, shapes_only
from isometry.nn.roles.uses import WeightMap, completed
from isometry.nn.sandbox.checks import explain
from isometry.nn.sandbox.inputs import Arguments, arguments_of, tensor_point
from isometry.nn.sandbox.isolation import refuse_lazy
from isometry.nn.sandbox.sandbox import Sandbox
from isometry.nn.sandbox.specimen import Specimen
from isometry.nn.sandbox.swap import swapped
from isometry.nn.sandbox.undo import Undo, reversible
from isometry.nn.sandbox.unwrap import (
    plain_modules,
    plain_parameters,
    replicated_over,
    unwrapped,
)

NO_INPUT = "no input was given"
"""The remark on a model that was not run."""
_STEP = 0.02
"""Standard deviation of what has moved: neither lost in rounding nor enough to saturate."""


@dataclass(frozen=True)
class Followed:
    """A model's tensors by name, and the graph of one pass where there was an input."""

    roots: tuple[nn.Module, ...]
    modules: Mapping[str, nn.Module]
    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    maps: Mapping[str, WeightMap]
    graph: Graph | None = None
    flow: Flow | None = None
    remark: str = ""
    """Why the pass was not followed to its end."""
    again: Callable[[], Any] | None = field(default=None, repr=False)
    """Run the model once more at the same input."""
    groups: tuple[Any, ...] = field(default=(), repr=False)
    """Groups of processes over which a wrapper keeps equal copies of all of it."""

    def without_gradient(self, names: Sequence[str]) -> set[str]:
        """Return which parameters no gradient of a random sum of the outputs ever reaches.

        What one does reach will move, and may let it through to others, as a zero head does to
        the zero gates before it: it is drawn at random for one more pass, until no other is
        reached. Nothing is said where there was no input, or the model cannot be differentiated.
        """
        moved: set[str] = set()
        while self.again is not None and len(moved) < len(names):
            gradients = self._gradients_at(names, moved)
            reached = {n for n, g in gradients.items() if g is not None and bool(g.any())}
            if not gradients or reached <= moved:
                return set(gradients) - moved
            moved |= reached
        return set()

    def _gradients_at(self, names: Sequence[str], moved: set[str]) -> dict[str, Tensor | None]:
        """Return the gradients by parameter, those that have moved drawn; none where none exist."""
        assert self.again is not None
        generator = torch.Generator().manual_seed(0)
        leaves = {n: self.parameters[n].detach().clone() for n in names}
        for name in sorted(moved):
            drawn = torch.randn(leaves[name].shape, generator=generator)
            leaves[name] += _STEP * drawn.to(leaves[name])
        for leaf in leaves.values():
            leaf.requires_grad_()
        new = {self.parameters[n]: leaf for n, leaf in leaves.items()}
        with evaluating(self.roots), ExitStack() as stack:
            stack.enter_context(Sandbox(next(iter(leaves.values())), "own", self.roots))
            for root in self.roots:
                stack.enter_context(swapped(root, new))
            try:
                gradients = _gradients(self.again(), list(leaves.values()))
            except RuntimeError:
                return {}
        return dict(zip(leaves, gradients, strict=True))


def _gradients(output: Any, leaves: list[Tensor]) -> Sequence[Tensor | None]:
    """Return the gradients of a sum of all outputs with weights that are not alike."""
    outputs = [t for t in tree_leaves(output) if isinstance(t, Tensor) and t.requires_grad]
    if not outputs:
        return [None] * len(leaves)
    ramps = [torch.linspace(-1, 1, t.numel(), dtype=t.dtype, device=t.device) for t in outputs]
    sums = [(t.reshape(-1) * ramp.cos()).sum() for t, ramp in zip(outputs, ramps, strict=True)]
    return torch.autograd.grad(sums, leaves, allow_unused=True)


def followed(model: Any, x: Any) -> Followed:
    """Follow a model at an input; without one, name its tensors.

    Raises:
        TypeError: If the model is not callable, is a function and there is no input, or if the
            input holds no tensor or one of another type than the weights.
        ValueError: If weights are lazy and have no shapes yet, or are on another device.
        Exception: What the model itself raises at the input.
    """
    if not callable(model):
        raise TypeError(f"`model` is a {type(model).__name__}; expected a module or a function.")
    groups = tuple(replicated_over(model))
    model = unwrapped(model)
    if x is None:
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"`model` is a {type(model).__name__} and `x` is None; expected a torch.nn.Module, "
                "or an input to see which modules a function calls. Pass `x`."
            )
        for module in model.modules():
            refuse_lazy(module)
        found = _named([model], NO_INPUT)
    else:
        found = _passed(model, arguments_of(model, x, None))
    return replace(found, groups=groups)


def specimen_followed(specimen: Specimen, roots: Sequence[nn.Module]) -> Followed:
    """Follow a model that was measured already, so that its outermost modules are known."""
    return _passed(specimen.model, specimen.arguments, list(roots))


def _passed(
    model: Callable[..., Any], arguments: Arguments, roots: list[nn.Module] | None = None
) -> Followed:
    point = _placed(tensor_point(arguments), model)
    if roots is None:
        roots = [model] if isinstance(model, nn.Module) else _called(model, arguments, point)
    if is_sharded(roots):
        return _shape_passed(model, arguments, roots, point)
    flow, remark = _flow(model, arguments, roots, point)
    whole = _tensors(roots)  # the buffers themselves, not the clones that the pass had
    return Followed(
        tuple(roots), whole.modules, whole.parameters, whole.buffers,
        completed(flow.maps, whole.parameters, whole.modules), Graph(flow.nodes), flow, remark,
        lambda: arguments.call(model, point.clone()),
    )  # fmt: skip


def _shape_passed(
    model: Callable[..., Any], arguments: Arguments, roots: list[nn.Module], point: Tensor
) -> Followed:
    """Follow a model whose weights are on several processes by their shapes, on each alike."""
    whole = _tensors(roots)
    try:
        with shapes_only(roots):
            flow, remark = _flow(model, arguments, roots, point.to("meta"))
    except Exception as error:
        return _named(
            roots,
            f"a pass with the whole shapes of sharded weights ended in {type(error).__name__}: "
            f"{error}",
        )
    maps = completed(flow.maps, whole.parameters, whole.modules)
    return Followed(
        tuple(roots), whole.modules, whole.parameters, whole.buffers, maps, Graph(flow.nodes), flow,
        remark or "of sharded weights the pass has the shapes only, so no size of what flows",
    )  # fmt: skip


def _flow(
    model: Callable[..., Any], arguments: Arguments, roots: list[nn.Module], point: Tensor
) -> tuple[Flow, str]:
    """Return the flow of one pass, and why it was not followed to its end.

    Raises:
        RuntimeError: What the model itself raises.
    """
    sandbox = Sandbox(point, "own", roots)
    with evaluating(roots), sandbox, torch.no_grad():
        named = _tensors(roots)
        args, kwargs = _copied(arguments, meta=point.is_meta)
        own = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        flow = Flow(named.parameters, named.buffers, own)
        try:
            with flow, _device_of(point):
                arguments.run(model, args, kwargs)
        except NotImplementedError as error:  # a scripted model, or one on two devices
            return flow, str(error)
        except RuntimeError as error:
            if not _differentiates(error):
                explained = explain(error, sandbox, point)
                if explained is error:
                    raise
                raise explained from error
            return flow, (
                "the model differentiates inside its forward, behind which no pass is followed"
            )
    return flow, ""


def _called(model: Callable[..., Any], arguments: Arguments, point: Tensor) -> list[nn.Module]:
    """Return the outermost modules that a function calls.

    Raises:
        RuntimeError: What the function itself raises; one that differentiates is called again.
    """
    sandbox = Sandbox(point, "own")
    with sandbox:
        try:
            with torch.no_grad():
                arguments.call(model, point.clone())
        except RuntimeError as error:
            if not _differentiates(error):
                explained = explain(error, sandbox, point)
                if explained is error:
                    raise
                raise explained from error
            arguments.call(model, point.clone())
    return outermost(list(sandbox.names))


def _differentiates(error: RuntimeError) -> bool:
    """Whether a pass without gradients failed since the model differentiates inside it."""
    return "does not require grad" in str(error)


def _copied(arguments: Arguments, *, meta: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the model's inputs, the tensors among them copied to where its weights are."""

    def copied(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return leaf.detach().to("meta") if meta else leaf.detach().clone()

    return tree_map(copied, (arguments.positional, dict(arguments.named)))


def _device_of(point: Tensor) -> AbstractContextManager[Any]:
    """Let the model make its constants where its weights are: without values, if they have none."""
    return torch.device("meta") if point.is_meta else nullcontext()


def _placed(point: Tensor, model: object) -> Tensor:
    """Return the input where the model is: on the meta device it has a shape only."""
    first = next(iter(model.parameters()), None) if isinstance(model, nn.Module) else None
    meta = first is not None and first.is_meta
    return point.detach().to("meta") if meta else point.detach()


def _named(roots: Sequence[nn.Module], remark: str) -> Followed:
    named = _tensors(roots)
    maps = completed({}, named.parameters, named.modules)
    return Followed(
        tuple(roots), named.modules, named.parameters, named.buffers, maps, None, None, remark
    )


@dataclass(frozen=True)
class _Tensors:
    modules: dict[str, nn.Module]
    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]


def _tensors(roots: Sequence[nn.Module]) -> _Tensors:
    """Return the modules, parameters and buffers by name, with a number in front of several."""
    result = _Tensors({}, {}, {})
    for place, root in enumerate(roots):
        prefix = f"{place}." if len(roots) > 1 else ""
        result.parameters.update({prefix + k: p for k, p in plain_parameters(root).items()})
        seen: set[int] = set()
        for name, module in plain_modules(root):
            result.modules[(prefix + name).rstrip(".")] = module
            for key, buffer in module.named_buffers(recurse=False):
                if id(buffer) not in seen:
                    seen.add(id(buffer))
                    result.buffers[f"{prefix}{name}.{key}".lstrip(".")] = buffer
    return result


def outermost(modules: Sequence[nn.Module]) -> list[nn.Module]:
    """Return the modules that are in none of the others."""
    inner = {child for module in modules for child in module.modules() if child is not module}
    return [module for module in modules if module not in inner]


@reversible
def evaluating(undo: Undo, roots: Sequence[nn.Module]) -> None:
    """Put modules into eval mode for a while: a pass that is to show roles needs no dropout."""
    for root in roots:
        for module in root.modules():
            if module.training:
                undo.before(setattr, module, "training", True)
                module.training = False
