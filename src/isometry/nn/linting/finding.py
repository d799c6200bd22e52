"""What lint found: findings with their numbers, of which ``print`` makes a report."""

import math
import re
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from isometry._checks import shown, suggest
from isometry._result import Drawn, Paged, Result, plain
from isometry._typing import Checked
from isometry.nn.linting.statistics import Summary
from isometry.nn.roles.parts import Part

Severity = Literal["error", "warning", "note"]
"""An error is wrong for any model, a warning contradicts the model itself, a note is a choice."""

Rule = Literal[
    "value", "role-scale", "fan", "depth", "duplicate-rows", "duplicate-columns", "copies",
    "symmetry", "zero", "norm-gain", "bias-size", "buffer", "dtype", "distribution", "experts",
    "fresh", "growth", "recipe", "golden", "replicas",
]  # fmt: skip
"""What a finding is about."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_WIDTH = 96
_SHOWN = 3


@dataclass(frozen=True)
class Finding(Result):
    """One thing that stands out, with the number that says so and what to do.

    Attributes:
        parameter: Name of the parameter or buffer, with its rows where a part of it is meant;
            None where it is about the model.
        rule: Which rule found it.
        severity: ``"error"``, ``"warning"`` or ``"note"``.
        message: What was measured, and why it is suspicious, a sentence.
        remedy: What to do, a sentence.
        number: The number that triggered it; None where it is not a matter of size.
    """

    parameter: str | None
    rule: Rule
    severity: Severity
    message: str
    remedy: str = ""
    number: float | None = None

    def __str__(self) -> str:
        name = f"`{self.parameter}`: " if self.parameter else ""
        return f"{name}{self.message} {self.remedy}".rstrip()


@dataclass(frozen=True)
class LintReport(Result, Drawn, Paged):
    """What :func:`isometry.nn.lint` found; ``print`` it.

    Attributes:
        model: Name of the model's class, or of those that a function calls.
        findings: The errors first, then warnings, then notes.
        parts: Every parameter and buffer, fused ones in their parts, with its role.
        law: What the standard deviations of most maps follow, in words; empty where nothing.
        recipe: How the recipe that was asked for fits; without one the recipe that nearly all maps
            follow, or that none fits and the law that is nearest; empty where too little is known.
        remark: What could not be looked at, and why; empty where all was.
        summaries: The numbers of every part with values, by its name.
    """

    _version = 2
    _also = ("parts",)

    model: str
    findings: tuple[Finding, ...]
    parts: tuple[Part, ...] = field(repr=False)
    law: str = ""
    recipe: str = ""
    remark: str = ""
    summaries: Mapping[str, Summary] = field(default_factory=dict, repr=False, compare=False)

    _page = "lint"

    def of(self, severity: Checked[Severity]) -> tuple[Finding, ...]:
        """Return the findings of one severity.

        Args:
            severity: "error", "warning" or "note".

        Raises:
            ValueError: If it is another word.
        """
        wanted = severity_of("severity", severity)
        return tuple(f for f in self.findings if f.severity == wanted)

    def worst(self, severity: Checked[Severity] = "warning") -> tuple[Finding, ...]:
        """Return the findings of a severity or above it.

        Args:
            severity: The least that counts.

        Raises:
            ValueError: If it is another word.
        """
        allowed = SEVERITIES[: SEVERITIES.index(severity_of("severity", severity)) + 1]
        return tuple(f for f in self.findings if f.severity in allowed)

    def groups(self) -> "list[Group]":
        """Return the findings with those together that say the same of several parameters."""
        return grouped(self.findings)

    def counted(self) -> str:
        """Return how many findings there are of each severity, in words; empty without any."""
        numbers = {word: len(self.of(word)) for word in SEVERITIES}
        return ", ".join(f"{n} {word}{'s' if n != 1 else ''}" for word, n in numbers.items() if n)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per finding."""
        return plain(self.findings)

    def _draw(self, room: Any, ax: Any) -> None:
        """Draw the root mean square of every map, gain and table in the model's order, by role."""
        shown = [p for p in self.parts if p.role != "bias" and p.name in self.summaries]
        series = {
            role: [self.summaries[p.name].rms if p.role == role else None for p in shown]
            for role in dict.fromkeys(p.role for p in shown)
        }
        room.plot_points(ax, series, across="parameter", up="root mean square")
        named = {f.parameter.partition("[")[0] for f in self.worst() if f.parameter}
        sizes = {place: self.summaries[p.name].rms for place, p in enumerate(shown, 1)}
        off = [place for place, rms in sizes.items() if not (math.isfinite(rms) and rms > 0)]
        places = [place for place, p in enumerate(shown, 1) if p.parameter in named]
        room.off_scale(ax, off, "0 or not finite")
        ringed = [place for place in places if place not in off]
        room.ring(ax, ringed, [sizes[place] for place in ringed])

    def __str__(self) -> str:
        return _text(self)

    def __repr__(self) -> str:
        counted = ", ".join(f"{len(self.of(s))} {s}s" for s in SEVERITIES)
        return f"LintReport({self.model}: {counted})"


def severity_of(name: str, word: object) -> Severity:
    """Return a severity by its word.

    Args:
        name: The argument, for the message.
        word: What was given.

    Raises:
        ValueError: If it is another word.
    """
    if isinstance(word, str) and word in SEVERITIES:
        return SEVERITIES[SEVERITIES.index(word)]
    near = suggest(word, SEVERITIES) if isinstance(word, str) else ""
    raise ValueError(
        f"`{name}` is {shown(word)}; expected one of {', '.join(map(repr, SEVERITIES))}.{near}"
    )


def ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return findings with the worst first, otherwise as they come."""
    return tuple(sorted(findings, key=lambda f: SEVERITIES.index(f.severity)))


@dataclass(frozen=True)
class Group:
    """What one rule says of several parameters in the same words but for the numbers.

    Attributes:
        finding: The first of them.
        count: How many there are.
        names: The first few parameters, and how many more.
    """

    finding: Finding
    count: int
    names: str

    @property
    def severity(self) -> Severity:
        """That of all of them."""
        return self.finding.severity

    def __str__(self) -> str:
        name = f"`{self.names}`: " if self.names else ""
        return f"{name}{self.finding.message} {self.finding.remedy}".rstrip()


def grouped(findings: Sequence[Finding]) -> list[Group]:
    """Return findings with those together that one rule says in the same words.

    Args:
        findings: In the order of the groups.
    """
    groups: dict[tuple[str, ...], list[Finding]] = defaultdict(list)
    for finding in findings:
        said = re.sub(r"[-\d.e+]*\d", "*", finding.message)
        groups[finding.severity, finding.rule, said].append(finding)
    result = []
    for same in groups.values():
        names = [f.parameter or "" for f in same]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        result.append(Group(same[0], len(same), ", ".join(names[:_SHOWN]) + more))
    return result


def _text(report: LintReport) -> str:
    parts = [f"{report.model}: {report.counted() or 'nothing stands out'}"]
    roles: dict[str, int] = defaultdict(int)
    for part in report.parts:
        roles[part.role] += 1
    said = ", ".join(f"{count} {role}" for role, count in roles.items()) or "none"
    about = [f"Roles: {said}."] + [f"{text}" for text in (report.law, report.recipe) if text]
    about += [f"Not looked at: {report.remark}."] if report.remark else []
    parts.append("\n".join(textwrap.fill(line, _WIDTH, subsequent_indent="  ") for line in about))
    for severity in SEVERITIES:
        groups = grouped(report.of(severity))
        if groups:
            parts.append(f"{severity}s\n" + "\n".join(map(_entry, groups)))
    return "\n\n".join(parts)


def _entry(group: Group) -> str:
    text = f"{group.finding.rule}: {group}"
    return textwrap.fill(text, _WIDTH, initial_indent="- ", subsequent_indent="  ")
