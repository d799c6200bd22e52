"""The recording of a forward pass and its linear replay: products with J and with its transpose."""

from isometry.nn.tape.forward import Forward, evaluate, follow, record, settled
from isometry.nn.tape.observer import NotRecordable
from isometry.nn.tape.program import Program
from isometry.nn.tape.tape import Layout, Recorded, Tape
from isometry.nn.tape.vertices import Vertex, vertex_of

__all__ = [
    "Forward",
    "Layout",
    "NotRecordable",
    "Program",
    "Recorded",
    "Tape",
    "Vertex",
    "evaluate",
    "follow",
    "record",
    "settled",
    "vertex_of",
]
