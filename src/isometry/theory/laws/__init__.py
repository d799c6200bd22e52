"""Laws of lam = s^2, the squared singular values of a Jacobian; each knows numbers only."""
