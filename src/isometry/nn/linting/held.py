"""The part of a matrix that this process holds, and numbers of the whole that add up over all.

A tensor in one process is held whole, and its numbers need no other process. Of a sharded one every
process computes sums, extremes and digests of its own entries; what goes over the wire is the sums,
vectors with a number for every row or column, and few entries by their place.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor, distributed

from isometry.nn.roles.parts import Part, outputs
from isometry.nn.roles.uses import WeightMap
from isometry.nn.sandbox.hashing import mixed
from isometry.nn.sandbox.precision import widest
from isometry.nn.sandbox.shards import held_indices

Axis: TypeAlias = tuple[int, Any]
"""The size of an axis, and the places on it that are held; None for all of them."""

_CHUNK = 2**20
"""Entries that are hashed at once."""


@dataclass(frozen=True)
class Held:
    """A part of a matrix; all of it where ``groups`` is empty.

    Attributes:
        local: The entries held, of shape (rows held, columns held).
        shape: Of the whole matrix.
        rows: The numbers that the held rows have in the whole, ascending; None where all.
        columns: The same of the columns.
        groups: Groups of processes over which the entries are spread.
    """

    local: Tensor
    shape: tuple[int, int]
    rows: Tensor | None = None
    columns: Tensor | None = None
    groups: tuple[Any, ...] = ()

    @property
    def size(self) -> int:
        """Number of entries of the whole matrix."""
        return math.prod(self.shape)

    @cached_property
    def transposed(self) -> "Held":
        """The transposed matrix."""
        local, shape = self.local.T, (self.shape[1], self.shape[0])
        return Held(local, shape, self.columns, self.rows, self.groups)

    @cached_property
    def wide(self) -> "Held":
        """The matrix in float32, or in float64 where it is."""
        local = self.local if self.local.dtype == torch.float64 else self.local.float()
        return replace(self, local=local)

    def having(self, local: Tensor) -> "Held":
        """Return the matrix with other entries in the same places."""
        return replace(self, local=local)

    def part(self, start: int, stop: int, period: int) -> "Held":
        """Return the rows from ``start`` to ``stop`` of every ``period`` rows."""
        shape = (self.shape[0] // period * (stop - start), self.shape[1])
        if not self.groups:
            stacked = self.local.reshape(-1, period, self.shape[1])
            return Held(stacked[:, start:stop].flatten(0, 1), shape)
        numbers = self._numbers(0)
        inner = numbers % period
        kept = (inner >= start) & (inner < stop)
        own = numbers[kept]
        own = own // period * (stop - start) + own % period - start
        return replace(self, local=self.local[kept], shape=shape, rows=own)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over processes of a tensor that each has made of its own entries."""
        return self._reduced(values, distributed.ReduceOp.SUM)

    def max(self, values: Tensor) -> Tensor:
        """Return the largest over processes, entry by entry."""
        return self._reduced(values, distributed.ReduceOp.MAX)

    def every(self, accepted: bool) -> bool:
        """Return whether all processes say so."""
        refused = torch.tensor(float(not accepted), device=self.local.device)
        return not bool(self.max(refused))

    def total(self, value: float | Tensor) -> float:
        """Return the sum over processes of one number of each."""
        if not self.groups:
            return float(value)
        own = torch.as_tensor(value, dtype=widest(self.local.device), device=self.local.device)
        return float(self.sum(own))

    def by_row(self, values: Tensor) -> Tensor:
        """Return a number for every row of the whole, from one for every held row: their sums."""
        if self.rows is not None:
            values = values.new_zeros(self.shape[0]).index_copy(0, self.rows, values)
        return self.sum(values)

    def times(self, vector: Tensor) -> Tensor:
        """Return the product of the whole with a vector that every process has."""
        return self.by_row(self.local @ self.own_columns(vector))

    def own_rows(self, vector: Tensor) -> Tensor:
        """Return the entries of a vector over all rows that belong to the held ones."""
        return vector if self.rows is None else vector[self.rows]

    def own_columns(self, vector: Tensor) -> Tensor:
        """Return the entries of a vector over all columns that belong to the held ones."""
        return vector if self.columns is None else vector[self.columns]

    def take(self, places: Tensor) -> Tensor:
        """Return entries by their places in the flat matrix, on every process."""
        n = self.shape[1]
        (r, has_row), (c, has_column) = self._found(0, places // n), self._found(1, places % n)
        if not self.groups:
            return self.local[r, c]
        here = has_row & has_column
        values = self.local.new_zeros(len(places), dtype=self._sent)
        values[here] = self.local[r[here], c[here]].to(values.dtype)
        return self.sum(values)

    def take_rows(self, numbers: Sequence[int]) -> Tensor:
        """Return a few whole rows by their numbers, on every process."""
        places = torch.tensor(list(numbers), device=self.local.device)
        if not self.groups:
            return self.local[places]
        at, here = self._found(0, places)
        values = self.local.new_zeros(len(places), self.shape[1], dtype=self._sent)
        values[here.nonzero(), self._numbers(1)] = self.local[at[here]].to(values.dtype)
        return self.sum(values)

    def digests(self, numbers: Tensor) -> Tensor:
        """Return 64 bits for each of some rows: equal where the rows are, and hardly elsewhere.

        They are sums, wrapping around, of hashes of (column, value), so that it does not matter
        which process holds which columns.
        """
        at, here = self._found(0, numbers)
        keys = mixed(self._numbers(1) + 1)
        held, found = at[here], []
        for rows in held.split(max(1, _CHUNK // max(1, len(keys)))):
            found.append(mixed(_bits(self.local[rows]) ^ keys).sum(1))
        values = torch.zeros_like(numbers)
        values[here] = torch.cat(found) if found else values[:0]
        return self.sum(values)

    def is_equal(self, other: "Held") -> bool:
        """Return whether two matrices agree entry by entry; those that hold NaN do not."""
        if not (self.groups or other.groups):
            return torch.equal(self.local, other.local)
        if self.shape != other.shape:
            return False
        rows = torch.arange(self.shape[0], device=self.local.device)
        return torch.equal(self.digests(rows), other.digests(rows))

    @property
    def _sent(self) -> torch.dtype:
        """The type in which entries are sent: not every backend adds up 16 bits."""
        return self.local.dtype if self.local.element_size() >= 4 else torch.float32

    def _numbers(self, axis: int) -> Tensor:
        own = (self.rows, self.columns)[axis]
        return torch.arange(self.shape[axis], device=self.local.device) if own is None else own

    def _found(self, axis: int, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return where numbers are among the held ones, and whether they are there."""
        own = (self.rows, self.columns)[axis]
        if own is None:
            return numbers, torch.ones_like(numbers, dtype=torch.bool)
        if not len(own):
            return torch.zeros_like(numbers), torch.zeros_like(numbers, dtype=torch.bool)
        at = torch.searchsorted(own, numbers).clamp_max(len(own) - 1)
        return at, own[at] == numbers

    def _reduced(self, values: Tensor, op: Any) -> Tensor:
        if not self.groups:
            return values
        values = values.clone()
        for group in self.groups:
            distributed.all_reduce(values, op, group)
        return values


def held(tensor: Tensor, described: WeightMap | None = None) -> Held:
    """Return what this process holds of a parameter or a buffer, as a matrix.

    Args:
        tensor: A tensor, or a DTensor of any mesh and sharding.
        described: The linear map it is; without one the last axis has the columns.

    Raises:
        NotImplementedError: If it is a sum over processes, or sharded unlike its placements.
    """
    sharded: Any = tensor.detach()
    shape = (
        (math.prod(tensor.shape[:-1]), tensor.shape[-1] if tensor.ndim else 1)
        if described is None
        else described.matrix_shape(tensor.shape)
    )
    groups = _groups(sharded)
    if not groups:
        own = sharded.to_local() if hasattr(sharded, "to_local") else sharded
        return Held(own.reshape(shape) if described is None else described.rows(own), shape)
    order = tuple(range(tensor.ndim)) if described is None else described.order
    places, own = held_indices(sharded), sharded.to_local()
    axes = _parted([(tensor.shape[axis], places[axis]) for axis in order], shape[0])
    if axes is None:
        return Held(sharded.full_tensor().permute(order).reshape(shape), shape)
    rows, columns = (_numbers(some, own.device) for some in axes)
    local = own.permute(order).reshape(
        shape[0] if rows is None else len(rows), shape[1] if columns is None else len(columns)
    )
    return Held(local, shape, rows, columns, groups)


def held_of(part: Part, tensor: Tensor) -> Held:
    """Return what this process holds of a part: rows of outputs, or as it is stored.

    Raises:
        NotImplementedError: As :func:`held` does.
    """
    matrix = held(tensor, part.map)
    if part.map is None or part.span is None:
        return matrix
    return matrix.part(*part.span, outputs(tensor, part.map))


def _groups(tensor: Any) -> tuple[Any, ...]:
    """Return the groups over which the entries of a DTensor are spread."""
    mesh = getattr(tensor, "device_mesh", None)
    if mesh is None:
        return ()
    axes = [i for i, p in enumerate(tensor.placements) if not p.is_replicate() and mesh.size(i) > 1]
    return tuple(mesh.get_group(i) for i in axes)


def _parted(axes: Sequence[Axis], rows: int) -> tuple[Sequence[Axis], Sequence[Axis]] | None:
    """Return the axes that number the rows, and those that number the columns.

    One that several maps share is parted. None where that one is cut: no parallel plan does so.
    """
    before = 1
    for place, (size, cut) in enumerate(axes):
        if before == rows:
            return axes[:place], axes[place:]
        maps = rows // before
        if size > maps:
            parted = [*axes[:place], (maps, None)], [(size // maps, None), *axes[place + 1 :]]
            return parted if cut is None else None
        before *= size
    return axes, []


def _numbers(axes: Sequence[Axis], device: torch.device) -> Tensor | None:
    """Return the numbers, over some axes taken together, of what is held; None where all is."""
    if all(cut is None for _, cut in axes):
        return None
    numbers = torch.zeros(1, dtype=torch.int64)
    for size, cut in axes:
        own = torch.arange(size) if cut is None else torch.as_tensor(cut)
        numbers = (numbers[:, None] * size + own).flatten()
    return numbers.to(device)


def _bits(values: Tensor) -> Tensor:
    """Return the bits of floating-point numbers; the two zeros have the same."""
    if values.dtype == torch.float64:
        return (values + 0.0).view(torch.int64)
    return (values.float() + 0.0).view(torch.int32).long()
