"""One forward pass with its autograd graph kept, and which module computed which tensor."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from isometry.nn.blocks.earlier import stream_cuts
from isometry.nn.blocks.graph import Graph, build_graph
from isometry.nn.blocks.segment import Maps, Segment, StateSegment
from isometry.nn.blocks.states import State, StateBlock, opening, state_blocks
from isometry.nn.sandbox.checks import check_output
from isometry.nn.sandbox.evaluation import check_deterministic, first_evaluation
from isometry.nn.sandbox.random import LOW
from isometry.nn.sandbox.sandbox import Sandbox
from isometry.nn.sandbox.specimen import Specimen
from isometry.nn.sandbox.swap import swapped
from isometry.nn.sandbox.undo import Undo, reversible
from isometry.nn.sandbox.unwrap import plain_modules, plain_parameters
from isometry.nn.tape import Forward, Vertex, evaluate, follow, vertex_of


@dataclass(frozen=True)
class ModuleCall:
    """One call of a module: its name and the tensors that went in and came out."""

    module: nn.Module
    name: str
    inputs: tuple[Vertex, ...]
    outputs: tuple[Vertex, ...]


@dataclass(frozen=True)
class Recording:
    """The graph of f at x, the module calls in order of completion, the parameters' names."""

    graph: Graph
    calls: tuple[ModuleCall, ...]
    names: dict[int, str]
    parameters: tuple[Tensor, ...]
    """The leaves that `names` refers to by their identity."""
    maps: Maps
    """The products between its tensors."""

    def ending(self, vertices: Iterable[Vertex]) -> list[ModuleCall]:
        """Return the calls that some of these tensors came out of, in the order of completion."""
        places = {place for v in vertices for place in self._endings.get(v, ())}
        return [self.calls[place] for place in sorted(places)]

    def of_module(self, block: str | nn.Module) -> list[ModuleCall]:
        """Return the calls of a module, or of all that go by a name."""
        return [self.calls[place] for place in self._by_module.get(block, ())]

    @cached_property
    def _endings(self) -> dict[Vertex, list[int]]:
        calls = [(place, c) for place, c in enumerate(self.calls) if not _is_empty(c.module)]
        return _index((v, place) for place, c in calls for v in c.outputs)

    @cached_property
    def _by_module(self) -> dict[str | nn.Module, list[int]]:
        return _index((k, place) for place, c in enumerate(self.calls) for k in (c.name, c.module))

    @cached_property
    def stream_cuts(self) -> tuple[list[Vertex], list[Vertex]]:
        """The tensors of the stream, and the sums in which it meets earlier ones again."""
        return stream_cuts(self.graph)

    @cached_property
    def states(self) -> dict[tuple[Vertex, Vertex], list[StateBlock]]:
        """The blocks between states of several tensors, for the cuts between which some are."""
        pairs = pairwise(self.stream_cuts[0])
        found = {pair: state_blocks(self.graph, *pair) for pair in pairs}
        return {pair: blocks for pair, blocks in found.items() if blocks}

    @cached_property
    def openings(self) -> dict[Vertex, State]:
        """The state at every tensor of a stream that earlier states are added to again."""
        cuts, entered = self.stream_cuts
        return {cut: opening(self.graph, cut) for cut in cuts} if entered else {}

    @cached_property
    def entered_states(self) -> list[State]:
        """The states before blocks, where earlier states are added to the stream again."""
        if not self.stream_cuts[1]:
            return []
        whole = pairwise(self.graph.cuts(self.graph.order[0], self.graph.order[-1]))
        return [block.source for pair in whole for block in state_blocks(self.graph, *pair)]

    def settle(self, *, named: bool, more: Iterable[Vertex] = ()) -> list[Vertex]:
        """Make the programs between the tensors of the stream, or of named modules as well.

        Args:
            named: Whether from and to what goes into and comes out of modules.
            more: Further tensors that programs may start from or end in.

        Returns:
            The tensors that every path from the input to the output goes through.
        """
        cuts, _ = self.stream_cuts
        ends = [v for call in self.calls for v in (*call.inputs, *call.outputs)] if named else []
        for blocks in self.states.values():
            ends += [v for block in blocks for v in (*block.source, *block.target)]
        ends += [v for s in (*self.openings.values(), *self.entered_states) for v in s]
        self.maps.settle([*cuts, *ends, *more])
        return cuts

    def segment(self, source: Vertex, target: Vertex) -> Segment:
        """Return the map from one tensor of the pass to a later one."""
        return Segment(source, target, self.maps.ranks, self.maps)

    def state_segment(self, source: State, target: State) -> Segment:
        """Return the map from one state to a later one."""
        if len(source) == 1 == len(target):
            return self.segment(*source, *target)
        ends = (source[-1], target[-1], self.maps.ranks, self.maps)
        return StateSegment(*ends, source, target)


def _is_empty(module: nn.Module) -> bool:
    """Whether a module hands its input on: a shortcut that is none, out of which nothing comes."""
    empty = isinstance(module, nn.Sequential) and not len(module)
    return empty or isinstance(module, nn.Identity)


Key = TypeVar("Key")


def _index(pairs: Iterable[tuple[Key, int]]) -> dict[Key, list[int]]:
    found: dict[Key, list[int]] = {}
    for key, place in pairs:
        found.setdefault(key, []).append(place)
    return found


class _Together(nn.Module):
    """A function and the modules it calls, so that their parameters can be swapped at once."""

    def __init__(self, f: Callable[..., object], roots: list[nn.Module]) -> None:
        super().__init__()
        self.f = (f,)  # in a tuple, so that a module is registered once, as a root
        for place, root in enumerate(roots):
            self.add_module(f"root{place}", root)

    def forward(self, x: Tensor) -> object:
        """Return f(x)."""
        return self.f[0](x)


def record(f: Callable[..., object], x: object, batch_norm: str | None) -> Recording:
    """Run f twice at x, first to see what it is, then to keep its graph; f is left as it was.

    Raises:
        TypeError: If x or the output is not one floating-point tensor.
        ValueError: If f is random, not finite, does not depend on x or, computed by several
            processes, differs between them.
        NotImplementedError: If the weights are offloaded.
    """
    f = Specimen.of(f, x)
    point = f.point
    sandbox = Sandbox(point, batch_norm)
    _discover(f, point, sandbox)
    return observe(f, point, sandbox)


def observe(f: Specimen, point: Tensor, sandbox: Sandbox) -> Recording:
    """Run a function that the sandbox knows, and keep what happens.

    Raises:
        TypeError: If the output is not one floating-point tensor.
        ValueError: If it does not depend on the input.
        NotImplementedError: If the weights are offloaded.
    """
    roots = _roots(f.model, sandbox.names)
    together = _Together(f, roots)
    sandbox.wrappers.add(together)
    _refuse_offloaded(together)
    bare = len(roots) == 1 or roots[:1] == [f.model]
    names: dict[nn.Module, str] = {}
    names |= {module: _name(key, bare) for key, module in plain_modules(together)}
    calls: list[ModuleCall] = []
    gathered: dict[str, Tensor] = {}
    with sandbox.varied(LOW), watch(names, calls), _gathering(names, gathered):
        leaves = {
            key: p.detach().requires_grad_()
            for key, p in plain_parameters(together).items()
            if p.is_floating_point() or p.is_complex()
        }
        forward = _forward(together, leaves, point, calls, sandbox)
    target = vertex_of(forward.output)
    agreed = partial(sandbox.ranks.all_of, device=point.device)
    graph = build_graph(forward.source, target, agreed) if target else Graph([], {})
    if not graph.order:
        raise ValueError(
            "`model(x)` does not depend on `x`; expected an output computed from the input with "
            "gradients on. Remove `torch.no_grad` or `detach` inside the model."
        )
    known = {id(leaf): _name(key, bare) for key, leaf in leaves.items()}
    known |= {id(leaf): name for name, leaf in gathered.items()}
    held = (*leaves.values(), *gathered.values())
    return Recording(graph, tuple(calls), known, held, Maps(forward, sandbox.ranks))


def _roots(f: object, met: Iterable[nn.Module]) -> list[nn.Module]:
    """Return the outermost modules, in the order in which they were met."""
    roots: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for module in (f, getattr(f, "__self__", None), *met):
        if isinstance(module, nn.Module) and module not in inside:
            roots.append(module)
            inside.update(module.modules())
    return roots


def _forward(
    together: nn.Module,
    leaves: Mapping[str, Tensor],
    point: Tensor,
    calls: list[ModuleCall],
    sandbox: Sandbox,
) -> Forward:
    """Run the model with leaves for its parameters, followed op by op where that is possible."""
    own = plain_parameters(together)

    def run(start: Tensor) -> Tensor:
        calls.clear()
        views = {own[key]: leaf.view_as(leaf) for key, leaf in leaves.items()}
        with swapped(together, views):
            return check_output(together(start)).to(point.dtype)

    if sandbox.ranks:  # collectives take part, and gathered weights are freed after use
        return evaluate(run, point, "several processes compute it together")
    try:
        forward = follow(run, point)
    except Exception as error:  # whatever a recorder meets in a foreign model
        return evaluate(run, point, str(error))
    if forward.graph_holds:
        return forward
    return evaluate(run, point, "it writes to tensors outside itself")


def _refuse_offloaded(model: nn.Module) -> None:
    """Refuse weights that hooks bring in for each call, where the recording puts its own.

    Raises:
        NotImplementedError: If a parameter is on the meta device.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            raise NotImplementedError(
                f"`model` keeps {name.partition('.')[2]!r} offloaded (on the meta device); "
                "expected weights in memory. Remove the hooks, as with "
                "`accelerate.hooks.remove_hook_from_submodules`; "
                "`JacobianOperator` needs no such change."
            )


def _name(key: str, bare: bool) -> str:
    """Return the name inside its root; a number in front tells several roots apart."""
    root, _, rest = key.removeprefix("root").partition(".")
    return rest if bare and root in ("", "0") else f"{root}.{rest}".rstrip(".")


def _discover(f: Specimen, point: Tensor, sandbox: Sandbox) -> list[nn.Module]:
    """Evaluate f for the first time and return the outermost modules it calls."""

    def called(x: Tensor) -> Tensor:
        return f(x.clone())

    output = first_evaluation(called, point, sandbox)
    if sandbox.draws:
        check_deterministic(called, point, output, sandbox)
    return _roots(f.model, sandbox.names)


@reversible
def watch(undo: Undo, names: dict[nn.Module, str], calls: list[ModuleCall]) -> None:
    """Append every call of a known module to ``calls``; the hooks are temporary.

    A global hook would do, but torch does not clear its ``with_kwargs`` flag on removal.
    """

    def note(module: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
        calls.append(
            ModuleCall(module, names[module], _vertices((args, kwargs)), _vertices(output))
        )

    for module in names:
        if isinstance(module, torch.jit.ScriptModule):
            continue  # it takes no hook; what is around it names the block
        undo.before(_forget_hook, module, note)
        module.register_forward_hook(note, with_kwargs=True)


@reversible
def _gathering(undo: Undo, names: dict[nn.Module, str], found: dict[str, Tensor]) -> None:
    """Note the whole parameters that modules gather from their shards before they run (FSDP2).

    They take part in the graph as leaves for as long, so that it shows where they are used.
    """

    def note(module: nn.Module, _: object) -> None:
        for key, held in module._parameters.items():
            if held is not None and held.is_leaf and held.is_floating_point():
                found[f"{names[module]}.{key}".lstrip(".")] = held
                undo.before(held.requires_grad_, held.requires_grad)
                held.requires_grad_()

    hooks = {}
    for module in names:
        if hasattr(module, "unshard") or any(map(_is_shard, module._parameters.values())):
            undo.before(_remove, hooks, module)
            hooks[module] = module.register_forward_pre_hook(note)


def _is_shard(parameter: object) -> bool:
    return hasattr(parameter, "placements")


def _remove(hooks: dict[nn.Module, Any], module: nn.Module) -> None:
    if module in hooks:
        hooks.pop(module).remove()


def _forget_hook(module: nn.Module, hook: object) -> None:
    for key in [key for key, known in module._forward_hooks.items() if known is hook]:
        del module._forward_hooks[key]
        module._forward_hooks_with_kwargs.pop(key, None)


def _vertices(tree: object) -> tuple[Vertex, ...]:
    tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
    return tuple(v for v in map(vertex_of, tensors) if v is not None)
