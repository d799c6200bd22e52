"""What a plan is asked for: c, a condition number or a branch gain, and the blocks' shares."""

from collections.abc import Sequence

from isometry._checks import check_real
from isometry._typing import Real
from isometry.theory.design import cumulant_from_condition_number


def check_method(method: str | None, *, by_gain: bool) -> None:
    """Refuse what is no method, and the theory for branch gains.

    Raises:
        ValueError: If it is one of these.
    """
    if method not in (None, "theory", "data"):
        raise ValueError(f"`method` is {method!r}; expected 'theory', 'data' or None.")
    if method == "theory" and by_gain:
        raise ValueError("`method` is 'theory' with `branch_gain`; expected 'data' or None.")


def target_of(
    c: Real | None, condition_number: Real | None, branch_gain: Real | None
) -> tuple[float, float | None]:
    """Return the c, or the branch gain, that the arguments mean, and the condition number.

    Raises:
        TypeError: If one is not a real number.
        ValueError: If two are given or one is out of range.
    """
    if branch_gain is not None:
        for name, value in (("c", c), ("condition_number", condition_number)):
            if value is not None:
                raise ValueError(
                    f"`branch_gain` is {branch_gain!r} and `{name}` is {value!r}; expected one of "
                    "them."
                )
        return check_real("branch_gain", branch_gain, above=0.0), None
    if condition_number is None:
        advice = "c = 1 is a condition number of 21; smaller is closer to isometry."
        return check_real("c", 1.0 if c is None else c, above=0.0, advice=advice), None
    if c is not None:
        raise ValueError(
            f"`condition_number` is {condition_number!r} and `c` is {c!r}; expected one of them."
        )
    kappa = check_real("condition_number", condition_number, above=1.0)
    return cumulant_from_condition_number(kappa), kappa


def shares_of(shares: Sequence[Real] | None, count: int) -> list[float]:
    """Return positive shares that sum to 1.

    Raises:
        TypeError: If a share is not a real number.
        ValueError: If there are not ``count`` of them or one is not positive.
    """
    if shares is None:
        return [1.0 / count] * count
    if len(shares) != count:
        raise ValueError(
            f"`shares` has {len(shares)} entries; expected one for each of the {count} blocks. "
            "`isometry.nn.residual_blocks(model, x)` lists them."
        )
    parts = [check_real("shares", share, above=0.0) for share in shares]
    return [part / sum(parts) for part in parts]
