"""Rules about what is equal that should have been drawn apart: rows, columns, experts, layers."""

from collections import defaultdict
from collections.abc import Iterator

from isometry.nn.linting.entries import dependent, is_drawn
from isometry.nn.linting.evidence import Evidence, has_values
from isometry.nn.linting.finding import Finding, Rule
from isometry.nn.linting.held import Held
from isometry.nn.linting.scales import FAR
from isometry.nn.linting.statistics import bank_of, repeated_rows
from isometry.nn.roles.parts import Part, layer_of, outputs

_LAYERS = (
    ": the layers are copies.",
    "torch.nn.TransformerEncoder copies its layer; draw each again if that is not meant.",
)
_START = (
    ", and other maps of these layers are not: they start alike.",
    "Right for a start that is set, such as a mixing near the identity; draw each again otherwise.",
)
_REDRAW = "Give every shard, expert and layer a seed of its own, and draw it again."


def repeats(evidence: Evidence) -> Iterator[Finding]:
    """Find equal rows and equal columns of what should be random."""
    for part in evidence.whole:
        tensor = evidence.tensor(part)
        if not has_values(tensor) or not is_drawn(part) or tensor.ndim < 2:
            continue
        matrix = evidence.matrix(part)
        yield from _repeats(part, matrix, "duplicate-rows", "rows")
        if part.role != "depthwise" and part.map is not None and not part.bank:
            yield from _repeats(part, matrix.transposed, "duplicate-columns", "columns")


def _repeats(part: Part, matrix: Held, rule: Rule, word: str) -> Iterator[Finding]:
    found = repeated_rows(matrix)
    if found is not None:
        first, second = found.pair
        yield Finding(
            part.parameter, rule, "error",
            f"Only {found.distinct} of its {found.rows} {word} are distinct ({word[:-1]} {first} "
            f"equals {word[:-1]} {second}): shards or copies drawn from one seed.",
            _REDRAW, float(found.distinct),
        )  # fmt: skip


def copies(evidence: Evidence) -> Iterator[Finding]:
    """Find maps that are entry by entry equal to another."""
    groups: dict[tuple, list[Part]] = defaultdict(list)
    for part in evidence.maps:
        summary = evidence.summaries.get(part.name)
        if summary is not None and summary.finite and summary.std > 0 and summary.size >= 16:
            groups[part.shape, summary.largest, summary.kurtosis, summary.levels].append(part)
    found: list[list[Part]] = []
    for same in (group for group in groups.values() if len(group) > 1):
        first = evidence.entries(same[0])
        equal = [p for p in same[1:] if first.is_equal(evidence.entries(p))]
        found += [[same[0], *equal]] if equal else []
    copied = {part.kind for equal in found for part in equal}
    for equal in found:
        siblings = {part.kind for part in evidence.maps if part.stack == equal[0].stack}
        yield _copied(equal, siblings <= copied)


def _copied(equal: list[Part], whole: bool) -> Finding:
    """Return what to say of equal maps; ``whole``: where all other maps of their layers are too."""
    names = ", ".join(f"`{p.name}`" for p in equal[1:3])
    others = f"{names} and {len(equal) - 3} more" if len(equal) > 3 else names
    layers = {layer_of(p.parameter) for p in equal}
    if len({p.kind for p in equal}) == 1 and len(layers) == len(equal):
        said, remedy = _LAYERS if whole else _START
        return Finding(
            equal[0].name, "copies", "note", f"It is equal to {others}{said}", remedy,
            float(len(equal)),
        )  # fmt: skip
    rule: Rule = "experts" if "expert" in equal[0].kind else "copies"
    return Finding(
        equal[0].name, rule, "error",
        f"It is equal to {others}, entry by entry, within one layer or across unlike maps.",
        _REDRAW, float(len(equal)),
    )  # fmt: skip


def experts(evidence: Evidence) -> Iterator[Finding]:
    """Find an expert of a bank that is not as large as the others."""
    for part in (p for p in evidence.whole if p.bank):
        assert part.map is not None
        tensor = evidence.tensor(part)
        if not has_values(tensor):
            continue
        bank = bank_of(evidence.matrix(part), outputs(tensor, part.map))
        if bank is None:
            continue
        flat = dependent(evidence.matrix(part), len(bank.stds))  # named by `symmetry`
        for expert in (e for e in bank.odd if e not in flat):
            ratio = bank.stds[expert] / bank.middle
            yield Finding(
                f"{part.parameter}[{expert}]", "experts",
                "warning" if ratio == 0 or 1 / FAR < ratio < FAR else "error",
                f"Expert {expert} has {ratio:.3g} times the standard deviation of the others "
                f"({bank.middle:.3g}).",
                "Draw all experts of a bank by one rule.", ratio,
            )  # fmt: skip
