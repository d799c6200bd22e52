import pytest
import torch

from cases_maps import dense, normal
from isometry.nn.tape.maps import Diagonal, Identity, Permute, Scale
from isometry.nn.tape.maps_dense import RightProduct
from isometry.nn.tape.program import Edge, Program, simplified

A, D = normal(3, 3, seed=1), normal(3, seed=2)
N = 3
UNIT = torch.eye(N, dtype=torch.float64)


def residual(alpha=0.3):
    """Return ``x + alpha (D x + A^T x)``, then a difference with twice the input."""
    return [
        Edge(0, 1, RightProduct(A)),
        Edge(0, 1, Diagonal(D)),
        Edge(1, 2, Scale(alpha)),
        Edge(0, 2, Identity()),
        Edge(2, 3, Identity()),
        Edge(0, 3, Scale(-2.0)),
        Edge(1, 4, Scale(5.0)),  # leads nowhere
    ]


def expected(alpha=0.3):
    return alpha * (A.T + torch.diag(D)) + UNIT - 2 * UNIT


def same(a, b):
    return torch.allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("edges", [residual(), simplified(0, 3, residual(), {0, 3})])
def test_a_program_is_the_sum_over_its_paths_and_its_transpose_the_adjoint(edges):
    program = Program.of(0, 3, edges)
    assert same(dense(program.run, (N,)), expected())
    assert same(dense(program.transpose.run, (N,)), expected().T)
    assert same(dense(program.transpose.transpose.run, (N,)), expected())


@pytest.mark.parametrize("alpha", [-0.3, 0.33])
def test_a_wrong_sign_or_factor_on_one_edge_is_seen(alpha):
    assert not same(dense(Program.of(0, 3, residual(alpha)).run, (N,)), expected())


def test_a_run_leaves_the_tangents_as_they_were():
    v = normal(2, N)
    kept = v.clone()
    chain = [Edge(0, 1, Identity()), Edge(1, 2, Scale(3.0)), Edge(0, 2, Identity())]
    assert same(Program.of(0, 2, chain).run(v), 4 * kept)
    assert torch.equal(v, kept)


def test_a_program_without_a_path_is_zero():
    assert Program.of(0, 2, [Edge(0, 1, Scale(2.0))]).run(normal(1, N)) is None


def test_simplifying_joins_rescalings_and_keeps_the_nodes_it_is_told_to():
    edges = [Edge(0, 1, Scale(2.0)), Edge(1, 2, Diagonal(D)), Edge(1, 2, Scale(-1.0))]
    (joined,) = simplified(0, 2, edges, {0, 2})
    assert (joined.source, joined.target) == (0, 2)
    assert same(dense(joined.map.apply, (N,)), torch.diag(2 * D - 2))
    assert {edge.target for edge in simplified(0, 2, edges, {0, 1, 2})} == {1, 2}


def test_fitting_gives_the_image_and_constants_laid_out_as_the_tangents():
    d, v = normal(2, 3), normal(1, 2, 3, seed=1)
    program = Program.of(0, 2, [Edge(0, 1, Permute((1, 0))), Edge(1, 2, Diagonal(d.mT.clone()))])
    edges, image = program.fitted(v)
    assert same(image, (v * d).mT)
    assert edges[1].map.d.stride() == v[0].mT.stride()
