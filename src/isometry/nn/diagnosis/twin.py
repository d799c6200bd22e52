r"""Are the blocks free of each other? The model's own twin, its channels rotated between blocks.

The Jacobian of the trunk is a product over the blocks, J = A_L ... A_1. The twin is

    A_L Q_{L-1} A_{L-1} ... Q_1 A_1                                                           (40)

with a random orthogonal map Q_l of the channels between two blocks, the same at every token or
pixel and another one for every pair. Each block keeps its own spectrum and what it does to tokens;
what the blocks know of each other is gone. A product costs what one with J costs.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from isometry.nn.blocks.blocks import Stream, residual_stream
from isometry.nn.blocks.channels import channel_axes
from isometry.nn.blocks.segment import Segment
from isometry.nn.diagnosis.rotations import Rotation, Together
from isometry.nn.jacobian.routes import whole
from isometry.nn.sandbox._typing import (
    BatchNorm,
    Blocks,
    Generator,
    Key,
    Model,
    ModelInput,
    Progress,
    Rotated,
    SpectrumMethod,
)
from isometry.nn.sandbox.random import generator_or_fresh
from isometry.nn.sandbox.specimen import Specimen
from isometry.nn.spectrum.spectrum import singular_spectrum
from isometry.nn.tape import MatrixFreeOperator, Transpose
from isometry.theory.spectra_comparison import SpectraComparison, compare_spectra
from isometry.theory.spectrum import Spectrum


class TwinOperator(MatrixFreeOperator):
    """The Jacobian of a trunk with a rotation between every two blocks; `twin` makes one.

    Args:
        chain: The trunk cut before every block.
        rotations: What is put at each cut, one fewer.

    Attributes:
        shape: ``(n_out, n_in)`` of the trunk.
        dtype: Of the products.
        device: Of the products.
        axes: The axis that is rotated at each cut, of the tensor there, or the axis of each of
            several tensors; None for all entries.
    """

    def __init__(self, chain: Sequence[Segment], rotations: Sequence[Rotation | Together]) -> None:
        self._chain, self._rotations = tuple(chain), tuple(rotations)
        first, last = self._chain[0], self._chain[-1]
        self.shape = (prod(last.target_shape), prod(first.source_shape))
        self.dtype, self.device = last.options["dtype"], last.options["device"]
        self.axes = tuple(rotation.axis for rotation in self._rotations)

    def __repr__(self) -> str:
        return f"TwinOperator(shape={self.shape}, blocks={len(self._chain)}, axes={self.axes})"

    @property
    def route(self) -> str:
        """How the blocks' own products are computed, in words."""
        return self._chain[0].route

    @property
    def T(self) -> Transpose:  # noqa: N802 (the field's name)
        """The transpose, with the same rotations."""
        return Transpose(self)

    def to_dense(self) -> Tensor:
        """Return the matrix, in blocks over the shorter side."""
        ends = (self._chain[0].source_layout, self._chain[-1].target_layout)
        if self.shape[0] <= self.shape[1]:
            return whole(self._pull, *reversed(ends))
        return whole(self._push, *ends).T

    def _rows(self, V: Tensor) -> Tensor:
        return self._push(V.reshape(-1, *self._chain[0].source_shape)).flatten(1)

    def _transposed_rows(self, U: Tensor) -> Tensor:
        return self._pull(U.reshape(-1, *self._chain[-1].target_shape)).flatten(1)

    def _push(self, V: Tensor) -> Tensor:
        V = self._chain[0].jvp(V)
        for rotation, segment in zip(self._rotations, self._chain[1:], strict=True):
            V = segment.jvp(rotation.apply(V.reshape(-1, *segment.source_shape)))
        return V

    def _pull(self, U: Tensor) -> Tensor:
        pairs = list(zip(self._rotations, self._chain[1:], strict=True))
        for rotation, segment in reversed(pairs):
            U = rotation.apply(segment.vjp(U), transposed=True)
        return self._chain[0].vjp(U)


def twin(
    model: Model,
    x: ModelInput = None,
    *,
    rotate: Rotated = "channels",
    inputs: ModelInput = None,
    wrt: Key = None,
    output: Key = None,
    blocks: Blocks = None,
    batch_norm: BatchNorm = None,
    generator: Generator = None,
) -> TwinOperator:
    """Return the Jacobian of a model's trunk with a random rotation between every two blocks.

    Its spectrum beside the model's own is the test of whether the blocks are free of each other:
    one layer copied into all, shared weights and training make the two differ; the size of the
    blocks and the number of tokens do not.

    Args:
        model: Module or function.
        x: The input, as for :func:`~isometry.nn.diagnose`.
        rotate: ``"channels"``: one orthogonal map of the channels between two blocks, the same at
            every token, pixel and sample. ``"all"``: one of all entries, which destroys what the
            blocks do to tokens as well, so that the spectrum tends to the product law.
        inputs: As for :class:`~isometry.nn.JacobianOperator`.
        wrt: As for :class:`~isometry.nn.JacobianOperator`.
        output: As for :class:`~isometry.nn.JacobianOperator`.
        blocks: Modules, or their names, to take as residual blocks; ``None`` finds them.
        batch_norm: As for :class:`~isometry.nn.JacobianOperator`.
        generator: Source of the rotations, on the CPU; without one `torch.manual_seed` decides.

    Returns:
        The operator, from the first block's input to the last block's output: what
        :func:`~isometry.nn.singular_spectrum` takes. ``axes`` says what is rotated where. With
        one block it is the trunk itself.

    Raises:
        TypeError: If ``x`` or the output is not one floating-point tensor.
        ValueError: If ``rotate`` is another word, no block is recognised, earlier states of the
            stream go around blocks of a pass that is not recorded, or the recording does not tell
            which axis holds the channels.

    Notes:
        The channels are the axis over which the model's own matrices and kernels sum, as its
        recorded pass shows it. Rotations are uniformly distributed matrices up to 4,096 channels,
        and three rounds of random signs and a Hartley transform beyond. Where the width changes
        from block to block, each cut has rotations of its own width. A state of several tensors
        (streams in a list, outputs of all earlier blocks) has the same one on all of them.

    Examples:
        >>> import torch
        >>> from isometry import ResNetSpec
        >>> from isometry.nn import ResNet
        >>> net = ResNet(ResNetSpec("tanh", depth=4), 32)
        >>> twin(net, torch.ones(1, 32))
        TwinOperator(shape=(32, 32), blocks=4, axes=(1, 1, 1))
    """
    _check_rotate(rotate)
    specimen = Specimen.of(model, x, inputs=inputs, wrt=wrt, output=output, batch_norm=batch_norm)
    stream = residual_stream(specimen, specimen.point, blocks=blocks, batch_norm=batch_norm)
    return twin_of(stream, rotate, generator_or_fresh(generator))


def twin_of(stream: Stream, rotate: Rotated, generator: torch.Generator) -> TwinOperator:
    """Return the twin of a stream that is known.

    Raises:
        ValueError: If ``rotate`` is another word, earlier states go around blocks of a pass that
            is not recorded, or the recording does not tell which axis holds the channels.
    """
    _check_rotate(rotate)
    if not stream.chain:
        raise ValueError(
            "`model` adds earlier states of its stream to it again, so that its Jacobian is a "
            "product between states of several tensors, which are only known of a recorded pass: "
            f"{stream.trunk.route}; expected operations that are recorded. Compare the blocks' own "
            "c in its place."
        )
    after = stream.chain[1:]
    if rotate == "all":
        return TwinOperator(stream.chain, [_of_all(segment, generator) for segment in after])
    pairs = zip(after, channel_axes(after), strict=True)
    return TwinOperator(stream.chain, [_of_channels(*pair, generator) for pair in pairs])


def _of_all(segment: Segment, generator: torch.Generator) -> Rotation:
    shape, dtype, device = segment.source_layout
    return Rotation.drawn(shape, None, generator, dtype=dtype, device=device)


def _of_channels(
    segment: Segment, axes: Sequence[int | None], generator: torch.Generator
) -> Rotation | Together:
    """Return a rotation of the channels of the tensors that a segment starts from.

    Raises:
        ValueError: If the recording does not tell which axis holds them.
    """
    _, dtype, device = segment.source_layout
    known = [axis for axis in axes if axis is not None]
    if len(known) < len(axes):
        raise ValueError(_unclear(segment))
    if len(known) == 1:
        shape = segment.source_shape
        return Rotation.drawn(shape, known[0], generator, dtype=dtype, device=device)
    shapes = segment.source_shapes
    return Together.drawn(shapes, known, generator, dtype=dtype, device=device)


def measured_twin(
    stream: Stream | None,
    spectrum: Spectrum,
    method: SpectrumMethod,
    generator: torch.Generator,
    progress: Progress | None,
) -> tuple[tuple[Spectrum, SpectraComparison] | None, list[str]]:
    """Return the twin's spectrum and how far it is from the model's, or why it is not measured."""
    if stream is None or not spectrum.values[-1] > 0:
        return None, []
    try:
        other = twin_of(stream, "channels", generator)
    except ValueError as error:
        return None, [f"The twin was not measured: {error}"]
    found = singular_spectrum(other, method, generator=generator, progress=progress)
    return (found, compare_spectra(spectrum, found)), []


def part(progress: Progress | None, index: int, of: int) -> Progress | None:
    """Return what one of several equal parts of the work reports to."""
    if progress is None:
        return None
    return lambda done, total: progress(index * total + done, of * total)


def _check_rotate(rotate: object) -> None:
    if rotate not in ("channels", "all"):
        raise ValueError(f"`rotate` is {rotate!r}; expected 'channels' or 'all'.")


def _unclear(segment: Segment) -> str:
    reason = (
        "the pass is not recorded"
        if segment.tape is None
        else "no axis, or more than one, is summed over by the model's own matrices and kernels"
    )
    shown = " and ".join(str(shape) for shape in dict.fromkeys(segment.source_shapes))
    return (
        f"`rotate` is 'channels', and which axis of the stream's {shown} holds "
        f"the channels is not clear: {reason}; expected one. Pass `rotate='all'`."
    )
