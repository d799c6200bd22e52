"""Activations: by name, by formula, from torch; with kinks, parity and closed moments."""

from isometry.theory.activations.definition import Activation
from isometry.theory.activations.lookup import activation, activation_names

__all__ = ["Activation", "activation", "activation_names"]
