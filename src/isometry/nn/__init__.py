"""Everything about torch.nn models: Jacobian products, spectra, residual blocks, initialisation."""

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise ImportError("`isometry.nn` needs torch; run `pip install 'isometry[nn]'`.") from None

from isometry.nn.blocks.blocks import Block, residual_blocks
from isometry.nn.blocks.traces import block_traces, measured_law
from isometry.nn.diagnosis.diagnosis import Diagnosis, diagnose
from isometry.nn.diagnosis.monitor import JacobianMonitor
from isometry.nn.init.init import InitPlan, apply_, gain, plan, residual_
from isometry.nn.jacobian.jacobian import JacobianOperator
from isometry.nn.resnet import ConvResNet, ResNet
from isometry.nn.spectrum.extremes import largest_singular_values, smallest_singular_values
from isometry.nn.spectrum.spectrum import estimate_seconds, matrix_spectrum, singular_spectrum

__all__ = [
    "Block",
    "ConvResNet",
    "Diagnosis",
    "InitPlan",
    "JacobianMonitor",
    "JacobianOperator",
    "ResNet",
    "apply_",
    "block_traces",
    "diagnose",
    "estimate_seconds",
    "gain",
    "largest_singular_values",
    "matrix_spectrum",
    "measured_law",
    "plan",
    "residual_",
    "residual_blocks",
    "singular_spectrum",
    "smallest_singular_values",
]
