"""Evaluate a function once, and keep what autograd and the recorder make of the same pass.

Autograd's graph is the oracle and the fallback: a recording is believed where one product with the
transposed Jacobian is the same by both routes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from isometry.nn.sandbox.flags import use_plain_checkpoints, use_plain_kernels
from isometry.nn.sandbox.precision import wide, wide_on_cpu
from isometry.nn.sandbox.undo import Undo, reversible
from isometry.nn.tape import rules_dense, rules_shape  # noqa: F401 (registers the rules)
from isometry.nn.tape.observer import CircularJoin, FusedRecurrence, NotRecordable
from isometry.nn.tape.recorder import Recorder
from isometry.nn.tape.tape import Recorded, Tape
from isometry.nn.tape.vertices import Vertex, vertex_of

__all__ = ["AUTOGRAD", "Forward", "adjoint_gap", "evaluate", "follow", "record_tape", "settled"]

AUTOGRAD = "autograd: J v by double backward, J^T u by backward on a kept graph"
"""How products are computed where there is no tape, in words."""

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
    """A cotangent, and its product with the transposed Jacobian, by autograd."""
    connected: bool | None = None
    """Whether autograd sees a path from the input to the output, where it was asked."""

    refusal: str = ""
    """Why no recorder followed."""

    @property
    def graph_holds(self) -> bool:
        """Whether autograd's graph may be used: nothing it may keep was put back."""
        return self.recorder is None or self.recorder.graph_holds


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


def evaluate(f: Function, x: Tensor, refusal: str = "") -> Forward:
    """Evaluate ``f`` at ``x`` and keep autograd's graph alone, for a reason that may be given."""
    leaf, start, source = _input(x)
    with plain_kernels(x.device), torch.enable_grad():
        return Forward(leaf, source, f(start), refusal=refusal)


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
        raise NotRecordable(forward.refusal or "its operations were not followed")
    recorder.name_vertices()
    nodes = {recorder.vertices[v] for v in kept if v in recorder.vertices}
    v = _normal(forward.leaf, 0)
    recorded = Recorded(recorder, v, forward.output, nodes)
    recorded.gap = _proven(recorded, v, *forward.probe)
    return recorded


def record_tape(f: Function, x: Tensor) -> Tape:
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
    recorded = settled(follow(f, x))
    return recorded.tape(0, recorded.stop, recorded.source, recorded.target)


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
        with plain_kernels(x.device, fused=fused), torch.enable_grad(), CircularJoin(), recorder:
            output = f(start)
        recorder.vertices[source] = 0
        if not isinstance(output, Tensor) or not output.is_floating_point():
            refusal = NotRecordable(f"the output is {type(output).__name__}, not one real tensor")
            raise recorder.refusal or refusal
        u, pulled = _probe(source, output)
        probe = u, torch.zeros_like(leaf) if pulled is None else pulled
        return Forward(leaf, source, output, recorder, probe, pulled is not None)
    finally:
        recorder.restore()


def _probe(source: Vertex, output: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return a cotangent and its product with J transposed, by autograd; None without a path.

    Raises:
        NotRecordable: If autograd cannot.
    """
    u = _normal(output, 1)
    if not output.requires_grad:
        return u, None
    try:
        with torch.enable_grad():  # of a number: for a cotangent torch would import sympy
            paired = (output * u[0]).sum()
        (pulled,) = torch.autograd.grad(
            (paired,),
            (GradientEdge(*source),),  # pyright: ignore[reportArgumentType]
            retain_graph=True,
            allow_unused=True,
        )
    except RuntimeError as error:
        raise NotRecordable(f"autograd cannot differentiate it: {error}") from error
    return u, pulled


def _normal(like: Tensor, seed: int) -> Tensor:
    """Draw a stack of one tangent, laid out as ``like`` is."""
    drawn = torch.randn(1, *like.shape, generator=torch.Generator().manual_seed(seed))
    return _laid_out(drawn, like)


def _laid_out(block: Tensor, like: Tensor) -> Tensor:
    """Return a stack of tangents, each laid out in memory as ``like`` is."""
    stride = torch.empty_like(like, requires_grad=False).stride()
    stack = torch.empty_strided(
        (len(block), *like.shape), (like.numel(), *stride), dtype=like.dtype, device=like.device
    )
    return stack.copy_(block)


@reversible
def plain_kernels(undo: Undo, device: torch.device, *, fused: bool = True) -> None:
    """Run composite ops as plain ones: attention as products, compiled code eagerly."""
    use_plain_kernels(undo, device, recurrent=False)
    use_plain_checkpoints(undo)
    if not fused:
        undo.before(torch._C._set_mkldnn_enabled, torch._C._get_mkldnn_enabled())
        torch._C._set_mkldnn_enabled(False)


def _proven(recorded: Recorded, v: Tensor, u: Tensor, expected: Tensor) -> float:
    """Compare one product with autograd's, and the two directions with each other.

    Returns:
        The gap between the two directions, relative to the products.

    Raises:
        NotRecordable: If one of them does not agree.
    """
    tape = recorded.tape(0, recorded.stop, recorded.source, recorded.target)
    tolerance = recorded.tolerance
    y = torch.zeros_like(u) if recorded.image is None else recorded.image
    pair = _laid_out(torch.cat([u, y]), u[0])  # y meets J v with all its size, u by chance
    w = tape.vjp(pair)
    gap = _norm(w[0] - expected)
    if not gap <= tolerance * _norm(expected):
        raise NotRecordable(
            "autograd's product with the transposed Jacobian differs from that of the recorded "
            f"ops by {gap:.2g} of {_norm(expected):.2g}; a custom autograd.Function, a detached "
            "value or a no_grad block takes part"
        )
    gap = adjoint_gap(v, y, pair, w)
    if not gap <= 2 * tolerance:
        raise NotRecordable(f"the two directions of the tape differ by {gap:.2g}")
    return gap


def adjoint_gap(V: Tensor, JV: Tensor, U: Tensor, JTU: Tensor) -> float:
    """Return the largest ``|<u, J v> - <J^T u, v>|`` over ``(|u| |J v| + |J^T u| |v|) / 2``."""
    V, JV, U, JTU = (
        wide_on_cpu(block.detach()).reshape(len(block), -1) for block in (V, JV, U, JTU)
    )
    difference = U @ JV.T - JTU @ V.T
    v, jv, u, jtu = (torch.linalg.vector_norm(block, dim=1) for block in (V, JV, U, JTU))
    size = (torch.outer(u, jv) + torch.outer(jtu, v)) / 2
    return float((difference.abs() / size.clamp_min(torch.finfo(size.dtype).tiny)).max())


def _norm(value: Tensor) -> float:
    return float(wide(value).norm())
