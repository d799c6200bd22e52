import pytest
import torch
from torch import nn
from torch.nn import functional

from isometry.nn.roles.flow import Flow


def watched(f, *parameters, x=None, buffers=None):
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)) if x is None else x
    named = {f"p{i}": p for i, p in enumerate(parameters)}
    flow = Flow(named, buffers or {}, [x])
    with torch.no_grad(), flow:
        f(x)
    return flow


def test_only_what_depends_on_the_input_is_a_node():
    w = torch.randn(8, 8)
    flow = watched(lambda x: functional.linear(x, w.sin() + w), w)
    assert "sin" not in [node.op for node in flow.nodes]
    assert flow.nodes[-1].applied.name == "p0"
    assert flow.constants["p0"] >= {"sin", "add"}


def test_a_use_says_which_operand_and_what_lies_between():
    scale = torch.ones(8)
    flow = watched(lambda x: x * scale.exp() + scale, scale)
    product, added = flow.nodes[-2], flow.nodes[-1]
    assert (product.op, product.uses[0].through, product.uses[0].direct) == ("mul", {"exp"}, False)
    assert (added.uses[0].place, added.uses[0].direct) == (1, True)


def test_the_outputs_of_a_fused_map_are_followed_through_views():
    w = torch.randn(12, 8)

    def fused(x):
        a, b, c = functional.linear(x, w).chunk(3, -1)
        return a.sigmoid() * b.unflatten(-1, (2, 2)).transpose(1, 2).flatten(1) + c

    rows = {n.op: {p: r.tolist() for p, r in n.rows.items()} for n in watched(fused, w).nodes}
    assert rows["sigmoid"] == {0: [0, 1, 2, 3]}
    assert rows["mul"] == {1: [4, 5, 6, 7]}
    assert rows["add"] == {1: [8, 9, 10, 11]}


def test_a_write_in_place_is_a_new_node_of_the_same_memory():
    def writes(x):
        y = x.clone()
        view = y[:, :4]
        y.mul_(2)
        return view.relu()

    flow = watched(writes)
    relu = flow.nodes[-1]
    assert flow.nodes[relu.inputs[0][1]].op == "mul_"


def test_a_buffer_that_is_written_to_is_noted():
    state = torch.zeros(8)
    flow = watched(lambda x: state.copy_(x[0]) * 2, buffers={"state": state})
    assert flow.written == {"state"}


def test_tables_are_looked_up_by_ids_of_the_input():
    table = nn.Embedding(10, 4)
    flow = watched(table, table.weight, x=torch.tensor([[1, 2]]))
    assert flow.nodes[-1].op == "embedding"
    assert flow.nodes[-1].inputs == ((1, 0),)


def test_sizes_are_measured_in_double_precision_too():
    linear = nn.Linear(8, 8, bias=False).double()
    x = torch.ones(4, 8, dtype=torch.float64)
    (node,) = (n for n in watched(linear, linear.weight, x=x).nodes if n.applied is not None)
    assert node.rms == pytest.approx(float(linear(x).detach().square().mean()) ** 0.5)


def test_complex_pairs_of_outputs_keep_their_numbers():
    w, turn = torch.randn(8, 8), torch.polar(torch.ones(2), torch.arange(2.0))

    def rotary(x):
        q, k = functional.linear(x, w).chunk(2, -1)
        turned = torch.view_as_complex(q.reshape(3, 2, 2)) * turn
        return torch.view_as_real(turned).flatten(1) + k.view(torch.int32).view(torch.float32)

    flow = watched(rotary, w)
    rows = {n.op: {p: r.tolist() for p, r in n.rows.items()} for n in flow.nodes if n.rows}
    assert rows["mul"] == {0: [0, 2]}  # a complex entry has the number of its real part
    assert rows["add"] == {1: [4, 5, 6, 7]}


def test_a_view_of_the_bytes_that_has_more_entries_is_followed_without_numbers():
    w = torch.randn(8, 8)
    flow = watched(lambda x: functional.linear(x, w).view(torch.int16).neg(), w)
    assert flow.nodes[-1].op == "neg"
    assert flow.nodes[-1].rows == {}
