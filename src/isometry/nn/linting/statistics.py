"""What the entries of a tensor are like: moments, levels, equal rows; one pass over the weights."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from isometry.nn.sandbox.precision import wide_on_cpu

_SAMPLE = 2**14
"""Entries that the shape of a distribution and the number of levels are taken from."""
_MANY = 4096
"""Rows that are compared one by one where their projections agree."""


@dataclass(frozen=True)
class Summary:
    """The numbers of a matrix, or of a tensor as it is stored.

    Attributes:
        size: Number of entries.
        mean: Mean of the entries.
        std: Standard deviation about their mean.
        rms: Root mean square.
        kurtosis: Fourth central moment over the squared variance, of a sample.
        largest: Largest absolute value.
        finite: Whether all entries are finite.
        constant: Whether all entries are equal.
        levels: Distinct absolute values in the sample.
        sampled: Entries of the sample.
    """

    size: int
    mean: float
    std: float
    rms: float
    kurtosis: float
    largest: float
    finite: bool
    constant: bool
    levels: int
    sampled: int

    @property
    def standard_error(self) -> float:
        """Standard error of log(std) for independent entries of this kurtosis."""
        return math.sqrt(max(self.kurtosis - 1, 0.1) / (4 * self.size))

    @property
    def shape_of_entries(self) -> str:
        """The kind of distribution, "normal", "truncated", "uniform", "signs" or "other"."""
        error = math.sqrt(24 / max(self.sampled, 24)) * 5 + 0.05
        ratio = self.largest / self.std if self.std > 0 else math.inf
        expected = math.sqrt(2 * math.log(max(self.size, 3)))
        if self.levels <= 2:
            return "signs"
        if abs(self.kurtosis - 1.8) < min(error, 0.3) and ratio < 1.8:
            return "uniform"
        if 1.9 < self.kurtosis < 2.9 and ratio < 0.8 * expected:
            return "truncated"
        return "normal" if abs(self.kurtosis - 3) < max(error, 0.15) else "other"


def summarise(entries: Tensor) -> Summary:
    """Return the numbers of a tensor that is not empty."""
    flat = entries.detach()
    wide = flat.float() if flat.dtype != torch.float64 else flat
    low, high = (float(v) for v in torch.aminmax(wide.reshape(-1)))
    largest = max(abs(low), abs(high))
    if not math.isfinite(largest):
        return Summary(
            flat.numel(), math.nan, math.nan, math.nan, math.nan, largest, False, False, 0, 0
        )
    size = flat.numel()
    unit = largest if largest > 1e15 or 0 < largest < 1e-15 else 1.0
    scaled = wide / unit if unit != 1.0 else wide
    mean = float((wide_on_cpu(scaled) if size < 2**16 else scaled).mean())
    rms = float(torch.linalg.vector_norm(scaled)) / math.sqrt(size)
    std = math.sqrt(max(rms**2 - mean**2, 0.0)) * unit
    sample = wide_on_cpu(_sample(scaled))
    centred = sample - sample.mean()
    variance = float(centred.square().mean())
    kurtosis = float(centred.pow(4).mean()) / variance**2 if variance > 1e-30 else 1.0
    levels = int(torch.unique(sample.abs()).numel())
    if low == high:
        std = 0.0
    return Summary(
        size, mean * unit, std, rms * unit, kurtosis, largest, True, low == high, levels,
        sample.numel(),
    )  # fmt: skip


def _sample(entries: Tensor) -> Tensor:
    """Return some entries spread over a tensor; the step is prime, so it meets every column."""
    flat = entries.reshape(-1)
    if flat.numel() <= _SAMPLE:
        return flat
    step = flat.numel() // _SAMPLE
    while any(step % p == 0 for p in (2, 3, 5, 7)) and step > 1:
        step -= 1
    return flat[::step][:_SAMPLE]


@dataclass(frozen=True)
class Repeats:
    """Equal rows of a matrix.

    Attributes:
        rows: Number of rows that are not constant.
        distinct: How many of them are distinct.
        pair: Two equal ones.
    """

    rows: int
    distinct: int
    pair: tuple[int, int]


def repeated_rows(matrix: Tensor) -> Repeats | None:
    """Return how many rows of a matrix are equal to another, if any; constant ones do not count."""
    if matrix.ndim != 2 or matrix.shape[0] < 2 or matrix.shape[1] < 8:
        return None
    wide = matrix.detach().float() if matrix.dtype != torch.float64 else matrix.detach()
    ramp = torch.linspace(0, 50, matrix.shape[1], dtype=wide.dtype, device=wide.device)
    weights = torch.cos(ramp.square() + ramp)
    projected = wide @ weights
    size = float(torch.linalg.vector_norm(projected)) / math.sqrt(len(projected))
    order = torch.argsort(projected)
    ranked = projected[order]
    close = (ranked[1:] - ranked[:-1]).abs() <= 1e-6 * (size + ranked[1:].abs())
    places = close.nonzero().flatten()[:_MANY]
    if not len(places):
        return None
    first, second = order[places], order[places + 1]
    equal = (wide[first] == wide[second]).all(1) & (wide[first] != wide[first][:, :1]).any(1)
    if not bool(equal.any()):
        return None
    varied = int((wide != wide[:, :1]).any(1).sum())
    where = int(equal.nonzero()[0])
    pair = (int(first[where]), int(second[where]))
    return Repeats(varied, varied - int(equal.sum()), (min(pair), max(pair)))


def rank_one_share(matrix: Tensor) -> float:
    """Return the share of the squared norm that one dyad holds, by two steps of iteration."""
    wide = matrix.detach().float()
    total = float(torch.linalg.vector_norm(wide)) ** 2
    if total == 0 or matrix.ndim != 2 or min(matrix.shape) < 4:
        return 0.0
    v = wide[int(torch.linalg.vector_norm(wide, dim=1).argmax())]
    u = wide @ (v / v.norm())
    w = wide.T @ (u / u.norm())
    return float(w.norm()) ** 2 / total


def is_orthogonal(matrix: Tensor) -> bool:
    """Return whether a matrix has orthogonal rows, or orthogonal columns, of one size."""
    if matrix.ndim != 2 or min(matrix.shape) < 2:
        return False
    wide = matrix.detach().float()
    few = (wide if wide.shape[0] <= wide.shape[1] else wide.T)[:8]
    gram = few @ few.T
    size = gram.diagonal().mean()
    unit = torch.eye(len(few), dtype=gram.dtype, device=gram.device)
    return bool(size > 0) and bool(((gram / size - unit).abs() < 1e-3).all())
