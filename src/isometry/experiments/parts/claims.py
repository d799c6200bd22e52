"""A hypothesis is a sentence with a number that could have failed; a study returns some of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from isometry._result import Result
from isometry.report import Block


@dataclass(frozen=True)
class Hypothesis(Result):
    """A claim, how it was put to the test, and what came out.

    Args:
        study: Name of the study.
        statement: The claim.
        tested: What was run.
        number: What was measured; ``None`` if it could not be.
        low: Smallest number with which the claim passes.
        high: Largest such number.
        remark: What a reader must know besides, such as a confidence interval.
    """

    study: str
    statement: str
    tested: str
    number: float | None
    low: float | None = None
    high: float | None = None
    remark: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the number is between the bounds; ``None`` without a number."""
        if self.number is None:
            return None
        above = self.low is None or self.number >= self.low
        return above and (self.high is None or self.number <= self.high)

    @property
    def verdict(self) -> str:
        """The word "pass", "fail" or "not measured"."""
        return {True: "pass", False: "fail", None: "not measured"}[self.holds]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and the verdict."""
        return super().to_dict() | {"verdict": self.verdict}

    def rows(self) -> list[dict[str, Any]]:
        """Return the hypothesis' line of the page's first table."""
        return [
            {
                "claim": self.statement,
                "study": self.study,
                "number": self.number,
                "wanted": _bounds(self.low, self.high),
                "verdict": self.verdict,
            }
        ]


@dataclass(frozen=True)
class Findings(Result):
    """What a study found.

    Attributes:
        title: Heading of its section.
        hypotheses: With their numbers.
        numbers: Tables of numbers by name, for the committed JSON.
        blocks: Text, tables and figures of the section.
    """

    title: str
    hypotheses: Sequence[Hypothesis]
    numbers: dict[str, list[dict[str, Any]]]
    blocks: Sequence[Block] = field(default=(), repr=False)


def _bounds(low: float | None, high: float | None) -> str:
    if low is None:
        return f"<= {high:g}"
    return f">= {low:g}" if high is None else f"{low:g} .. {high:g}"
