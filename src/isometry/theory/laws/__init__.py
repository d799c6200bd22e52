"""Laws of lam = s^2, the squared singular values of a Jacobian; each knows numbers only."""

from isometry.theory.laws.base import SingularValueLaw, SpectralLaw
from isometry.theory.laws.finite import FiniteDepthLaw
from isometry.theory.laws.product import ProductLaw
from isometry.theory.laws.universal import UniversalLaw

__all__ = ["FiniteDepthLaw", "ProductLaw", "SingularValueLaw", "SpectralLaw", "UniversalLaw"]
