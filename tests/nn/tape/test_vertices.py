import torch

from isometry.nn.tape.vertices import vertex_of


def test_a_value_has_one_vertex_until_it_is_written_to():
    h = torch.ones(3, requires_grad=True).sin()
    before = vertex_of(h)
    assert before == vertex_of(h)
    h.mul_(2)
    assert vertex_of(h) != before


def test_results_of_one_operation_have_vertices_of_their_own():
    first, second = torch.ones(4, requires_grad=True).sin().chunk(2)
    assert vertex_of(first)[1] != vertex_of(second)[1]


def test_a_constant_has_no_vertex():
    assert vertex_of(torch.ones(3)) is None
