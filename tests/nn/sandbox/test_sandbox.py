import sys

import pytest
import torch
from torch import nn

from cases_operators import OPERATORS, build
from cases_sandbox import fingerprint
from isometry.nn.jacobian.jacobian import JacobianOperator


@pytest.mark.parametrize("name", OPERATORS)
def test_measurement_leaves_every_model_of_the_table_untouched(name):
    row = build(name)
    if isinstance(row.f, nn.Module):
        for index, parameter in enumerate(row.f.parameters()):
            parameter.requires_grad_(index % 2 == 0)
            parameter.grad = torch.ones_like(parameter) if index % 3 == 0 else None
    before, x_before = fingerprint(row.f), row.x.clone()
    for route in (None, "autograd"):
        J = JacobianOperator(row.f, row.x, batch_norm=row.batch_norm, route=route)
        J @ torch.ones(J.shape[1], 2, dtype=J.dtype)
        J.T @ torch.ones(J.shape[0], 2, dtype=J.dtype)
        J.to_dense()
    assert fingerprint(row.f) == before
    assert torch.equal(row.x, x_before)


def interrupted(action, at):
    """Run an action with Ctrl-C at its ``at``-th line in the sandbox; count the lines."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if not any(part in frame.f_code.co_filename for part in ("nn/sandbox/", "contextlib.py")):
            return None
        if event == "line":
            count += 1
            if count == at:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return count


# Python itself reports an interrupt inside __del__, where nothing is left to be done.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_line_leaves_model_and_process_as_they_were():
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)).eval()
    net[1].running_mean.fill_(0.5)
    before, x = fingerprint(net), torch.ones(1, 3)

    def measure():
        JacobianOperator(net, x, route="autograd")

    lines = interrupted(measure, at=10**9)
    for line in range(1, lines, max(1, lines // 150)):
        interrupted(measure, line)
        assert fingerprint(net) == before, line
    stranger = nn.BatchNorm1d(3)
    assert stranger(torch.randn(4, 3)).requires_grad
