"""How many probes and how many products: by the size, the accuracy and the memory."""

import math
import time

import torch

from isometry._checks import check_count, check_integer
from isometry._typing import Checked, Integer
from isometry._words import Auto
from isometry.nn.sandbox._typing import Operator
from isometry.nn.spectrum import lanczos
from isometry.nn.spectrum.method import check_operator

SCHEDULE = (40, 60, 90, 135)
"""Products each way at which Lanczos asks whether it has resolved the spectrum."""
_ENTRIES = 24_000
"""Entries of all probes together, where two to eight of them reach that."""


def estimate_seconds(
    J: Checked[Operator],
    *,
    num_probes: Checked[Integer | Auto] = "auto",
    num_matvecs: Integer = 60,
) -> float:
    """Estimate the time of the Lanczos route from one product each way.

    Args:
        J: The operator.
        num_probes: As in :func:`singular_spectrum`.
        num_matvecs: Products each way, at least 1.

    Returns:
        Seconds, without the reorthogonalisation; the first product of a model is often the
        slowest, so this errs on the long side.

    Raises:
        TypeError: If ``J`` is no operator, or a count is not an integer.
        ValueError: If a count is smaller than one.
    """
    check_operator(J)
    probes = probes_for(min(J.shape), check_count("num_probes", num_probes))
    steps = min(check_integer("num_matvecs", num_matvecs, minimum=1), *J.shape)
    probe = torch.ones(J.shape[1], probes, dtype=J.dtype, device=J.device)
    start = time.perf_counter()
    float((J.T @ (J @ probe)).sum())
    return steps * (time.perf_counter() - start)


def probes_for(size: int, asked: int | None) -> int:
    """Return as many probes as bring the noise of the cdf, 1 / sqrt(2 probes size), to 0.5 %."""
    if asked is None:
        return min(max(math.ceil(_ENTRIES / size), 2), 8)
    return asked


def budget(
    A: Operator,
    size: int,
    num_probes: int | None,
    num_matvecs: int | None,
    reorthogonalise: bool,
    max_basis_bytes: Integer,
) -> tuple[int, list[int]]:
    """Return how many probes, and the numbers of products to stop at; what is free fits memory.

    Raises:
        ValueError: If the basis cannot fit.
    """
    probes = probes_for(size, num_probes)
    asked = SCHEDULE if size > SCHEDULE[-1] else (size,)
    if num_matvecs is not None:
        asked = (num_matvecs,)
    schedule = sorted({min(steps, size) for steps in asked})
    if not reorthogonalise:
        return probes, schedule
    allowed = check_integer("max_basis_bytes", max_basis_bytes, minimum=1)
    fits = allowed // lanczos.basis_bytes(A, probes, 1)
    if num_matvecs is None and fits >= 1:
        schedule = [steps for steps in schedule if steps <= fits] or [int(fits)]
    if schedule[-1] > fits:
        needed = lanczos.basis_bytes(A, probes, schedule[-1])
        raise ValueError(
            f"`max_basis_bytes` is {allowed}; expected at least {needed} for {probes} "
            f"probes and {schedule[-1]} products. Lower `num_probes` or `num_matvecs`, raise it, "
            "or pass `reorthogonalise=False`."
        )
    return probes, schedule
