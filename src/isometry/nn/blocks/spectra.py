"""What does every block do alone? The spectra of the blocks' own Jacobians, as Gauss rules.

A block's Jacobian A is what :class:`isometry.ProductLaw` multiplies. Of its spectrum the product
needs a few nodes, which a few products with A and its transpose give, from random probes.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from isometry._checks import check_count
from isometry._typing import Checked, Integer
from isometry._words import Auto
from isometry.nn.blocks.blocks import Block
from isometry.nn.blocks.gauss import GaussRule, bulk_points, total_spread
from isometry.nn.blocks.operator import SegmentOperator
from isometry.nn.blocks.traces import check_list
from isometry.nn.sandbox._typing import Generator, Operator, SpectrumMethod
from isometry.nn.sandbox.random import generator_or_fresh
from isometry.nn.spectrum import lanczos
from isometry.nn.spectrum.dense import matrix_spectrum, name_of
from isometry.nn.spectrum.inputs import shorter_side
from isometry.nn.spectrum.method import check_method
from isometry.nn.spectrum.spectrum import finite
from isometry.theory.spectrum import Spectrum

NODES = (4, 6, 8, 12, 16, 24)
"""Numbers of nodes at which a rule is asked whether it is good enough."""
_ACCURATE = 2e-3
"""Error of the product's distribution function that the nodes of all blocks may leave together."""
PROBE_ENTRIES = 12_000
"""Entries of all probes of a block: one standard error of that function is then 0.004."""
_DENSE = 256
"""Up to this many singular values a block is written out."""


def block_spectra(
    blocks: Checked[Sequence[Block]],
    method: SpectrumMethod = None,
    *,
    num_probes: Checked[Integer | Auto] = "auto",
    num_matvecs: Checked[Integer | Auto] = "auto",
    generator: Generator = None,
) -> list[Spectrum]:
    """Return the law of lam = s^2 of every block's own Jacobian, its skip included.

    Args:
        blocks: What :func:`isometry.nn.residual_blocks` found.
        method: ``"dense"`` writes every block out, ``"lanczos"`` multiplies it, ``None`` writes
            out blocks of up to 256 entries.
        num_probes: Random starting vectors per block (Lanczos); ``"auto"`` takes 12,000 / N, at
            least one, which makes one standard error of the product law's distribution function
            at most about 0.004.
        num_matvecs: Products with A, and as many with its transpose, per probe (Lanczos), which
            is the number of nodes; ``"auto"`` goes on from 4 to at most 24 until the next node
            would move that distribution function by less than 0.002, all blocks together.
        generator: Source of the probes, on the CPU; without one `torch.manual_seed` decides.

    Returns:
        One spectrum per block, in the order of ``blocks``: the nodes and weights of a Gauss rule,
        those of less than 0.5 % at its ends put together and zeros apart; ``dimension`` is N.
        They are the factors of :class:`isometry.ProductLaw`.

    Raises:
        TypeError: If ``blocks`` is no list of blocks, or a count is not an integer.
        ValueError: If ``blocks`` is empty, ``method`` is unknown, a count is below 1, or a
            product of a block's Jacobian is not finite.
        NotImplementedError: If several processes compute the model.

    Notes:
        A rule says nothing of single singular values: it is the block as the product sees it. The
        standard error is 0.45 / sqrt(N * probes), of the noise of the blocks' means. The distance
        of eight models of docs/models.md (N = 768) to the product law of dense rules is within
        0.001 of that to the law of all singular values. Processor time over that of the trunk's
        own spectrum: 0.1 for GPT-2 small of 64 tokens (N = 49,152) and ViT 6 x 192, 0.2 for GPT-2
        4 x 256 of 128 tokens; 1 to 3 at N = 768, where the trunk is written out at once.

    Examples:
        >>> import torch
        >>> from isometry.nn import residual_blocks
        >>> blocks = residual_blocks(lambda x: x + torch.tanh(x), torch.zeros(1, 3))
        >>> block_spectra(blocks)[0].values
        array([4.])
    """
    check_list("blocks", blocks, Block, "`residual_blocks`")
    operators = [SegmentOperator.of_block(block) for block in blocks]
    return operator_spectra(
        operators, method, num_probes=num_probes, num_matvecs=num_matvecs, generator=generator
    )


def operator_spectra(
    operators: Sequence[Operator],
    method: SpectrumMethod = None,
    *,
    num_probes: Checked[Integer | Auto] = "auto",
    num_matvecs: Checked[Integer | Auto] = "auto",
    generator: Generator = None,
    holed: bool = False,
) -> list[Spectrum]:
    """Do what :func:`block_spectra` does for any factors, of which each has a value per column.

    ``holed`` looks for rows and columns that are 0, which a block with its skip has not.

    Raises:
        TypeError: If a count is not an integer.
        ValueError: If ``method`` is unknown, a count is below 1 or a product is not finite.
        NotImplementedError: If several processes compute the model.
    """
    generator = generator_or_fresh(generator)
    asked, probes = check_count("num_matvecs", num_matvecs), check_count("num_probes", num_probes)
    most = NODES[-1] if asked is None else asked
    found: list[_Dense | _Multiplied] = []
    for A in operators:
        small = check_method(A, method) == "dense" and min(A.shape) <= _DENSE
        if method == "dense" or (method is None and small):
            found.append(_Dense(A))
        else:
            found.append(_Multiplied(A, _start(A, probes, generator, holed=holed), most))
    if asked is not None:
        return [source.spectrum(source.rule(asked)) for source in found]
    spread = total_spread([source.rule(NODES[0]) for source in found])
    return [source.spectrum(_settled(source, spread, len(found))) for source in found]


def _settled(source: "_Dense | _Multiplied", spread: float, blocks: int) -> GaussRule:
    """Return the first rule that is good enough for a product of so many blocks and that width."""
    rule, points = source.rule(NODES[0]), bulk_points(spread)
    for nodes in NODES:
        whole = source.rule(nodes)
        rule = whole.lumped()
        if whole.nodes < nodes or rule.error(points) <= _ACCURATE / blocks:
            break
    return rule


class _Dense:
    """The rules of a matrix that is written out."""

    def __init__(self, A: Operator) -> None:
        self._columns, self._kind = A.shape[1], f"dense, {name_of(A.dtype)}"
        values = matrix_spectrum(A.to_dense()).values
        self._values = values[values > 0]

    def rule(self, nodes: int) -> GaussRule:
        """Return the rule with so many nodes off 0."""
        count = len(self._values)
        zeros = 1 - count / self._columns if count else 0.0
        return GaussRule.of(self._values, np.full(count, 1 / max(count, 1)), nodes, zeros)

    def spectrum(self, rule: GaussRule) -> Spectrum:
        """Return a rule as a spectrum."""
        return _as_spectrum(rule, self._columns, self._kind)


class _Multiplied:
    """The rules of a matrix that is multiplied, the more nodes the more products."""

    def __init__(self, A: Operator, start: tuple[Operator, torch.Tensor, int], most: int) -> None:
        side, probes, size = start
        self._columns, self._zeros = A.shape[1], 1 - size / A.shape[1]
        self._kind = f"{len(probes)} probes, {name_of(A.dtype)}"
        self._recursion = lanczos.GolubKahan(side, probes, most) if size else None

    def rule(self, nodes: int) -> GaussRule:
        """Return the rule with so many nodes off 0."""
        if self._recursion is None:
            return GaussRule(np.zeros(1), np.empty(0))
        return GaussRule.pooled(finite(self._recursion.advance(nodes)), self._zeros)

    def spectrum(self, rule: GaussRule) -> Spectrum:
        """Return a rule as a spectrum."""
        return _as_spectrum(rule, self._columns, self._kind)


def _start(
    A: Operator, num_probes: int | None, generator: torch.Generator, *, holed: bool
) -> tuple[Operator, torch.Tensor, int]:
    """Return the side to multiply from, the starting vectors and how many entries they have."""
    side, seen = A, torch.ones(A.shape[1], dtype=torch.bool, device=A.device)
    if holed:
        short = shorter_side(A, generator)
        side, seen = short.operator, short.seen
    size = int(seen.sum())
    count = num_probes or math.ceil(PROBE_ENTRIES / max(size, 1))
    return side, lanczos.random_probes(side, count, seen, generator), size


def _as_spectrum(rule: GaussRule, columns: int, kind: str) -> Spectrum:
    values, weights = rule.solved
    provenance = f"Gauss rule of {rule.nodes} nodes, {kind}"
    return Spectrum(values, weights, provenance=provenance, dimension=columns)
