"""Vertices of autograd's graph: how a value of a forward pass is named by what computed it."""

from typing import Any

from torch import Tensor
from torch.autograd.graph import get_gradient_edge

Vertex = tuple[Any, int]
"""An autograd node and the number of its output."""


def vertex_of(tensor: Tensor) -> Vertex | None:
    """Return the vertex of a tensor, or None where it is a constant."""
    if not tensor.requires_grad:
        return None
    edge = get_gradient_edge(tensor)
    return edge.node, edge.output_nr
