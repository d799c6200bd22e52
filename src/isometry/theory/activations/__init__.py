"""Activations: by name, by formula, from torch; with kinks, parity and closed moments."""

from isometry.theory.activations.definition import Activation, ActivationLike
from isometry.theory.activations.lookup import activation, activation_names

__all__ = ["Activation", "ActivationLike", "activation", "activation_names"]
