"""Singular values of an operator: dense, by Lanczos, and the extremes alone."""

from isometry.nn.spectrum.budget import estimate_seconds
from isometry.nn.spectrum.dense import matrix_spectrum
from isometry.nn.spectrum.extremes import largest_singular_values, smallest_singular_values
from isometry.nn.spectrum.spectrum import singular_spectrum

__all__ = [
    "estimate_seconds",
    "largest_singular_values",
    "matrix_spectrum",
    "singular_spectrum",
    "smallest_singular_values",
]
