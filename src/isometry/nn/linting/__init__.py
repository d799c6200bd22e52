"""Did the initialisation land? Lint a model by its weights, and gate it."""

from isometry.nn.linting.finding import Finding, LintReport
from isometry.nn.linting.gate import assert_initialised
from isometry.nn.linting.lint import lint

__all__ = ["Finding", "LintReport", "assert_initialised", "lint"]
