"""Matrices with known singular values, and the least an operator must be."""

import numpy as np
import torch

from isometry.theory.ensembles import residual_product


class MatrixOperator:
    """The least an operator must be: it counts its products."""

    def __init__(self, matrix):
        self.matrix = matrix
        self.shape, self.dtype, self.device = tuple(matrix.shape), matrix.dtype, matrix.device
        self.products = 0

    def __matmul__(self, V):
        self.products += 1
        return self.matrix @ V

    @property
    def T(self):
        return MatrixOperator(self.matrix.T)

    def to_dense(self):
        return self.matrix


def operator(matrix, dtype=torch.float32):
    return MatrixOperator(torch.as_tensor(matrix).to(dtype))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def product(width, depth, c, seed=0):
    return residual_product(width, depth, c=c, rng=np.random.default_rng(seed))


def with_singular_values(n_out, n_in, s, seed=0):
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(n_out, len(s))))[0]
    return (left * s) @ np.linalg.qr(rng.normal(size=(n_in, len(s))))[0].T


PRODUCT = product(400, 40, 0.5)
