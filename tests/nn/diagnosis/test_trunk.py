import pytest
import torch
from torch import nn

from cases_modules import Residual, mlp, stack
from isometry.nn.blocks.blocks import residual_stream
from isometry.nn.blocks.operator import SegmentOperator
from isometry.nn.diagnosis.trunk import common_part, same_products
from isometry.nn.jacobian.jacobian import JacobianOperator


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def built():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(stack(lambda: Residual(mlp(6, 9))), nn.Linear(6, 6)).double()
    return model, torch.randn(2, 6, generator=seeded(), dtype=torch.float64)


def test_one_product_tells_the_trunk_from_the_model():
    model, x = built()
    trunk = SegmentOperator(residual_stream(model, x).trunk)
    assert same_products(JacobianOperator(model[0], x), trunk, seeded())
    assert not same_products(JacobianOperator(model, x), trunk, seeded())


def test_operators_of_another_shape_or_dtype_are_not_the_same():
    model, x = built()
    trunk = SegmentOperator(residual_stream(model, x).trunk)
    assert not same_products(JacobianOperator(model[0], x[:1]), trunk, seeded())
    single = JacobianOperator(model[0].float(), x.float())
    assert not same_products(single, trunk, seeded())


def test_a_direction_is_split_into_its_constant_parts():
    u = torch.ones(8, 6) / 48**0.5
    assert common_part(u)[0] == pytest.approx(1.0)
    rows = torch.linspace(-1, 1, 8)[:, None].expand(8, 6)  # constant along axis 1, mean 0
    whole, along = common_part(rows / rows.norm())
    assert whole == pytest.approx(0.0, abs=1e-12)
    assert along == pytest.approx({0: 0.0, 1: 1.0}, abs=1e-6)


def test_short_axes_are_left_out_of_the_constant_parts():
    u = torch.randn(5, 6, generator=seeded())
    assert list(common_part(u / u.norm())[1]) == [1]
