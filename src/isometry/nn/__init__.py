"""Everything about torch.nn models: Jacobian products, spectra, residual blocks, initialisation."""

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise ImportError("`isometry.nn` needs torch; run `pip install 'isometry[nn]'`.") from None

from isometry.nn.blocks import residual_blocks
from isometry.nn.init import InitPlan, apply_, gain, plan, residual_
from isometry.nn.jacobian import JacobianOperator
from isometry.nn.resnet import ConvResNet, ResNet
from isometry.nn.spectrum import singular_spectrum

__all__ = [
    "ConvResNet",
    "InitPlan",
    "JacobianOperator",
    "ResNet",
    "apply_",
    "gain",
    "plan",
    "residual_",
    "residual_blocks",
    "singular_spectrum",
]
