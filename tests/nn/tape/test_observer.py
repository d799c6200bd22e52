import pytest
import torch
from torch.nn import functional as F

from isometry.nn.tape.observer import (
    CircularJoin,
    NotRecordable,
    WriteGuard,
    check_deterministic,
    first_line,
)


def test_what_was_written_to_is_put_back_through_any_view():
    x = torch.arange(6.0).reshape(2, 3)
    kept, guard = x.clone(), WriteGuard()
    guard.save(x[1])
    x[1].mul_(-3)
    guard.save(x)
    x.zero_()
    guard.restore()
    assert torch.equal(x, kept)


def test_memory_of_the_function_itself_is_not_saved():
    x, guard = torch.ones(3), WriteGuard()
    h = x * 2
    guard.adopt(h, (x,))
    guard.adopt(x[:2], (x,))  # a view of an operand is no memory of its own
    guard.save(h)
    guard.save(x)
    assert list(guard.saved) == [x.untyped_storage()._cdata]


def test_only_ops_that_draw_random_numbers_are_refused():
    check_deterministic(torch.ops.aten.sin.default)
    with pytest.raises(NotRecordable, match=r"bernoulli\.default draws random numbers"):
        check_deterministic(torch.ops.aten.bernoulli.default)


@pytest.mark.parametrize("pad", [(1, 2), (0, 1, 2, 0), (2, 2, 1, 1)])
def test_joining_slices_pads_circularly_as_torch_does(pad):
    x = torch.arange(24.0).reshape((1, 2, 3, 4) if len(pad) == 4 else (1, 6, 4))
    expected = F.pad(x, pad, mode="circular")
    with CircularJoin():
        joined = F.pad(x, pad, mode="circular")
    assert torch.equal(joined, expected)


def test_a_reason_is_cut_to_its_first_line():
    assert first_line("\n the step\nand its trace") == "the step"
    assert len(first_line("word " * 100)) <= 120


@pytest.mark.parametrize("read", [True, False])
def test_a_graph_holds_unless_it_may_keep_what_is_put_back(read):
    buffer, guard = torch.zeros(3), WriteGuard()
    guard.save(buffer)
    weight = torch.ones(3, requires_grad=True)
    guard.note_reads([buffer], followed=False)  # a number of calls, a mean of detached values
    with torch.no_grad():
        guard.note_reads([buffer, weight], followed=True)
    assert guard.graph_holds
    guard.note_reads([buffer if read else torch.zeros(3), weight], followed=False)
    assert guard.graph_holds is not read
