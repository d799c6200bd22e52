"""What the numbers of a model mean: diagnose it once, or monitor it during training."""

from isometry.nn.diagnosis.diagnosis import Diagnosis, diagnose
from isometry.nn.diagnosis.monitor import JacobianMonitor

__all__ = ["Diagnosis", "JacobianMonitor", "diagnose"]
