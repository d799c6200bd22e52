"""Evaluate a function once, and keep what autograd and the recorder make of the same pass.

Autograd's graph is the oracle and the fallback: a recording is believed where one product with the
transposed Jacobian is the same by both routes.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
import torch.utils.checkpoint
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.nn.attention import SDPBackend, sdpa_kernel

from isometry.nn.tape import rules_dense, rules_shape  # noqa: F401 (registers the rules)
from isometry.nn.tape.observer import CircularJoin, FusedRecurrence, NotRecordable
from isometry.nn.tape.recorder import Recorder
from isometry.nn.tape.tape import Layout, Recorded, Tape
from isometry.nn.tape.vertices import Vertex, vertex_of

__all__ = ["Forward", "evaluate", "follow", "record", "settled", "whole"]

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Forward:
    """One pass: the input as a leaf, the output with its graph, and the recorder, if one ran."""

    leaf: Tensor
    source: Vertex
    """The input's vertex as the function got it, before it may have worked on it in place."""
    output: Tensor
    recorder: Recorder | None = field(default=None, repr=False)
    probe: tuple[Tensor, Tensor] | None = field(default=None, repr=False)
    """A cotangent and its product with the transposed Jacobian, by autograd."""

    @property
    def graph_holds(self) -> bool:
        """Whether autograd's graph may be used: nothing it may keep was put back."""
        return self.recorder is None or not self.recorder.saved


def follow(f: Function, x: Tensor) -> Forward:
    """Evaluate ``f`` at ``x`` and follow every op; a fused recurrent layer runs step by step.

    Args:
        f: A function or module; it is called once, or twice where it hides a recurrence.
        x: A tensor of real numbers.

    Returns:
        The pass. What ``f`` writes to in place outside itself is put back.

    Raises:
        NotRecordable: If an op has no exact route or the output is not one real tensor.
    """
    try:
        made = _followed(f, x, fused=True)
    except FusedRecurrence:
        made = _followed(f, x, fused=False)
    if made.recorder is not None and made.recorder.refusal is not None:
        raise made.recorder.refusal
    return made


def evaluate(f: Function, x: Tensor) -> Forward:
    """Evaluate ``f`` at ``x`` and keep autograd's graph alone."""
    leaf, start, source = _input(x)
    with plain_kernels(), torch.enable_grad():
        return Forward(leaf, source, f(start))


def settled(forward: Forward, kept: Iterable[Vertex] = ()) -> Recorded:
    """Make programs of a followed pass, and compare one product with autograd's.

    Args:
        forward: What `follow` returned.
        kept: Values, besides input and output, that programs are to start from or end in.

    Raises:
        NotRecordable: If the two differ, or the two directions do.
    """
    recorder = forward.recorder
    if recorder is None or forward.probe is None:
        raise NotRecordable("no op of it was followed")
    recorder.name_vertices()
    nodes = {recorder.vertices[v] for v in kept if v in recorder.vertices}
    v = _normal(forward.leaf, torch.Generator().manual_seed(0))
    recorded = Recorded(recorder, v, recorder.node_of(forward.output), nodes)
    _prove(recorded, forward, v, *forward.probe)
    return recorded


def record(f: Function, x: Tensor) -> Tape:
    """Linearise ``f`` at ``x``, without a sandbox around it.

    Args:
        f: A function or module; it must be deterministic.
        x: A tensor of real numbers.

    Returns:
        The tape. Parameters are kept by reference, intermediate derivatives by value.

    Raises:
        NotRecordable: If an op has no exact route, or the tape and autograd disagree.

    Notes:
        The global random state is neither read nor changed.
    """
    forward = follow(f, x)
    return whole(settled(forward), forward)


def whole(recorded: Recorded, forward: Forward) -> Tape:
    """Return the products with the Jacobian of a whole pass."""
    ends = (Layout.of(forward.leaf), Layout.of(forward.output))
    return recorded.tape(0, recorded.stop, *ends)


def _input(x: Tensor) -> tuple[Tensor, Tensor, Vertex]:
    """Return x as a leaf, the copy that the function gets, and the vertex of the copy.

    Raises:
        NotRecordable: If autograd is switched off for good, as in inference mode.
    """
    leaf = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        start = leaf.clone()
    source = vertex_of(start)
    if source is None:
        raise NotRecordable("autograd is switched off")
    return leaf, start, source


def _followed(f: Function, x: Tensor, *, fused: bool) -> Forward:
    leaf, start, source = _input(x)
    recorder = Recorder(start)
    try:
        with plain_kernels(fused=fused), torch.enable_grad(), CircularJoin(), recorder:
            output = f(start)
        recorder.vertices[source] = 0
        if not isinstance(output, Tensor) or not output.is_floating_point():
            refusal = NotRecordable(f"the output is {type(output).__name__}, not one real tensor")
            raise recorder.refusal or refusal
        return Forward(leaf, source, output, recorder, _probe(leaf, source, output))
    finally:
        recorder.restore()


def _probe(leaf: Tensor, source: Vertex, output: Tensor) -> tuple[Tensor, Tensor]:
    """Return a cotangent and its product with the transposed Jacobian, by autograd.

    Raises:
        NotRecordable: If autograd cannot.
    """
    u = _normal(output, torch.Generator().manual_seed(1))
    if not output.requires_grad:
        return u, torch.zeros_like(leaf)
    try:
        (pulled,) = torch.autograd.grad(
            (output,),
            (GradientEdge(*source),),  # pyright: ignore[reportArgumentType]
            (u[0],),
            retain_graph=True,
            materialize_grads=True,
        )
    except RuntimeError as error:
        raise NotRecordable(f"autograd cannot differentiate it: {error}") from error
    return u, pulled


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one tangent, laid out as ``like`` is."""
    drawn = torch.randn(like.shape, generator=generator, dtype=torch.float64)
    return torch.empty_like(like, requires_grad=False).copy_(drawn)[None]


@contextmanager
def plain_kernels(*, fused: bool = True) -> Iterator[None]:
    """Run composite ops as plain ones: attention as products, compiled code eagerly."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(_plain_checkpoints())
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if not fused:
            stack.callback(torch._C._set_mkldnn_enabled, torch._C._get_mkldnn_enabled())
            torch._C._set_mkldnn_enabled(False)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        yield


@contextmanager
def _plain_checkpoints() -> Iterator[None]:
    """Let checkpoints keep what they compute: recomputed, it would not be the recorded pass."""
    name, module = "_checkpoint_without_reentrant_generator", torch.utils.checkpoint
    original = getattr(module, name)

    def call_as_it_is(*_: object, **__: object) -> Iterator[None]:
        yield

    setattr(module, name, call_as_it_is)
    try:
        yield
    finally:
        setattr(module, name, original)


def _prove(recorded: Recorded, forward: Forward, v: Tensor, u: Tensor, expected: Tensor) -> None:
    """Compare one product with autograd's, and the two directions with each other.

    Raises:
        NotRecordable: If one of them does not agree.
    """
    w, tolerance = whole(recorded, forward).vjp(u), recorded.tolerance
    y = torch.zeros_like(u) if recorded.image is None else recorded.image
    gap = _norm(w[0] - expected)
    if not gap <= tolerance * _norm(expected):
        raise NotRecordable(
            "autograd's product with the transposed Jacobian differs from that of the recorded "
            f"ops by {gap:.2g} of {_norm(expected):.2g}; a custom autograd.Function, a detached "
            "value or a no_grad block takes part"
        )
    gap = abs(float((u.double() * y.double()).sum() - (w.double() * v.double()).sum()))
    if not gap <= tolerance * (_norm(u) * _norm(y) + _norm(w) * _norm(v)):
        raise NotRecordable(f"the two directions of the tape differ by {gap:.2g}")


def _norm(value: Tensor) -> float:
    return float(value.double().norm())
