"""What the rules look at: the parts of a model, their numbers, and what repeats."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from isometry.nn.linting.fits import Fit, best_fit
from isometry.nn.linting.held import Held, held, held_of
from isometry.nn.linting.kinds import Kind, kinds_of
from isometry.nn.linting.statistics import Summary, bank_of, is_orthogonal, summarise
from isometry.nn.roles.follow import Followed
from isometry.nn.roles.parts import MAPS, Part
from isometry.nn.roles.roles import parts_of
from isometry.nn.sandbox._typing import Progress


@dataclass(frozen=True)
class Evidence:
    """A model as the rules see it; the numbers are taken once, when a rule asks for them."""

    followed: Followed
    trained: bool = False
    progress: Progress | None = field(default=None, kw_only=True)
    """Called while the numbers are taken, with the entries that were read and that there are."""

    @cached_property
    def parts(self) -> list[Part]:
        """All parameters and buffers."""
        f = self.followed
        return parts_of(f.parameters, f.buffers, f.modules, f.graph, f.maps)

    @cached_property
    def maps(self) -> list[Part]:
        """The linear maps, fused ones in parts."""
        return [part for part in self.parts if part.role in MAPS and part.map is not None]

    def tensor(self, part: Part) -> Tensor:
        """Return the tensor that a part is in; where it is sharded, its values are not here."""
        held_by = self.followed.buffers if part.role == "buffer" else self.followed.parameters
        return held_by[part.parameter].detach()

    def matrix(self, part: Part) -> Held:
        """Return the whole tensor that a part is in as a matrix, as far as it is held here."""
        return held(self.tensor(part), part.map)

    def entries(self, part: Part) -> Held:
        """Return a part's own entries, as far as they are held here."""
        return held_of(part, self.tensor(part))

    def default_fan(self, part: Part) -> int:
        """Return the fan of torch's own default, which takes that of the outputs if transposed."""
        kernel = part.map is not None and part.map.kernel
        return math.prod(self.tensor(part).shape[1:]) if kernel else part.fans[0]

    def is_orthogonal(self, part: Part) -> bool:
        """Return whether a part has orthogonal rows, or columns, of one size."""
        return is_orthogonal(self.entries(part))

    @cached_property
    def summaries(self) -> Mapping[str, Summary]:
        """{name: numbers} of every part that has values."""
        known = [part for part in self.parts if has_values(self.tensor(part))]
        total, done, found = sum(math.prod(part.shape) for part in known), 0, {}
        for part in known:
            found[part.name] = summarise(self.entries(part))
            done += math.prod(part.shape)
            if self.progress is not None:
                self.progress(done, total)
        return found

    @cached_property
    def typical(self) -> Mapping[str, Summary]:
        """The same, a bank with the size of its usual experts: an odd one makes no odd bank."""
        found = dict(self.summaries)
        for part in (p for p in self.maps if p.bank and p.name in found):
            bank = bank_of(self.entries(part), part.shape[0]) if found[part.name].finite else None
            if bank is not None:
                found[part.name] = replace(found[part.name], std=bank.usual)
        return found

    @cached_property
    def kinds(self) -> list[Kind]:
        """The maps that repeat from layer to layer."""
        return kinds_of(self.maps, self.typical)

    @cached_property
    def fit(self) -> Fit | None:
        """The law that most maps follow; None where none does."""
        return best_fit(self.kinds)

    @cached_property
    def whole(self) -> list[Part]:
        """Every parameter once, without buffers."""
        first = {part.parameter: part for part in reversed(self.parts) if part.role != "buffer"}
        return list(reversed(first.values()))


def has_values(tensor: Tensor) -> bool:
    """Return whether a tensor has floating-point entries in memory, one after another."""
    dense = tensor.layout is torch.strided
    return dense and tensor.is_floating_point() and not tensor.is_meta and tensor.numel() > 0
