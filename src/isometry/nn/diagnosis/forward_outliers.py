"""A model's own outliers, from one forward pass, without a product of its whole Jacobian."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from isometry._typing import FloatArray
from isometry.nn.blocks.blocks import Block, Stream, residual_stream
from isometry.nn.blocks.traces import BlockTraces, block_traces, measured_law
from isometry.nn.networks.resnet import ResNet
from isometry.nn.sandbox._typing import Generator, Model
from isometry.nn.sandbox.precision import wide_on_cpu
from isometry.nn.sandbox.random import generator_or_fresh
from isometry.nn.sandbox.specimen import Specimen
from isometry.nn.tape import Vertex, vertex_of
from isometry.theory.outliers import outliers_of
from isometry.theory.overlaps import Entries
from isometry.theory.prediction import scaled_outliers
from isometry.theory.rank_one import NOTHING

_PROBES = 16
"""Products that tell how much noise each entry has; 256 move an outlier by 0.3 % at most."""


def outliers_from_forward(model: Model, x: Tensor, *, generator: Generator = None) -> FloatArray:
    """Return the singular values of a model's Jacobian outside the bulk, ascending.

    A block's Jacobian is known in one direction, that of its own input, and the rest of it is
    taken for free noise: (37) to (39) of docs/theory.md.

    Args:
        model: The paper's network, or any model whose residual blocks have a number for a skip.
            At its initialisation: the noise must be fresh.
        x: One sample, of shape ``(width,)`` or ``(1, ...)``.
        generator: Source of the probes of the blocks' noise, on the CPU; without one
            `torch.manual_seed` decides. The paper's network has none.

    Returns:
        The singular values s (not squared) of the trunk's Jacobian: none, mostly one, or more.

    Raises:
        TypeError: If ``model`` is not callable.
        ValueError: If ``x`` has another shape, or no block is recognised.
        NotImplementedError: If a skip is 0 or a matrix, or something between the blocks acts on
            the stream: there is no bulk to leave, or it is not that of one law.
        OverflowError: If an outlier leaves the range of float64.

    Notes:
        Cost: one forward pass for the paper's network; for others 17 products with each block's
        Jacobian besides, and those of `block_traces`.
        What the forward pass does not tell is the noise, so that the largest singular value
        scatters about the answer; `predict_outliers` has the limit of a large width. Outliers that
        come from another direction than the stream's own, as where tokens share one, are not seen;
        of a convolution's, whose weights meet every place of the stream, a part is.
        ``benchmarks/bench_outliers.py`` prints both against measurement.

    References:
        Derived here.

    Examples:
        >>> import isometry as iso
        >>> net = ResNet(iso.ResNetSpec("tanh", depth=20), width=100)
        >>> outliers_from_forward(net, torch.ones(100))
        array([], dtype=float64)
    """
    if isinstance(model, ResNet):
        return _of_network(model, x)
    stream, inputs = _passed(model, x)
    blocks = stream.blocks
    source = generator_or_fresh(generator)
    traces = block_traces(blocks, generator=source)
    law = measured_law(traces)
    entries = _blocks_entries(blocks, traces, inputs, source)
    found = outliers_of(entries.overlaps(), entries)
    log_s = np.array(found) + math.log(law.scale) / 2
    if not np.all(np.abs(log_s) < 709):
        raise OverflowError(
            f"an outlier is exp({log_s[np.argmax(np.abs(log_s))]:.6g}), outside float64; expected "
            "an exponent within 709. Draw the branches smaller."
        )
    return np.exp(log_s)


@torch.no_grad()
def _of_network(net: ResNet, x: Tensor) -> FloatArray:
    """Return the outliers of the paper's network, whose entries' own noise is known as well."""

    def found() -> list[float]:
        entries = _entries(net, x)
        return outliers_of(entries.overlaps(), entries)

    return scaled_outliers(net.spec, found, c=float(net.layer_cumulants(x).sum()))


def _entries(net: ResNet, x: Tensor) -> Entries:
    """Return what the entries do in a forward pass, in the units of the skip."""
    layer, inputs, images = x.detach().reshape(net.width), [], []
    for block, linear in zip(net.layers, net.linear_maps(), strict=True):
        inputs.append(layer)
        images.append(linear.weight @ layer)  # without the bias
        layer = block(layer)
    d = _array(net.slopes(x)) / net.spec.skip
    size = net.spec.sigma_w**2 / net.spec.depth
    return Entries(d * _array(torch.stack(images)), _array(torch.stack(inputs)), size * d * d)


class _Kept(TorchFunctionMode):
    """Keeps a copy of every value of a pass by its vertex; a later pass replaces them."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[Vertex, Tensor] = {}

    def __torch_function__(
        self, func: Callable, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        self.keep(made)
        return made

    def keep(self, tree: object) -> None:
        """Keep the tensors in something; one that is written to later stays as it is now."""
        for tensor in tree_leaves(tree):
            if isinstance(tensor, Tensor) and (vertex := vertex_of(tensor)) is not None:
                self.values[vertex] = tensor.detach().clone()


def _passed(model: Model, x: Tensor) -> tuple[Stream, list[Tensor]]:
    """Return the stream of a model, and what enters each of its blocks.

    Raises:
        ValueError: If there is more than one sample, or no block.
        NotImplementedError: If no one law covers the blocks.
    """
    specimen, kept = Specimen.of(model, x), _Kept()
    point = specimen.point
    if point.ndim > 1 and len(point) != 1:
        raise ValueError(
            f"`x` has the shape {tuple(point.shape)}; expected one sample, of shape (n,) or "
            "(1, ...): every sample has outliers of its own. Pass `x[:1]`."
        )

    def followed(*args: Any, **kwargs: Any) -> Any:
        kept.values.clear()
        with kept:
            kept.keep((args, kwargs))
            return specimen.model(*args, **kwargs)

    stream = residual_stream(replace(specimen, model=followed), point)
    _check(stream)
    starts = [_start(block) for block in stream.blocks]
    return stream, [kept.values[start] for start in starts]


def _start(block: Block) -> Vertex:
    return block.segment.source


def _check(stream: Stream) -> None:
    """Refuse a stream of which no bulk is known.

    Raises:
        NotImplementedError: If a skip is 0 or a matrix, or there is something between blocks.
    """
    named = [block.name for block in stream.every if block.matrix or block.skip == 0.0]
    if named or len(stream.stages) > 1:
        why = f"{named[0]!r} has a matrix or 0 for a skip." if named else stream.remark
        raise NotImplementedError(
            "`model` has no bulk of one law that a value could leave; expected blocks "
            f"y = a s + f(s) one after another. {why} Compare the model with `inn.twin`."
        )


def _blocks_entries(
    blocks: tuple[Block, ...],
    traces: list[BlockTraces],
    inputs: list[Tensor],
    source: torch.Generator,
) -> Entries:
    """Return what the entries do, in the units of what multiplies the stream as a whole."""
    rows = []
    for block, trace, entering in zip(blocks, traces, inputs, strict=True):
        signs = 2 * torch.randint(0, 2, (_PROBES, *block.shape), generator=source) - 1
        probes = signs.to(**block.segment.options)
        probes = torch.cat([entering.reshape(1, *block.shape), probes])
        pushed = _array((block.jvp(probes) - trace.t * probes).flatten(1)) / (trace.skip + trace.t)
        noise = (pushed[1:] ** 2).mean(axis=0)
        share = max(trace.c, 0.0) / max(float(noise.mean()), NOTHING)
        rows.append((pushed[0], _array(entering).ravel(), share * noise))
    return Entries(*(np.array(each) for each in zip(*rows, strict=True)))


def _array(values: Tensor) -> FloatArray:
    return wide_on_cpu(values.detach()).numpy()
