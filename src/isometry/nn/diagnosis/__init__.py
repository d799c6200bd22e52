"""What the numbers of a model mean: diagnose it once, or monitor it during training."""

from isometry.nn.diagnosis.diagnosis import diagnose
from isometry.nn.diagnosis.monitor import JacobianMonitor
from isometry.nn.diagnosis.result import Diagnosis

__all__ = ["Diagnosis", "JacobianMonitor", "diagnose"]
