"""A hypothesis is a sentence with a number that could have failed; a study returns some of them."""

from collections.abc import Mapping, Sequence
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
class Reading:
    """A few claims together with what shows them.

    Args:
        hypotheses: With their numbers; none for a reading that only tells.
        blocks: Figures, tables and text that show the numbers of these claims. The first
            figures stand beside the claims.
        numbers: Tables of numbers by name, for the committed JSON.
    """

    hypotheses: Sequence[Hypothesis]
    blocks: Sequence[Block] = ()
    numbers: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings(Result):
    """What a study found.

    Attributes:
        title: Heading of its section.
        readings: Claims with what shows them, in the order of the page.
    """

    _also = "hypotheses", "numbers"

    title: str
    readings: Sequence[Reading] = field(repr=False)

    @property
    def hypotheses(self) -> list[Hypothesis]:
        """All claims, reading by reading."""
        return [claim for reading in self.readings for claim in reading.hypotheses]

    @property
    def numbers(self) -> dict[str, list[dict[str, Any]]]:
        """The tables of numbers of all readings, by name."""
        return {name: rows for reading in self.readings for name, rows in reading.numbers.items()}

    @property
    def lead(self) -> Figure | None:
        """The first figure, which may stand at the head of a page; None without any."""
        blocks = (block for reading in self.readings for block in reading.blocks)
        return next((block for block in blocks if isinstance(block, Figure)), None)


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


def folded(block: Block) -> Block:
    """Return a table under its caption, to unfold; other blocks as they are."""
    if isinstance(block, Table) and not block.title:
        return Table(block.rows, title=block.caption.rstrip(".") or "Numbers")
    return block


def section_of(findings: Findings, *, led: bool = False) -> Section:
    """Return a study's section, reading by reading.

    Of each: its claims beside its first figure, or its first two; its other figures in pairs; then
    the rest, with tables folded.

    Args:
        findings: Of the study.
        led: Whether the first figure of all stands elsewhere, at the head of the page.
    """
    elsewhere = findings.lead if led else None
    laid_out = [_laid_out(reading, elsewhere) for reading in findings.readings]
    return Section(findings.title, [block for blocks in laid_out for block in blocks])


def _laid_out(reading: Reading, elsewhere: Figure | None) -> list[Block]:
    figures = [b for b in reading.blocks if isinstance(b, Figure) and b is not elsewhere]
    rest = [folded(block) for block in reading.blocks if not isinstance(block, Figure)]
    head: list[Block] = []
    if reading.hypotheses:
        count = 1 if len(figures) % 2 else 2  # so that the others are pairs
        head = [_beside(reading.hypotheses, figures[:count])]
        figures = figures[count:]
    pairs = [Beside(figures[i : i + 1], figures[i + 1 : i + 2]) for i in range(0, len(figures), 2)]
    return [*head, *pairs, *rest]


def _beside(hypotheses: Sequence[Hypothesis], figures: Sequence[Figure]) -> Block:
    """Return claims beside one figure or two; of two, the first one below a few claims."""
    claims = Points([point_of(claim) for claim in hypotheses])
    if not figures:
        return claims
    below = figures[:1] if len(figures) > 1 and len(hypotheses) < 3 else []
    return Beside([claims, *below], figures[len(below) :])


def _bounds(low: float | None, high: float | None) -> str:
    if low is None:
        return f"<= {high:g}"
    return f">= {low:g}" if high is None else f"{low:g} .. {high:g}"
