"""Linear maps as explicit matrices, and the checks that every map of the tape must pass."""

import torch


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def dense(apply, shape):
    """Return the matrix of a map of stacked tangents, one column per entry of ``shape``."""
    size = torch.Size(shape).numel()
    columns = apply(torch.eye(size, dtype=torch.float64).reshape(size, *shape))
    return columns.reshape(size, -1).T


def jacobian(f, x):
    """Return the Jacobian matrix that autograd gives for a plain function."""
    y = torch.autograd.functional.jacobian(f, x)
    return y.reshape(-1, x.numel())


def agrees(linear, expected, source, target):
    """Return whether a map and its transpose have these matrices to a few roundings."""
    matrix = dense(linear.apply, source)
    adjoint = dense(linear.transpose.apply, target)
    return (
        matrix.shape == expected.shape
        and torch.allclose(matrix, expected, rtol=1e-12, atol=1e-12)
        and torch.allclose(adjoint, expected.T, rtol=1e-12, atol=1e-12)
    )
