"""Did the initialisation land? Lint a model and gate it, compare two, check it over depth."""

from isometry.nn.linting.compare import ModelComparison, compare_models
from isometry.nn.linting.depth import DepthCheck, depth_check
from isometry.nn.linting.finding import Finding, LintReport
from isometry.nn.linting.gate import assert_initialised
from isometry.nn.linting.lint import lint

__all__ = [
    "DepthCheck",
    "Finding",
    "LintReport",
    "ModelComparison",
    "assert_initialised",
    "compare_models",
    "depth_check",
    "lint",
]
