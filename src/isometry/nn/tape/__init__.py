"""The recording of a forward pass and its linear replay: products with J and with its transpose."""

from isometry.nn.tape.forward import AUTOGRAD, Forward, evaluate, follow, record_tape, settled
from isometry.nn.tape.observer import NotRecordable, first_line
from isometry.nn.tape.operator import MatrixFreeOperator, Transpose
from isometry.nn.tape.program import Program
from isometry.nn.tape.tape import Layout, Recorded, Tape
from isometry.nn.tape.vertices import Vertex, vertex_of
from isometry.nn.tape.waist import Waist, compact, narrowest, whole

__all__ = [
    "AUTOGRAD",
    "Forward",
    "Layout",
    "MatrixFreeOperator",
    "NotRecordable",
    "Program",
    "Recorded",
    "Tape",
    "Transpose",
    "Vertex",
    "Waist",
    "compact",
    "evaluate",
    "first_line",
    "follow",
    "narrowest",
    "record_tape",
    "settled",
    "vertex_of",
    "whole",
]
