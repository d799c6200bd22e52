"""Linearise a function once at a point and replay products with its Jacobian and its transpose.

``record`` writes down one plain forward pass as aten calls and turns each into a linear map with
constants evaluated at the point: a pointwise call into a product with its derivative, a
convolution into a convolution. Products are then replays of those maps for all tangents at once,
without a forward pass and without autograd; an op without a rule keeps the autograd graph of that
one op. A tape proves itself when it is made: one product is compared with autograd's and the two
directions with each other.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from isometry.nn.tape import rules_dense, rules_shape  # noqa: F401 (registers the rules)
from isometry.nn.tape.maps_dense import LocalGraph
from isometry.nn.tape.observer import CircularJoin, FusedRecurrence, NotRecordable, WriteGuard
from isometry.nn.tape.program import Program, simplified
from isometry.nn.tape.recorder import Recorder

__all__ = ["NotRecordable", "Tape", "record"]


@dataclass(frozen=True, eq=False)
class Tape:
    """A function's Jacobian at one point, as two straight-line programs of linear maps."""

    output: Tensor
    shape: torch.Size
    forward: Program
    backward: Program
    ops: Sequence[tuple[str, bool]]
    external: Sequence[tuple[Tensor, int]]  # parameters kept by reference, with their version

    def jvp(self, v: Tensor) -> Tensor:
        """Multiply ``k`` tangents, shape ``(k, *x.shape)``, by the Jacobian.

        Raises:
            RuntimeError: If a parameter was written to since the tape was recorded.
        """
        return self._run(self.forward, v, self.output.shape)

    def vjp(self, u: Tensor) -> Tensor:
        """Multiply ``k`` cotangents, shape ``(k, *y.shape)``, by the transposed Jacobian.

        Raises:
            RuntimeError: If a parameter was written to since the tape was recorded.
        """
        return self._run(self.backward, u, self.shape)

    def summary(self) -> dict[str, object]:
        """Return the number of ops and of replayed maps, the fallbacks, and the bytes held."""
        return {
            "ops": len(self.ops),
            "maps": len(self.forward.edges),
            "generic": dict(Counter(name for name, generic in self.ops if generic)),
            "bytes": _bytes_held(self),
        }

    def _run(self, program: Program, v: Tensor, shape: Sequence[int]) -> Tensor:
        for tensor, version in self.external:
            if tensor._version != version:
                raise RuntimeError(
                    f"a parameter of shape {tuple(tensor.shape)} was written to after the "
                    "Jacobian was taken; expected the same weights. Build the operator anew."
                )
        with torch.no_grad(), torch.autocast(v.device.type, enabled=False):
            result = program.run(v)
        if result is None:
            return self.output.new_zeros(v.shape[0], *shape)
        if result.untyped_storage().data_ptr() == v.untyped_storage().data_ptr():
            return result.clone()
        return result


def record(f: Callable[[Tensor], Tensor], x: Tensor) -> Tape:
    """Linearise ``f`` at ``x``.

    Args:
        f: A function or module; it is called twice and must be deterministic.
        x: A tensor of real numbers.

    Returns:
        The tape. Parameters are kept by reference, intermediate derivatives by value.

    Raises:
        NotRecordable: If an op has no exact route, or the tape and autograd disagree.

    Notes:
        Whatever ``f`` writes to in place outside itself (running statistics, counters that
        are tensors) is put back. The global random state is neither read nor changed.
    """
    output, recorder = _recorded(f, x)
    stop = recorder.node_of(output)
    edges = [] if stop is None else simplified(0, stop, recorder.edges)
    generator = torch.Generator().manual_seed(0)
    v, u = _normal(x, generator), _normal(output, generator)
    forward = Program.of(0, -1 if stop is None else stop, edges)
    with torch.no_grad():
        forward = forward.fitted(v)
    external = {value.untyped_storage()._cdata: value for value in recorder.external}
    tape = Tape(
        output=output.detach().clone(),
        shape=x.shape,
        forward=forward,
        backward=forward.transpose,
        ops=tuple(recorder.ops),
        external=tuple((t, t._version) for t in external.values() if not t.is_inference()),
    )
    tolerance = max(torch.finfo(dtype).eps for dtype in recorder.dtypes) ** 0.5
    del recorder
    _prove(tape, _autograd_product(f, x, u[0]), v, u, tolerance)
    return tape


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one tangent, laid out as ``like`` is."""
    drawn = torch.randn(like.shape, generator=generator, dtype=torch.float64)
    return torch.empty_like(like).copy_(drawn)[None]


def _recorded(f: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Recorder]:
    """Run ``f`` once under a recorder; a fused recurrent layer is run again step by step.

    Raises:
        NotRecordable: If an op cannot be recorded or the output is not a real tensor.
    """
    try:
        output, recorder = _run(f, x, fused=True)
    except FusedRecurrence:
        output, recorder = _run(f, x, fused=False)
    if recorder.refusal is not None:
        raise recorder.refusal
    if not isinstance(output, Tensor) or not output.is_floating_point():
        raise NotRecordable(f"the output is {type(output).__name__}, not one real tensor")
    return output, recorder


def _run(f: Callable[[Tensor], Tensor], x: Tensor, *, fused: bool) -> tuple[object, Recorder]:
    point = x.detach().clone()
    recorder = Recorder(point)
    with _plain_kernels(fused=fused), torch.no_grad(), CircularJoin(), recorder:
        return f(point), recorder


@contextmanager
def _plain_kernels(*, fused: bool = True) -> Iterator[None]:
    """Run composite ops as plain ones: attention as products, compiled code eagerly."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if not fused:
            stack.callback(torch._C._set_mkldnn_enabled, torch._C._get_mkldnn_enabled())
            torch._C._set_mkldnn_enabled(False)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        yield


def _autograd_product(f: Callable[[Tensor], Tensor], x: Tensor, u: Tensor) -> Tensor:
    """Multiply one cotangent by the transposed Jacobian as autograd does.

    Raises:
        NotRecordable: If autograd cannot.
    """
    leaf = x.detach().clone().requires_grad_()
    with _plain_kernels(), WriteGuard(), torch.enable_grad():
        y = f(leaf.clone())
        if not y.requires_grad:
            return torch.zeros_like(leaf)
        try:
            return torch.autograd.grad(y, leaf, u, materialize_grads=True)[0]
        except RuntimeError as error:
            raise NotRecordable(f"autograd cannot differentiate it: {error}") from error


def _prove(tape: Tape, expected: Tensor, v: Tensor, u: Tensor, tolerance: float) -> None:
    """Compare one product with autograd's, and the two directions with each other.

    Raises:
        NotRecordable: If one of them does not agree.
    """
    w, y = tape.vjp(u), tape.jvp(v)
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


def _tensors(linear: object) -> Iterator[Tensor]:
    """Yield the constants of a map."""
    for value in vars(linear).values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, LocalGraph):
            yield from _tensors(value)


def _bytes_held(tape: Tape) -> int:
    """Return the memory of the maps' constants beside the parameters."""
    sizes = {
        constant.untyped_storage()._cdata: constant.untyped_storage().nbytes()
        for program in (tape.forward, tape.backward)
        for edge in program.edges
        for constant in _tensors(edge.map)
    }
    for parameter, _ in tape.external:
        sizes.pop(parameter.untyped_storage()._cdata, None)
    return sum(sizes.values())
