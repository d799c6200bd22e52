"""A model larger than memory, block by block: the true stream, one block's weights at a time."""

from isometry.nn.streaming.report import StreamReport
from isometry.nn.streaming.skeletons import skeleton
from isometry.nn.streaming.streaming import stream

__all__ = ["StreamReport", "skeleton", "stream"]
