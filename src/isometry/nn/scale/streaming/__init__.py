"""A model larger than memory, block by block: the true stream, one block's weights at a time."""

from isometry.nn.scale.streaming.report import StreamReport
from isometry.nn.scale.streaming.skeletons import skeleton
from isometry.nn.scale.streaming.streaming import stream

__all__ = ["StreamReport", "skeleton", "stream"]
