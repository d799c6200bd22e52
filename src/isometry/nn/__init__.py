"""Everything about torch.nn models: Jacobian products, spectra, residual blocks, initialisation."""

try:
    import torch as _torch  # noqa: F401  # pyright: ignore[reportUnusedImport]
except ImportError:
    raise ImportError("`isometry.nn` needs torch; run `pip install 'isometry[nn]'`.") from None

from isometry.nn.blocks.blocks import Block, Stage, Stream, residual_blocks, residual_stream
from isometry.nn.blocks.spectra import block_spectra
from isometry.nn.blocks.traces import BlockTraces, MeasuredCumulant, block_traces, measured_law
from isometry.nn.diagnosis.compare import ModelComparison, compare_models
from isometry.nn.diagnosis.depth import DepthCheck, depth_check
from isometry.nn.diagnosis.diagnosis import diagnose
from isometry.nn.diagnosis.forward_outliers import outliers_from_forward
from isometry.nn.diagnosis.result import Diagnosis, Outlier
from isometry.nn.diagnosis.twin import TwinOperator, twin
from isometry.nn.init import baselines
from isometry.nn.init.draw import draw_
from isometry.nn.init.init import apply_, gain, plan, residual_
from isometry.nn.init.learning_rates import learning_rates
from isometry.nn.init.plans import CentredBlock, InitPlan, PlannedBlock, PlannedCondition
from isometry.nn.jacobian.jacobian import JacobianOperator
from isometry.nn.linting.finding import Finding, LintReport
from isometry.nn.linting.gate import assert_initialised
from isometry.nn.linting.lint import lint
from isometry.nn.networks.activation import Activation
from isometry.nn.networks.hyper_resnet import HyperResNet
from isometry.nn.networks.resnet import ConvResNet, ResNet
from isometry.nn.scale.report import ScaleReport
from isometry.nn.scale.result import BlockScale
from isometry.nn.scale.scale import measure_scale
from isometry.nn.scale.streaming.report import StreamReport
from isometry.nn.scale.streaming.skeletons import skeleton
from isometry.nn.scale.streaming.streaming import stream
from isometry.nn.scale.training import adapters
from isometry.nn.scale.training.monitor import JacobianMonitor
from isometry.nn.spectrum.budget import estimate_seconds
from isometry.nn.spectrum.dense import matrix_spectrum
from isometry.nn.spectrum.extremes import (
    ExtremeSingularValues,
    largest_singular_values,
    smallest_singular_values,
)
from isometry.nn.spectrum.spectrum import singular_spectrum

__all__ = [
    "Activation",
    "Block",
    "BlockScale",
    "BlockTraces",
    "CentredBlock",
    "ConvResNet",
    "DepthCheck",
    "Diagnosis",
    "ExtremeSingularValues",
    "Finding",
    "HyperResNet",
    "InitPlan",
    "JacobianMonitor",
    "JacobianOperator",
    "LintReport",
    "MeasuredCumulant",
    "ModelComparison",
    "Outlier",
    "PlannedBlock",
    "PlannedCondition",
    "ResNet",
    "ScaleReport",
    "Stage",
    "Stream",
    "StreamReport",
    "TwinOperator",
    "adapters",
    "apply_",
    "assert_initialised",
    "baselines",
    "block_spectra",
    "block_traces",
    "compare_models",
    "depth_check",
    "diagnose",
    "draw_",
    "estimate_seconds",
    "gain",
    "largest_singular_values",
    "learning_rates",
    "lint",
    "matrix_spectrum",
    "measure_scale",
    "measured_law",
    "outliers_from_forward",
    "plan",
    "residual_",
    "residual_blocks",
    "residual_stream",
    "singular_spectrum",
    "skeleton",
    "smallest_singular_values",
    "stream",
    "twin",
]
