"""Which inputs of an operator count: those that it sees at all, and a few stretched far more.

A class token that starts near 0 and meets a normalisation is stretched tens of times as much as
all other inputs. Each of its entries is then an outlier, and to Lanczos each outlier costs a step
of every probe. The columns of those inputs show them beforehand.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from isometry.nn.sandbox._typing import Operator
from isometry.nn.spectrum import lanczos

FEW = 0.01
"""Share of the inputs that may be measured by themselves: what that moves the cdf by at most."""
_HEAVY = 8.0
"""Times the median squared column from which on an input is heavy."""
_PROBES = 8
"""Products that tell the columns' sizes: a chi-squared of 8 is 8 times its mean in 1 of 1e10."""
_SUSPECT = 0.12
"""Share of two products' energy in the largest ``FEW`` entries, of equal columns .056, from which
on the columns are looked at."""
_WORTH = 30
"""Heavy inputs from which on a run of their own costs less than the steps they cost all probes."""


@dataclass(frozen=True)
class Side:
    """An operator from its shorter side, which inputs it sees, and what two products saw."""

    operator: Operator
    seen: Tensor
    energy: Tensor

    @property
    def size(self) -> int:
        """How many inputs are seen."""
        return int(self.seen.sum())


class Restricted:
    """An operator on some of its inputs: a matrix with those columns."""

    def __init__(self, whole: Operator, kept: Tensor) -> None:
        self._whole, self._places = whole, kept.nonzero().flatten()
        self.shape = (whole.shape[0], len(self._places))
        self.dtype, self.device = whole.dtype, whole.device

    @property
    def T(self) -> "_Read":  # noqa: N802 (the field's name)
        """The transpose."""
        return _Read(self, self._whole, self._places)

    def __matmul__(self, v: Tensor) -> Tensor:
        """Multiply a vector, or the columns of a matrix."""
        return self._whole @ self.lifted(v)

    def lifted(self, v: Tensor) -> Tensor:
        """Return operands of the whole operator that are 0 at all other inputs."""
        whole = v.new_zeros(self._whole.shape[1], *v.shape[1:])
        return whole.index_copy_(0, self._places, v)

    def to_dense(self) -> Tensor:
        """Return the whole matrix."""
        return self._whole.to_dense().index_select(1, self._places)


class _Read:
    """The transpose of an operator on some of its inputs: a matrix with those rows."""

    def __init__(self, original: Restricted, whole: Operator, places: Tensor) -> None:
        self.T, self._whole, self._places = original, whole, places
        self.shape = (original.shape[1], original.shape[0])
        self.dtype, self.device = original.dtype, original.device

    def __matmul__(self, u: Tensor) -> Tensor:
        return (self._whole.T @ u).index_select(0, self._places)

    def to_dense(self) -> Tensor:
        return self.T.to_dense().T


def shorter_side(J: Operator, generator: torch.Generator) -> Side:
    """Return J or J.T, and which entries of its input are seen at all: as few as can be.

    A row or column that is zero (a unit that ReLU has switched off, a pixel that a stride leaves
    out) gives exact zeros in products with random vectors. Leaving it out costs one pair of
    products and takes its zeros out of the spectrum before Lanczos, which would not resolve them.
    """
    columns = Side(J, *_seen(J.T, generator))
    rows = Side(J.T, *_seen(J, generator))
    return columns if columns.size <= rows.size else rows


def heavy_inputs(side: Side, generator: torch.Generator) -> Tensor | None:
    """Return which inputs are stretched far more than the others, if they are few and not too few.

    Measured apart, they and the others move a distribution function by no more than their share:
    the singular values of a matrix and of it without m columns interlace to m places.
    """
    most = int(FEW * side.size)
    if most < _WORTH:
        return None
    if float(side.energy.topk(most).values.sum()) <= _SUSPECT * float(side.energy.sum()):
        return None
    energy = _products(side.operator.T, _PROBES, generator).square().sum(dim=1)
    heavy = energy > _HEAVY * energy[side.seen].median()
    return heavy if _WORTH <= int(heavy.sum()) <= most else None


def _seen(A: Operator, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return which rows of A are not zero, from two probes, as one may cancel, and squares."""
    products = _products(A, 2, generator)
    return products.ne(0).any(dim=1), products.square().sum(dim=1)


def _products(A: Operator, probes: int, generator: torch.Generator) -> Tensor:
    everything = torch.ones(A.shape[1], dtype=torch.bool, device=A.device)
    return A @ lanczos.random_probes(A, probes, everything, generator).T
