"""Choose the route of the products, and test it: adjoint identity, agreement, determinism."""

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from isometry.errors import AccuracyWarning
from isometry.nn.jacobian.routes import (
    AutogradRoute,
    ForwardRoute,
    Point,
    Route,
    RowsRoute,
    TapeRoute,
)
from isometry.nn.sandbox.evaluation import refuse_difference, variations
from isometry.nn.sandbox.precision import wide_on_cpu
from isometry.nn.tape import first_line
from isometry.nn.tape.forward import adjoint_gap as pair_gap

_ROUNDING = 1e3
"""Units of rounding that two exact routes may differ by; a wrong route differs by order one."""
_SECANT = 1e-2
"""Relative gap to a difference quotient, beyond what the quotient itself is unsure of."""


_ROUTES: dict[str | None, tuple[Callable[..., Route], ...]] = {
    None: (TapeRoute, AutogradRoute, ForwardRoute, RowsRoute),
    "tape": (TapeRoute,),
    "autograd": (AutogradRoute, ForwardRoute, RowsRoute),
}


class _AdjointError(RuntimeError):
    """A route exists and is wrong."""


def choose_route(point: Point, output: Tensor, forced: str | None) -> tuple[Route, str]:
    """Return the fastest route that passes the tests, and its description.

    Raises:
        ValueError: If ``f`` is random, does not depend on ``x``, or J is not finite.
        NotImplementedError: If no route exists.
        RuntimeError: If every route fails the adjoint test, or the test of several processes.
    """
    x, sandbox = point.x, point.sandbox
    if forced != "autograd":
        _ = point.followed  # one pass for the tape and for autograd
    check_differentiable(point, output)
    failures: list[RuntimeError] = []
    for build in _ROUTES[forced]:
        try:
            route = build(point)
            _check_adjoint(route, x, output)
            if sandbox.ranks:
                _check_secant(route, point)
        except RuntimeError as error:
            sandbox.ranks.agree(False, x.device)
            failures.append(error)
            continue
        if sandbox.ranks.agree(True, x.device):
            if isinstance(route, TapeRoute):
                point.release()
            no_tape = forced is None and build is not TapeRoute
            aside = f" (no tape: {first_line(failures[0])})" if no_tape else ""
            return route, route.description + aside
        failures.append(_AdjointError("`f` fails the adjoint test on another process."))
    for error in failures:
        if isinstance(error, _AdjointError):
            raise RuntimeError(str(error)) from error
    reasons = "; ".join(dict.fromkeys(map(first_line, failures)))
    if forced == "tape":
        raise NotImplementedError(
            f"`route` is 'tape' but `f` cannot be recorded ({reasons}); expected a function of "
            "differentiable operations. Use route=None, which falls back to autograd."
        )
    raise NotImplementedError(
        f"`f` has no exact product J v ({reasons}); expected a second backward or a forward "
        "derivative. Replace that operation, or give a custom autograd function a `jvp`."
    )


def check_differentiable(point: Point, output: Tensor) -> AutogradRoute:
    """Compare the pass that has a graph with the first evaluation, and return its route.

    Raises:
        ValueError: If ``f`` is random or does not depend on ``x``.
        NotImplementedError: If autograd cannot differentiate it.
    """
    try:
        reference = AutogradRoute(point)
        connected = reference.depends_on_input
    except RuntimeError as error:
        raise NotImplementedError(
            f"`f` has no backward at `x` ({first_line(error)}); expected a function that "
            "autograd can differentiate. Do not overwrite in place what the derivative needs."
        ) from error
    if not connected:
        raise ValueError(
            "`f(x)` does not depend on `x` as far as autograd sees, so J = 0; expected a "
            "differentiable function. Look for .detach(), torch.no_grad() or an unused input."
        )
    _check_deterministic(point, output, reference)
    return reference


def adjoint_gap(
    route: Route, x: Tensor, output: Tensor, *, generator: torch.Generator | None = None
) -> float:
    """Return the largest relative gap of the adjoint identity over two probes on each side."""
    V = _probes(x, 2, generator=generator, seed=0)
    U = _probes(output, 2, generator=generator, seed=1)
    return pair_gap(V, route.jvp(V), U, route.vjp(U))


def _check_adjoint(route: Route, x: Tensor, output: Tensor) -> None:
    gap = adjoint_gap(route, x, output) if route.gap is None else route.gap
    if not math.isfinite(gap):
        raise ValueError(
            "`f` has a derivative at `x` that is NaN or infinite; expected finite entries of J. "
            "Move `x` off the singularity (a norm or square root at 0), or use float64."
        )
    tolerance = _tolerance(x.dtype)
    if gap <= tolerance:
        return
    noise = _rounding_noise(route, x, output)
    if not gap <= 10 * noise <= 0.1:
        raise _AdjointError(
            f"`f` fails the adjoint test: <u, J v> and <J^T u, v> differ by {gap:.1e} of "
            f"|u| |J v|; expected at most {tolerance:.0e}. Likely causes: tensor-parallel layers "
            "(their double backward is wrong), a custom backward that is not a derivative, an `f` "
            "that changes from call to call, or rounding that swamps J (try float64)."
        )
    advice = "" if x.dtype == torch.float64 else "; a float64 model gives more digits"
    warnings.warn(
        f"Products with J carry a relative rounding error of about {noise:.0e} in {x.dtype}: "
        f"cancellation, or a lower precision inside `f`{advice}.",
        AccuracyWarning,
        stacklevel=4,
    )


def _check_secant(route: Route, point: Point) -> None:
    """Compare J v with differences: both products are wrong where a collective has no backward.

    Raises:
        _AdjointError: If J v is further off than the one-sided differences are apart.
    """
    x, f = point.x, point.f
    (v,) = _probes(x, 1, seed=4)
    product = _flat(route.jvp(v[None]))
    size = torch.linalg.vector_norm(x) / torch.linalg.vector_norm(v)
    step = torch.finfo(x.dtype).eps ** (1 / 3) * (size if size > 0 else 1.0)
    with point.sandbox, torch.no_grad():
        below, here, above = (_flat(f(x + t * v)[None]) for t in (-step, 0.0, step))
    gap = torch.linalg.vector_norm((above - below) / (2 * float(step)) - product)
    unsure = torch.linalg.vector_norm((above - 2 * here + below) / float(step))
    if not gap <= unsure + _SECANT * torch.linalg.vector_norm(product):
        raise _AdjointError(
            f"`f` changes along a direction v by something else than J v (they differ by "
            f"{float(gap):.1e} of {float(product.norm()):.1e}); expected a backward that is the "
            "derivative. Likely cause: a collective that autograd does not see, such as "
            "`torch.distributed.all_reduce`; build the layer on DTensor instead."
        )


def _rounding_noise(route: Route, x: Tensor, output: Tensor) -> float:
    """Measure by how much the products miss linearity: the rounding of this very model."""
    noise = []
    for product, like in ((route.jvp, x), (route.vjp, output)):
        pair = _probes(like, 2, seed=2)
        images = _flat(product(pair))
        both = _flat(product(pair.sum(0, keepdim=True)))
        scale = float(_norms(images).sum())
        noise.append(float(_norms(both - images.sum(0)).sum()) / scale if scale > 0 else 0.0)
    return max(noise)


def _check_deterministic(point: Point, output: Tensor, reference: AutogradRoute) -> None:
    refuse_difference(output, reference.output.detach())
    probe = _probes(output, 1, seed=3)
    gradient = reference.vjp(probe) if point.sandbox.draws else None
    for variation in variations(point.sandbox):
        other = AutogradRoute(point, point.varied(variation))
        refuse_difference(output, other.output.detach())
        if gradient is not None and torch.isfinite(gradient).all():
            refuse_difference(gradient, other.vjp(probe))


def _tolerance(dtype: torch.dtype) -> float:
    return min(_ROUNDING * torch.finfo(dtype).eps, 0.05)


def _probes(
    like: Tensor, count: int, *, seed: int, generator: torch.Generator | None = None
) -> Tensor:
    source = torch.Generator().manual_seed(seed) if generator is None else generator
    probes = torch.randn(count, *like.shape, generator=source, device=source.device)
    return probes.to(dtype=like.dtype, device=like.device)


def _flat(block: Tensor) -> Tensor:
    return wide_on_cpu(block.detach()).reshape(len(block), -1)


def _norms(block: Tensor) -> Tensor:
    return torch.linalg.vector_norm(block, dim=1)
