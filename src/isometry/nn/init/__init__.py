"""Initialisation at a chosen c: plan it, print it, apply it; the known rules as plans too."""

from isometry.nn.init.init import apply_, gain, plan, residual_
from isometry.nn.init.plans import InitPlan

__all__ = ["InitPlan", "apply_", "gain", "plan", "residual_"]
