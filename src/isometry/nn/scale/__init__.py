"""Past one machine and one moment: models on many ranks, larger than memory, or in training."""

from isometry.nn.scale.report import ScaleReport
from isometry.nn.scale.result import BlockScale
from isometry.nn.scale.scale import measure_scale
from isometry.nn.scale.training import JacobianMonitor

__all__ = ["BlockScale", "JacobianMonitor", "ScaleReport", "measure_scale"]
