import pytest

from isometry.nn.blocks.additions import LeftAddition
from isometry.nn.init.plans import InitPlan, PlannedBlock


def made(*after, before=(0.1, 0.2), left=()):
    blocks = tuple(
        PlannedBlock(f"b{i}", start, end, 0.5, ("w",), 2.0, "last linear map, scaled")
        for i, (start, end) in enumerate(zip(before, after, strict=True))
    )
    return InitPlan(1.0, "data", blocks, 3, {}, left=left)


def test_the_totals_are_those_of_the_blocks():
    plan = made(0.5, 0.505)
    assert plan.c_before == pytest.approx(0.3)
    assert plan.c_after == pytest.approx(1.005)
    assert plan.residual == pytest.approx(0.01)
    assert made(0.5, 0.5, before=(0.1, None)).c_before is None


def test_what_is_left_out_is_printed_below_the_table():
    left = LeftAddition("up.2", "its shortcut is a linear map", None, ("up.2.w",))
    text = str(made(0.5, 0.5, left=(left,)))
    assert text.endswith("left out: `up.2`: its shortcut is a linear map; `up.2.w` at 0 stays")
    assert "left out" not in str(made(0.5, 0.5))


@pytest.mark.parametrize(("factors", "said"), [((0.5, 2.0, 1.0), True), ((1.0, 2.9, 2.0), False)])
def test_factors_that_differ_much_are_named_with_what_grows_with_them(factors, said):
    blocks = tuple(
        PlannedBlock(f"b{i}", 0.1, 0.5, 0.5, ("w",), factor, "last linear map, scaled")
        for i, factor in enumerate(factors)
    )
    text = str(InitPlan(1.5, "data", blocks, 3, {}))
    assert ("unequal factors" in text) is said
    assert ("factors, 0.5 (b0) to 2 (b1): outliers are no part of c and" in text) is said
    baseline = str(InitPlan(None, "he", blocks, 3, {}))
    assert "unequal factors" not in baseline
