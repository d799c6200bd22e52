"""The input-output Jacobian of any torch function as a linear operator that proves itself.

``J = d f(x) / d x`` of the flattened output with respect to the flattened input, at one point
``x``. Products with J and its transpose are exact (no finite differences); the identity
``<u, J v> = <J^T u, v>`` is tested once at construction. Parameter Jacobians are not here.
"""

import warnings
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from isometry._checks import suggest
from isometry.errors import TheoryWarning
from isometry.nn.jacobian.choice import adjoint_gap, check_differentiable, choose_route
from isometry.nn.jacobian.routes import AutogradRoute, Point, Route, TapeRoute
from isometry.nn.sandbox._typing import BatchNorm, Generator, Key, Model, ModelInput, RouteName
from isometry.nn.sandbox.evaluation import first_evaluation
from isometry.nn.sandbox.sandbox import Sandbox
from isometry.nn.sandbox.specimen import Specimen
from isometry.nn.tape import Layout, MatrixFreeOperator, Tape, Transpose, whole

_BATCH_NORM = {
    None: "running statistics",
    "eval": "running statistics",
    "batch": "statistics of `x`, as constants",
}


_OWN = "the module's own `jacobian`, checked by one product; no products were asked for"


class JacobianOperator(MatrixFreeOperator):
    """Multiply by the Jacobian of ``f`` at ``x`` and by its transpose, matrix-free.

    ``f`` is evaluated a few times here and linearised; the model comes out bitwise as it went in
    (weights, ``requires_grad``, ``.grad``, buffers, modes, hooks, global random state). The
    operator belongs to the weights at construction: make a new one after an optimiser step.

    Args:
        f: Module or callable.
        x: The point, floating point, of any shape (a sample, or a batch of one): J is the
            Jacobian of everything in ``f(x)`` with respect to everything in ``x``. A tuple or
            mapping of inputs is passed by position or name; all but the point are held. Of token
            ids the point is what the model first makes of them: its embeddings.
        inputs: All inputs, in place of ``x``.
        wrt: Name or place of the input that is the point; without it the first tensor that is
            no mask, in the order of the model's signature.
        output: Name or place of the part of ``f``'s output that is meant; without it the first
            floating-point tensor, a loss beside others left aside.
        batch_norm: Statistics of batch-normalisation layers: ``"eval"`` (running statistics, the
            identity before training) or ``"batch"`` (those of ``x``, frozen: treated as
            constants). None leaves layers in eval mode alone and refuses layers in train mode.
        route: ``"tape"`` (recorded linear operations), ``"autograd"``, or None for the tape
            wherever it agrees with autograd.

    Attributes:
        shape: ``(n_out, n_in)``.
        dtype: That of ``x``; outputs of another precision are cast to it.
        device: That of ``x``.
        input_shape: Shape of ``x``.
        output_shape: Shape of ``f(x)``.
        output: ``f(x)``, detached.
        about: What the point is, where that was not said by passing one tensor.
        batch_norm: Which statistics batch normalisation uses, in words.

    Raises:
        TypeError: If ``f`` is not callable, or ``x`` or ``f(x)`` is not one real floating-point
            tensor.
        ValueError: If ``x``, ``f(x)`` or the weights are not finite, ``x`` is on another device,
            ``f`` is random (dropout in train mode) or does not depend on ``x``, or
            ``batch_norm`` has to be stated.
        NotImplementedError: If ``f`` has no backward, no exact route to ``J v`` exists (an
            operation with neither a forward derivative nor a second backward, and J too large
            to take row by row), or the tape is asked for and cannot be recorded.
        RuntimeError: If every route fails the adjoint test.

    Notes:
        Measured in float64 on the models of the test table: adjoint gap below 1e-15, finite
        differences matched to 2e-10. Attention is linearised in its plain form (memory is
        quadratic in the number of tokens).

    Examples:
        >>> J = JacobianOperator(lambda x: x**2, torch.tensor([1.0, 3.0]))
        >>> J @ torch.ones(2)
        tensor([2., 6.])
    """

    def __init__(
        self,
        f: Model,
        x: ModelInput = None,
        *,
        inputs: ModelInput = None,
        wrt: Key = None,
        output: Key = None,
        batch_norm: BatchNorm = None,
        route: RouteName = None,
    ) -> None:
        if not callable(f):
            raise TypeError(f"`f` is a {type(f).__name__}; expected a module or a callable.")
        _check_choice("batch_norm", batch_norm, ("eval", "batch"))
        _check_choice("route", route, ("tape", "autograd"))
        specimen = Specimen.of(f, x, inputs=inputs, wrt=wrt, output=output, batch_norm=batch_norm)
        with torch.inference_mode(False):  # tensors made in inference mode have no derivative
            self._x = specimen.point.clone()
        self._f, self.about = specimen, specimen.about
        self._sandbox = Sandbox(self._x, batch_norm)
        self.output = first_evaluation(self._first, self._x, self._sandbox)
        self.dtype, self.device = self._x.dtype, self._x.device
        self.input_shape, self.output_shape = self._x.shape, self.output.shape
        self.shape = (self.output.numel(), self._x.numel())
        self.batch_norm = _BATCH_NORM[batch_norm] if self._sandbox.policy.seen else "not met"
        self._warn_about_batch_norm()
        self._point = self._pass()
        self._forced = route
        self._reference: AutogradRoute | None = None
        if route is None and self._own is not None:
            self._reference = check_differentiable(self._point, self.output)
        else:
            _ = self._chosen

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"JacobianOperator(shape={self.shape}, {dtype}, {self.device}, route={self.route!r})"

    @property
    def route(self) -> str:
        """How products are computed, in words.

        A module with a `jacobian` of its own gets a route when a product is asked for.
        """
        return self._chosen[1] if "_chosen" in self.__dict__ else _OWN

    @property
    def _route(self) -> Route:
        return self._chosen[0]

    @cached_property
    def _chosen(self) -> tuple[Route, str]:
        return choose_route(self._point, self.output, self._forced)

    def _pass(self) -> Point:
        """Return where the routes find the one pass that they share."""
        return Point(self._evaluate, self._x, self._sandbox)

    @property
    def T(self) -> Transpose:  # noqa: N802 (the field's name)
        """The transpose, sharing the linearisation; ``J.T.T is J``."""
        return Transpose(self)

    def adjoint_gap(self, *, generator: Generator = None) -> float:
        """Return ``|<u, J v> - <J^T u, v>|`` over ``|u| |J v|`` for random Gaussian u and v.

        Args:
            generator: Source of the probes; None uses a fixed seed of its own.

        Returns:
            The largest relative gap of four pairs: a few rounding units if all is well.
        """
        return adjoint_gap(self._route, self._x, self.output, generator=generator)

    def to_dense(self) -> Tensor:
        """Return the matrix ``(n_out, n_in)``, in blocks over the shorter side.

        A module with an exact ``jacobian(x)`` of its own (`isometry.nn.ResNet`) is asked first.

        Returns:
            The dense Jacobian in the operator's dtype, on its device.
        """
        own = self._own_jacobian()
        if own is not None:
            return own
        ends = Layout.of(self._x), Layout.of(self.output)
        if self.shape[0] <= self.shape[1]:
            return whole(self._route.vjp, *reversed(ends))
        return whole(self._route.jvp, *ends).T

    @property
    def _tape(self) -> Tape | None:
        """The recording; a module with a `jacobian` of its own needs none made."""
        if self._own is not None and "_chosen" not in self.__dict__:
            return None
        return self._route.tape if isinstance(self._route, TapeRoute) else None

    def _rows(self, V: Tensor) -> Tensor:
        self._sandbox.ranks.check_same_operand(V)
        return self._route.jvp(V.reshape(-1, *self.input_shape)).reshape(len(V), self.shape[0])

    def _transposed_rows(self, U: Tensor) -> Tensor:
        self._sandbox.ranks.check_same_operand(U)
        return self._route.vjp(U.reshape(-1, *self.output_shape)).reshape(len(U), self.shape[1])

    def _evaluate(self, x: Tensor) -> Tensor:
        """Call ``f``, which may work on ``x`` in place, and cast to the dtype of x."""
        return self._f(x).to(self._x.dtype)

    def _first(self, x: Tensor) -> Tensor:
        return self._evaluate(x.clone())

    @property
    def _own(self) -> Callable[[Tensor], object] | None:
        found = getattr(self._f.model, "jacobian", None)
        return found if callable(found) and self._f.plain else None

    def _own_jacobian(self) -> Tensor | None:
        """Ask ``f`` for its Jacobian; believe it where one probe agrees."""
        method = self._own
        if method is None:
            return None
        with self._sandbox, torch.no_grad():
            try:
                dense = method(self._x.clone())
            except (TypeError, ValueError):
                return None  # not for this shape of input
        if not isinstance(dense, Tensor) or dense.shape != self.shape or dense.dtype != self.dtype:
            return None
        probe = torch.linspace(-1, 1, self.shape[0], dtype=self.dtype, device=self.device)
        checked = self._route if self._reference is None else self._reference
        expected = checked.vjp(probe.reshape(1, *self.output_shape)).flatten()
        tolerance = torch.finfo(self.dtype).eps ** 0.5
        error = torch.linalg.vector_norm(probe @ dense - expected)
        return dense if error <= tolerance * torch.linalg.vector_norm(expected) else None

    def _warn_about_batch_norm(self) -> None:
        initial = [name for name, fresh in self._sandbox.policy.seen.items() if fresh]
        if initial:
            warnings.warn(
                f"Batch normalisation in {initial[0]} uses running statistics that were never "
                "updated (mean 0, variance 1), so it normalises nothing; "
                "batch_norm='batch' measures with the statistics of `x`.",
                TheoryWarning,
                stacklevel=3,
            )


def _check_choice(name: str, value: object, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise ValueError(
            f"`{name}` is {value!r}; expected None or one of {', '.join(map(repr, known))}."
            + suggest(str(value), known)
        )
