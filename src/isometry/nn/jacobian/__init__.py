"""The Jacobian of any module as a linear operator, and the routes by which it multiplies."""

from isometry.nn.jacobian.jacobian import JacobianOperator
from isometry.nn.jacobian.operator import MatrixFreeOperator, Transpose

__all__ = ["JacobianOperator", "MatrixFreeOperator", "Transpose"]
