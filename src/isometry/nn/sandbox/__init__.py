"""Foreign models, run once and put back as they were: the boundary every measurement crosses."""

from isometry.nn.sandbox.checks import (
    check_input,
    check_output,
    explain,
    refuse_non_finite,
)
from isometry.nn.sandbox.random import generator_or_fresh, seed_from
from isometry.nn.sandbox.ranks import Ranks
from isometry.nn.sandbox.sandbox import Sandbox
from isometry.nn.sandbox.swap import swapped

__all__ = [
    "Ranks",
    "Sandbox",
    "check_input",
    "check_output",
    "explain",
    "generator_or_fresh",
    "refuse_non_finite",
    "seed_from",
    "swapped",
]
