import torch
from torch import nn

from isometry.nn.sandbox.listener import bound, tensors_in, written
from isometry.nn.sandbox.sandbox import Sandbox


def test_memory_of_the_model_that_it_writes_to_is_put_back_each_time():
    layer = nn.Embedding(4, 3, max_norm=0.1)
    before = layer.weight.detach().clone()
    sandbox = Sandbox(torch.ones(1), None)
    for _ in range(2):
        with sandbox:
            inside = layer(torch.tensor([1, 2]))
        assert float(inside.detach().norm(dim=1).max()) < 0.11
        assert torch.equal(layer.weight, before)


def test_what_an_op_writes_to_is_known_from_its_schema_and_for_batch_norm_beside_it():
    mean, variance, x = torch.zeros(2), torch.ones(2), torch.ones(3, 2)
    op = torch.ops.aten.native_batch_norm.default
    operands = (x, None, None, mean, variance, True, 0.1, 1e-5)
    assert [id(t) for t in written(op, operands, {})] == [id(mean), id(variance)]
    assert bound(torch.ops.aten.add.Tensor, (x, x), {})["alpha"] == 1
    assert [id(t) for t in written(torch.ops.aten.add_.Tensor, (x, mean), {})] == [id(x)]


def test_tensors_are_found_among_operands_and_in_their_lists():
    a, b, c = torch.ones(3).unbind()
    found = tensors_in({"self": a, "indices": [None, b], "dim": 1}, (c, "mean"))
    assert all(x is y for x, y in zip(found, (a, b, c), strict=True))
