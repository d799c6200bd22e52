"""A model while it trains: its Jacobian every so many steps, and where people log the numbers."""

from isometry.nn.scale.training.monitor import JacobianMonitor

__all__ = ["JacobianMonitor"]
