"""What the entries of a tensor are like: moments, levels, equal rows; one pass over the weights."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from isometry.nn.linting.held import Held
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
        widest = max(1.8, 3**0.5 * (1 + 5 * math.sqrt(0.2 / max(self.size, 1))))
        if abs(self.kurtosis - 1.8) < min(error, 0.3) and ratio < widest:
            return "uniform"
        if 1.9 < self.kurtosis < 2.9 and ratio < 0.8 * expected:
            return "truncated"
        return "normal" if abs(self.kurtosis - 3) < max(error, 0.15) else "other"


def summarise(entries: Held) -> Summary:
    """Return the numbers of a tensor that is not empty."""
    wide, size = entries.wide, entries.size
    low, high, known = extremes(wide)
    largest = max(abs(low), abs(high)) if known else math.nan
    if not math.isfinite(largest):
        return Summary(size, math.nan, math.nan, math.nan, math.nan, largest, False, False, 0, 0)
    unit = largest if largest > 1e15 or 0 < largest < 1e-15 else 1.0
    scaled = wide.having(wide.local / unit) if unit != 1.0 else wide
    mean, rms = low / unit, largest / unit
    if low != high:
        mean = scaled.total(_sum(scaled.local)) / size
        rms = math.sqrt(scaled.total(float(torch.linalg.vector_norm(scaled.local)) ** 2) / size)
    std = math.sqrt(max(rms**2 - mean**2, 0.0)) * unit if low != high else 0.0
    sample = wide_on_cpu(_sample(scaled))
    centred = sample - sample.mean()
    variance = float(centred.square().mean())
    kurtosis = float(centred.pow(4).mean()) / variance**2 if variance > 1e-30 else 1.0
    levels = int(torch.unique(sample.abs()).numel())
    return Summary(
        size, mean * unit, std, rms * unit, kurtosis, largest, True, low == high, levels,
        sample.numel(),
    )  # fmt: skip


def extremes(entries: Held) -> tuple[float, float, bool]:
    """Return the least and the largest entry, and whether they are known: no entry is NaN."""
    local = entries.local
    low, high = torch.aminmax(local) if local.numel() else (local.new_tensor(math.inf),) * 2
    high = high if local.numel() else -low
    unknown = torch.isnan(low).to(low)  # of which no reduction says what becomes of it
    ends = entries.max(
        torch.stack(
            [
                -low.nan_to_num(0.0, math.inf, -math.inf),
                high.nan_to_num(0.0, math.inf, -math.inf),
                unknown,
            ]
        )
    )
    return -float(ends[0]), float(ends[1]), not bool(ends[2])


def _sum(entries: Tensor) -> float:
    """Return the sum of entries, few of them in float64; 0 of none."""
    size = entries.numel()
    if size == 0:
        return 0.0
    return float((wide_on_cpu(entries) if size < 2**16 else entries).mean()) * size


def _sample(entries: Held) -> Tensor:
    """Return some entries spread over a tensor; the step is prime, so it meets every column."""
    step = max(1, entries.size // _SAMPLE)
    while any(step % p == 0 for p in (2, 3, 5, 7)) and step > 1:
        step -= 1
    places = torch.arange(0, entries.size, step, device=entries.local.device)
    return entries.take(places[:_SAMPLE])


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


def repeated_rows(matrix: Held) -> Repeats | None:
    """Return how many rows of a matrix are equal to another, if any; constant ones do not count."""
    if matrix.shape[0] < 2 or matrix.shape[1] < 8:
        return None
    wide = matrix.wide
    ramp = torch.linspace(0, 50, wide.shape[1], dtype=wide.local.dtype, device=wide.local.device)
    projected = wide.times(torch.cos(ramp.square() + ramp))
    size = float(torch.linalg.vector_norm(projected)) / math.sqrt(len(projected))
    order = torch.argsort(projected, stable=True)
    ranked = projected[order]
    close = (ranked[1:] - ranked[:-1]).abs() <= 1e-6 * (size + ranked[1:].abs())
    if not bool(close.any()):
        return None
    varied = _varied(wide)
    places = (close & varied[order[1:]]).nonzero().flatten()[:_MANY]
    rows = torch.unique(torch.cat([order[places], order[places + 1]]))
    rows = rows[varied[rows]]
    known: dict[int, list[int]] = {}
    for row, digest in zip(rows.tolist(), wide.digests(rows).tolist(), strict=True):
        known.setdefault(digest, []).append(row)
    equal = [same for same in known.values() if len(same) > 1]
    if not equal:
        return None
    count = int(varied.sum())
    repeated = sum(len(same) - 1 for same in equal)
    return Repeats(count, count - repeated, (equal[0][0], equal[0][1]))


def _varied(matrix: Held) -> Tensor:
    """Return for every row whether it has an entry unlike its first."""
    column = matrix.transposed.take_rows([0])[0]
    unlike = (matrix.local != matrix.own_rows(column)[:, None]).any(1)
    return matrix.by_row(unlike.float()) > 0


def rank_one_share(matrix: Held) -> float:
    """Return the share of the squared norm that one dyad holds, by two steps of iteration."""
    wide = matrix.wide
    squares = wide.by_row(wide.local.square().sum(1))
    total = float(squares.sum())
    if total == 0 or min(matrix.shape) < 4:
        return 0.0
    v = wide.take_rows([int(squares.argmax())])[0]
    u = wide.times(v / v.norm())
    w = wide.transposed.times(u / u.norm())
    return float(w.norm()) ** 2 / total


def is_orthogonal(matrix: Held) -> bool:
    """Return whether a matrix has orthogonal rows, or orthogonal columns, of one size."""
    few_rows = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.transposed
    if few_rows.shape[0] < 2:
        return False
    few = few_rows.take_rows(range(min(8, few_rows.shape[0]))).float()
    gram = few @ few.T
    size = gram.diagonal().mean()
    unit = torch.eye(len(few), dtype=gram.dtype, device=gram.device)
    return bool(size > 0) and bool(((gram / size - unit).abs() < 1e-3).all())


@dataclass(frozen=True)
class Bank:
    """The sizes of the experts of a bank.

    Attributes:
        stds: Standard deviation of every expert.
        middle: Their median.
        odd: The experts that are further from it than a tenth, or than chance.
        usual: Root mean square of the standard deviations of the others.
    """

    stds: tuple[float, ...]
    middle: float
    odd: tuple[int, ...]
    usual: float


def bank_of(matrix: Held, rows: int) -> Bank | None:
    """Return the sizes of experts of so many rows; None where fewer than three can be compared."""
    wide = matrix.wide
    entries = rows * matrix.shape[1]

    def summed(values: Tensor) -> Tensor:
        return wide.by_row(values.sum(1)).reshape(-1, rows).sum(1)

    means = summed(wide.local) / entries
    own = wide.own_rows(means.repeat_interleave(rows))
    stds = (summed((wide.local - own[:, None]).square()) / max(entries - 1, 1)).sqrt()
    middle = float(stds.median())
    if len(stds) < 3 or not bool(torch.isfinite(stds).all()) or middle == 0:
        return None
    off = (stds / middle - 1).abs() > max(0.1, 6 / (2 * entries) ** 0.5)
    usual = float(stds[~off].square().mean().sqrt())
    return Bank(tuple(stds.tolist()), middle, tuple(off.nonzero().flatten().tolist()), usual)
