"""Residual blocks: found by structure in the autograd graph, their traces and spectra."""

from isometry.nn.blocks.blocks import Block, Stage, Stream, residual_blocks, residual_stream
from isometry.nn.blocks.spectra import block_spectra
from isometry.nn.blocks.traces import BlockTraces, MeasuredCumulant, block_traces, measured_law

__all__ = [
    "Block",
    "BlockTraces",
    "MeasuredCumulant",
    "Stage",
    "Stream",
    "block_spectra",
    "block_traces",
    "measured_law",
    "residual_blocks",
    "residual_stream",
]
