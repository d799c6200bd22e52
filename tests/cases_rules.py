"""One aten call, turned into linear maps by its rule, beside the Jacobian that autograd gives."""

import torch
from torch.utils._pytree import tree_map_only

from cases_maps import dense, jacobian
from isometry.nn.sandbox.listener import bound
from isometry.nn.tape.rules import AtenCall, linearise


def call_of(func, *args, on, **kwargs):
    """Return the call of an op in which the tensors ``on`` depend on the input."""
    result = func(*args, **kwargs)
    outputs = list(result) if isinstance(result, (tuple, list)) else [result]
    nodes = {id(x): i for i, x in enumerate(on)}
    return AtenCall(func, bound(func, args, kwargs), outputs, nodes, torch.Tensor.clone)


def chained(maps, v):
    for linear in maps:
        v = linear.apply(v)
    return v


def matrix(maps, shape):
    return dense(lambda v: chained(maps, v), shape)


def adjoint(maps, shape):
    return matrix([linear.transpose for linear in reversed(maps)], shape)


def derivative(func, args, kwargs, x, output):
    def f(t):
        result = func(*tree_map_only(torch.Tensor, lambda a: t if a is x else a, args), **kwargs)
        return result[output] if isinstance(result, (tuple, list)) else result

    return jacobian(f, x)


def follows(func, *args, on, linearised=linearise, outputs=None, **kwargs):
    """Return whether an op's maps and transposes have the Jacobian of its first ``outputs``."""
    call = call_of(func, *args, on=on, **kwargs)
    with torch.no_grad():
        terms = linearised(call)
    close = []
    for output, y in enumerate(call.outputs[:outputs]):
        for node, x in enumerate(on):
            if not y.is_floating_point():
                continue
            own = [t.maps for t in terms if (t.node, t.output) == (node, output)]
            expected = derivative(func, args, kwargs, x, output)
            zero = torch.zeros_like(expected)
            forward = sum((matrix(maps, x.shape) for maps in own), zero)
            backward = sum((adjoint(maps, y.shape) for maps in own), zero.T)
            close += [
                torch.allclose(forward, expected, rtol=1e-12, atol=1e-12),
                torch.allclose(backward, expected.T, rtol=1e-12, atol=1e-12),
            ]
    return bool(close) and all(close)
