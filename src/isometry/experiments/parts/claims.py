"""A hypothesis is a sentence with a number that could have failed; a study returns some of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from isometry._result import Result
from isometry.report import Beside, Block, Figure, Point, Points, Section, Table, Tone


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

    _also = ("verdict",)

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


_TONES: dict[bool | None, Tone] = {True: "good", False: "bad", None: "open"}


def tone_of(claim: Hypothesis) -> Tone:
    """Return the colour that goes with a verdict."""
    return _TONES[claim.holds]


def point_of(claim: Hypothesis) -> Point:
    """Return a claim as an entry of a list: the verdict, the sentence, the number, how tested."""
    number = "No number" if claim.number is None else f"{claim.number:.4g}"
    wanted = _bounds(claim.low, claim.high)
    more = f"{number}, wanted {wanted}; {claim.tested}. {claim.remark}".rstrip()
    return Point(f"{claim.statement}.", claim.verdict, tone_of(claim), more)


def by_claim(findings: Findings) -> tuple[Points, Figure | None, list[Block]]:
    """Return the claims of a study, its first figure, and its other blocks with tables folded."""
    claims = Points([point_of(claim) for claim in findings.hypotheses])
    figure = next((block for block in findings.blocks if isinstance(block, Figure)), None)
    return claims, figure, [folded(block) for block in findings.blocks if block is not figure]


def folded(block: Block) -> Block:
    """Return a table under its caption, to unfold; other blocks as they are."""
    if isinstance(block, Table) and not block.title:
        return Table(block.rows, title=block.caption.rstrip(".") or "Numbers")
    return block


def section_of(findings: Findings, *, led: bool = False) -> Section:
    """Return a study's section: its claims beside its first figure, then the rest, in pairs.

    Args:
        findings: Of the study.
        led: Whether the first figure stands elsewhere, at the head of the page.
    """
    claims, first, blocks = by_claim(findings)
    head = claims if led or first is None else Beside([claims], [first])
    figures = [block for block in blocks if isinstance(block, Figure)]
    pairs = [Beside(figures[i : i + 1], figures[i + 1 : i + 2]) for i in range(0, len(figures), 2)]
    rest = [block for block in blocks if not isinstance(block, Figure)]
    return Section(findings.title, [head, *pairs, *rest])


def _bounds(low: float | None, high: float | None) -> str:
    if low is None:
        return f"<= {high:g}"
    return f">= {low:g}" if high is None else f"{low:g} .. {high:g}"
