"""c from its definition, by dense Jacobians: the truth that initialisations are held against."""

import torch


def dense(f, x):
    """The Jacobian of f at x; f gets a copy, since it may work in place."""
    x = x.detach().clone()
    return torch.autograd.functional.jacobian(lambda z: f(z.clone()), x).reshape(-1, x.numel())


def c_of(J):
    """c of one block from its whole Jacobian: the skip and the mean of the branch go together."""
    n = len(J)
    mean = J.trace() / n
    centred = J - mean * torch.eye(n, dtype=J.dtype)
    return float(((centred**2).sum() + (centred * centred.T).sum()) / n / mean**2)


def c_chain(blocks, x):
    """The c of every block of a chain, each at the input that it meets."""
    found = []
    for block in blocks:
        found.append(c_of(dense(block, x)))
        x = block(x.clone()).detach()
    return found
