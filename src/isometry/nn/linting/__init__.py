"""Did the initialisation land? Lint a model, compare two, check it over depth."""

from isometry.nn.linting.finding import Finding, LintReport
from isometry.nn.linting.lint import lint

__all__ = ["Finding", "LintReport", "lint"]
