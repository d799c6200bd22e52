"""What the numbers of a model mean: diagnosed alone, beside another, or over depth."""

from isometry.nn.diagnosis.compare import ModelComparison, compare_models
from isometry.nn.diagnosis.depth import DepthCheck, depth_check
from isometry.nn.diagnosis.diagnosis import diagnose
from isometry.nn.diagnosis.result import Diagnosis

__all__ = [
    "DepthCheck",
    "Diagnosis",
    "ModelComparison",
    "compare_models",
    "depth_check",
    "diagnose",
]
