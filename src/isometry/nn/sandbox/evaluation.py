"""The first evaluations of a foreign function: what it is made of, and that it is a function."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from isometry.nn.sandbox.checks import explain, refuse_non_finite, refuse_unfollowed_norms
from isometry.nn.sandbox.random import HIGH, LOW
from isometry.nn.sandbox.sandbox import Sandbox

_SEEDS, _MANY = 3, 21
"""Seeds tried after the extreme numbers; and where numbers cannot be made extreme."""
_ROUNDING = 1e3
"""Units of rounding by which two evaluations may differ."""


def first_evaluation(f: Callable[[Tensor], Tensor], x: Tensor, sandbox: Sandbox) -> Tensor:
    """Evaluate ``f`` at ``x`` for the first time; the sandbox meets its modules.

    Returns:
        The output, detached.

    Raises:
        ValueError: If it is not finite, the statistics of a batch normalisation are not stated,
            or several processes disagree.
    """
    try:
        with sandbox:
            output = f(x).detach()
    except Exception as error:
        explained = explain(error, sandbox, x)
        if explained is error:
            raise
        raise explained from error
    refuse_unfollowed_norms(sandbox)
    if not torch.isfinite(output).all():
        refuse_non_finite(sandbox)
    sandbox.ranks.check_point(x, output)
    return output


def check_deterministic(
    f: Callable[[Tensor], Tensor], x: Tensor, output: Tensor, sandbox: Sandbox
) -> bool:
    """Evaluate ``f`` again with other random numbers, and compare what comes out.

    One evaluation where the first drew no numbers. Else two with extreme numbers, all smallest
    and all largest: a decision ``u < p`` falls one way in the first and the other in the second,
    for every p and wherever it is among the first 400 words of torch's, numpy's or Python's
    generator. Then three seeds; 21 where another generator took part (of a device, or one
    that a module keeps), of which a decision of probability p goes unseen with (1 - p)^23 + p^23.
    A generator that only a closure knows shows by going on from evaluation to evaluation.

    Returns:
        Whether the output depends on the input as far as autograd sees.

    Raises:
        RuntimeError: If autograd cannot differentiate it.
        ValueError: If an output or a gradient differs.
    """
    connected, gradient = _evaluated(f, x, output, sandbox, LOW)
    for variation in variations(sandbox):
        _, other = _evaluated(f, x, output, sandbox, variation)
        if torch.isfinite(gradient).all():
            refuse_difference(gradient, other)
    return connected


def _evaluated(
    f: Callable[[Tensor], Tensor], x: Tensor, output: Tensor, sandbox: Sandbox, variation: int
) -> tuple[bool, Tensor]:
    """Return whether the output depends on x, and a product with the transposed Jacobian."""
    with sandbox.varied(variation):
        leaf = x.clone().requires_grad_()
        again = f(leaf)
        refuse_difference(output, again.detach())
        if not again.requires_grad:
            return False, torch.zeros_like(x)
        probe = torch.linspace(-1, 1, output.numel(), dtype=again.dtype, device=again.device)
        (found,) = torch.autograd.grad(again, leaf, probe.reshape(again.shape), allow_unused=True)
        return found is not None, torch.zeros_like(x) if found is None else found.detach()


def variations(sandbox: Sandbox) -> Iterator[int]:
    """Yield the random numbers to try after the first evaluation and one with the smallest."""
    if sandbox.draws:
        yield HIGH
        yield from range(HIGH + 1, HIGH + 1 + (_MANY if sandbox.seeded else _SEEDS))


def refuse_difference(first: Tensor, second: Tensor) -> None:
    """Compare two results that should be one.

    Raises:
        ValueError: If they differ by more than rounding.
    """
    size = float(first.abs().max())
    tolerance = min(_ROUNDING * torch.finfo(first.dtype).eps, 0.05)
    if first.shape != second.shape or not (float((first - second).abs().max()) <= tolerance * size):
        raise ValueError(
            "`f` gives different results when called twice at `x`; expected a deterministic "
            "function. Switch off random layers (`model.eval()`, functional dropout, noise)."
        )
