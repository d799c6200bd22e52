"""The recording of a forward pass and its linear replay: products with J and with its transpose."""

from isometry.nn.tape.observer import NotRecordable
from isometry.nn.tape.program import Program
from isometry.nn.tape.tape import record

__all__ = ["NotRecordable", "Program", "record"]
