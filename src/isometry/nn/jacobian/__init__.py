"""The Jacobian of any module as a linear operator, and the routes by which it multiplies."""

from isometry.nn.jacobian.jacobian import JacobianOperator

__all__ = ["JacobianOperator"]
