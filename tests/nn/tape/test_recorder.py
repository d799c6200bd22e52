import pytest
import torch

from cases_maps import dense, jacobian, normal
from isometry.nn.tape.observer import NotRecordable
from isometry.nn.tape.program import Program
from isometry.nn.tape.recorder import Recorder
from isometry.nn.tape.vertices import vertex_of

X = normal(2, 3)


def recorded(f, x):
    """Return what followed a pass over a copy of ``x``, and the pass's result."""
    x = x.clone().requires_grad_().clone()  # a leaf has no vertex under the recorder
    recorder = Recorder(x)
    with recorder:
        y = f(x)
    return recorder, y


def column_doubled(x):
    h = x.sin()
    h[:, 1] *= 2
    return h


def row_overwritten(x):
    h = x.sin()
    h[0] = x[1] * 3
    return h + h.sum()


def read_through_an_older_view(x):
    h = x * 2
    row, before = h[1], h + 1
    h.mul_(x)
    return row + before.sum(0)


def constants_written(x):
    h = x.sin()
    h[1, 2] = 4.0
    return h.reshape(-1).flip(0)


def written_twice(x):
    h = torch.zeros(3, 2, dtype=x.dtype)
    h.T.copy_(x)
    h[1:].add_(h[:-1].clone(), alpha=-0.5)
    return h.cos()


WRITES = [
    column_doubled, row_overwritten, constants_written, written_twice, read_through_an_older_view,
]  # fmt: skip


@pytest.mark.parametrize("f", WRITES)
def test_writes_through_views_have_the_jacobian_and_its_adjoint(f):
    expected = jacobian(lambda x: f(x.clone()), X)
    with torch.no_grad():
        recorder, y = recorded(f, X)
    program = Program.of(0, recorder.node_of(y), recorder.edges)
    matrix, adjoint = dense(program.run, X.shape), dense(program.transpose.run, y.shape)
    assert torch.allclose(matrix, expected, rtol=1e-12, atol=1e-12)
    assert torch.allclose(adjoint, expected.T, rtol=1e-12, atol=1e-12)


def test_a_constant_has_no_node_and_what_depends_on_the_input_has_one():
    recorder, (y, cut, constant) = recorded(
        lambda x: (x.sin(), x.detach() * 2, torch.ones(3) + 1), X
    )
    assert recorder.node_of(y) is not None
    assert recorder.node_of(cut) is recorder.node_of(constant) is None


def test_a_parameter_is_held_by_reference_and_an_inner_value_by_a_copy():
    weight = torch.nn.Parameter(normal(3, seed=1))
    recorder, inner = recorded(lambda x: (x * weight, torch.ones(3) * 2)[1], X)
    held = [tensor for _, tensor in recorder.external]
    assert [tensor.data_ptr() for tensor in held] == [weight.data_ptr()]
    assert recorder.hold(inner).data_ptr() != inner.data_ptr()


def test_values_that_were_operands_are_named_by_their_vertices():
    kept = {}

    def f(x):
        kept["h"] = h = x.sin()
        return h.exp()

    recorder, _ = recorded(f, X)
    assert recorder.vertices[vertex_of(kept["h"])] == recorder.node_of(kept["h"])


def test_a_refusal_is_remembered_although_the_function_swallows_it():
    def f(x):
        try:
            return torch.rand(3) + x
        except NotRecordable:
            return x.sin()

    recorder, _ = recorded(f, X)
    assert "draws random numbers" in str(recorder.refusal)
