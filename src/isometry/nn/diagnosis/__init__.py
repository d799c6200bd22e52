"""What the numbers of a model mean."""

from isometry.nn.diagnosis.diagnosis import diagnose
from isometry.nn.diagnosis.result import Diagnosis

__all__ = ["Diagnosis", "diagnose"]
