import torch
from torch import nn

from cases_modules import Residual, mlp, stack
from isometry.nn.blocks.blocks import residual_blocks, residual_stream
from isometry.nn.blocks.operator import SegmentOperator


def built(skip=1.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(stack(lambda: Residual(mlp(6, 9), skip=skip)), nn.Linear(6, 6))
        return model.double(), torch.randn(2, 6, dtype=torch.float64)


def test_the_trunk_is_the_jacobian_without_the_head():
    model, x = built()
    trunk = SegmentOperator(residual_stream(model, x).trunk)
    expected = torch.func.jacrev(model[0])(x).reshape(12, 12)
    assert trunk.shape == (12, 12)
    probes = torch.eye(12, dtype=torch.float64)
    # float64 rounding of a dozen products of order one
    for found in (trunk.to_dense(), trunk @ probes, (trunk.T @ probes).T):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


def test_a_block_has_its_skip_and_the_blocks_multiply_to_the_trunk():
    model, x = built(skip=0.7)
    product = probes = torch.eye(12, dtype=torch.float64)
    for block in residual_blocks(model, x):
        own = SegmentOperator.of_block(block)
        dense = own.to_dense()
        torch.testing.assert_close(own @ probes, dense, rtol=0, atol=1e-13)
        torch.testing.assert_close((own.T @ probes).T, dense, rtol=0, atol=1e-13)
        product = dense @ product
    expected = torch.func.jacrev(model[0])(x).reshape(12, 12)
    torch.testing.assert_close(product, expected, rtol=0, atol=1e-12)


def test_a_named_branch_brings_its_skip_along_and_the_whole_block_too():
    model, x = built()
    expected = torch.func.jacrev(model[0][1])(model[0][0](x)).reshape(12, 12)
    for name in ("0.1.body", "0.1"):
        (block,) = residual_blocks(model, x, blocks=[name])
        own = SegmentOperator.of_block(block).to_dense()
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-13)
