"""Which law std = k fan_in^a fan_out^b the maps of a model follow, and which of them break it.

Maps that read the stream or lie inside a branch follow one law; maps that write it the same one
times a factor for depth. A law is accepted only where few kinds break it: then those that do
contradict the rest of the model. Where no law fits most kinds nothing is said.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from isometry.nn.linting.factors import depth_factors
from isometry.nn.linting.kinds import Kind

Law = Callable[[int, int], float]
LAWS: dict[str, Law] = {
    "k": lambda _i, _o: 1.0,
    "k / sqrt(fan_in)": lambda i, _o: i**-0.5,
    "k / sqrt(fan_in + fan_out)": lambda i, o: (i + o) ** -0.5,
    "k / sqrt(fan_out)": lambda _i, o: o**-0.5,
    "k / sqrt(max(fan_in, fan_out))": lambda i, o: max(i, o) ** -0.5,
}
"""Standard deviations by fan_in and fan_out, up to a factor; the simplest first."""

_COMMON = "a common factor"
_INTERIOR = ("reader", "gate", "inner")
_TOLERANCE = 0.04
"""Difference of log(std) that is none, beside six standard errors."""
MISFITS = 0.3
"""Share of the kinds that may break a law which the others are held to."""


@dataclass(frozen=True)
class Fit:
    """A law with its constant, and what it leaves unexplained."""

    law: str
    k: float
    depth: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Stack -> (name, value) of the factor for depth of the maps that write the stream."""
    fitting: tuple[Kind, ...] = ()
    misfits: tuple[Kind, ...] = ()
    unscaled: tuple[Kind, ...] = ()
    """Among the misfits: maps that write the stream and lack the factor that others carry."""

    def expected(self, kind: Kind) -> float:
        """Return the standard deviation that the law gives a kind."""
        value = self.k * LAWS[self.law](*kind.part.fans)
        if kind.part.role == "writer":
            value *= self.depth.get(kind.part.stack, ("", 1.0))[1]
        return value

    @property
    def is_named(self) -> bool:
        """Whether no factor for depth is one that the maps merely share."""
        return not any(name.startswith(_COMMON) for name, _ in self.depth.values())

    @property
    def words(self) -> str:
        """The law in a sentence."""
        return (
            f"Law: std = {self.formula}, followed by {len(self.fitting)} of "
            f"{len(self.fitting) + len(self.misfits)} kinds of maps"
        )

    @cached_property
    def formula(self) -> str:
        """The law with its constant and its factor for depth."""
        factors = {
            name if name.startswith(_COMMON) else f"{name} = {value:.3g}"
            for name, value in self.depth.values()
            if value != 1
        }
        scaled = (
            f", times {' or '.join(sorted(factors))} where the stream is written" if factors else ""
        )
        return self.law.replace("k", f"{self.k:.3g}", 1) + scaled


def best_fit(kinds: Sequence[Kind]) -> Fit | None:
    """Return the law that most kinds follow, if few enough break it."""
    interior = [kind for kind in kinds if kind.part.role in _INTERIOR and _is_even(kind)]
    writers = [kind for kind in kinds if kind.part.role == "writer" and _is_even(kind)]
    if not interior:
        return None
    fits = [_fit(law, centre, interior, writers) for law in LAWS for centre in interior]
    order = list(LAWS)
    best = min(
        fits, key=lambda fit: (len(tensors(fit.misfits)), not fit.is_named, order.index(fit.law))
    )
    wrong, right = tensors(best.misfits), tensors(best.fitting)
    allowed = max(1, int(MISFITS * len(wrong | right)))
    inside, outside = (
        tensors([k for k in group if k.part.role != "writer"])
        for group in (best.fitting, best.misfits)
    )
    settled = len(inside) > len(outside) or (len(inside) == len(outside) and best.is_named)
    return best if settled and len(wrong) <= allowed and len(right) >= 3 else None


def tensors(kinds: Sequence[Kind]) -> set[str]:
    """Return the tensors: the parts of a fused one, drawn at once, confirm no law but one."""
    return {kind.part.kind for kind in kinds}


def _is_even(kind: Kind) -> bool:
    """Return whether it is in several layers, which draw alike."""
    if len(kind.parts) < 2:
        return False
    return kind.slope is None and max(map(abs, kind.ratios)) < max(0.05, 6 * kind.own_error)


def close(one: float, other: float, *kinds: Kind) -> bool:
    """Return whether two standard deviations are one, given the errors of the kinds."""
    error = math.sqrt(math.fsum(kind.standard_error**2 for kind in kinds))
    return abs(math.log(one / other)) <= max(_TOLERANCE, 6 * error)


def _fit(law: str, centre: Kind, interior: Sequence[Kind], writers: Sequence[Kind]) -> Fit:
    k = centre.std / LAWS[law](*centre.part.fans)
    fitting = [kind for kind in interior if _follows(kind, law, k, centre)]
    misfits = [kind for kind in interior if kind not in fitting]
    depth, unscaled = {}, []
    for stack, own in _by_stack(writers).items():
        factor, right, lacking = _depth(own, law, k, centre)
        depth[stack] = factor
        fitting += right
        misfits += [kind for kind in own if kind not in right]
        unscaled += lacking
    return Fit(law, k, depth, tuple(fitting), tuple(misfits), tuple(unscaled))


def _by_stack(writers: Sequence[Kind]) -> dict[str, list[Kind]]:
    found: dict[str, list[Kind]] = defaultdict(list)
    for kind in writers:
        found[kind.part.stack].append(kind)
    return found


def _follows(kind: Kind, law: str, k: float, centre: Kind) -> bool:
    """Return whether a kind follows a law; queries and keys may carry 1/sqrt of a head's size."""
    for fans in fans_of(kind):
        ratio = kind.std / (k * LAWS[law](*fans))
        if close(ratio, 1.0, kind, centre):
            return True
        if kind.part.attention in ("query", "key") and ratio < 1:
            size = round(ratio**-2)
            if (
                size > 1
                and kind.part.shape[0] % size == 0
                and close(ratio, size**-0.5, kind, centre)
            ):
                return True
    return False


def fans_of(kind: Kind) -> tuple[tuple[int, int], ...]:
    """Return the fans of a part, and those of the whole fused tensor, which is drawn at once.

    What is no map has none, and no law of fans.
    """
    described = kind.part.map
    if described is None:
        return ((1, 1),)
    return tuple(dict.fromkeys([kind.part.fans, (described.fan_in, described.fan_out)]))


def _depth(
    writers: Sequence[Kind], law: str, k: float, centre: Kind
) -> tuple[tuple[str, float], list[Kind], list[Kind]]:
    """Return the factor of the maps that write one stack's stream, who has it and who lacks it."""
    pairs = [(kind.std / (k * LAWS[law](*kind.part.fans)), kind) for kind in writers]
    plain = _sharing(pairs, 1.0, centre)
    options = [(("none", 1.0), plain)]
    for name, value in depth_factors(*counted(writers)).items():
        options.append(((name, value), _sharing(pairs, value, centre)))
    for ratio, _ in pairs:
        shared = _sharing(pairs, ratio, centre)
        options.append(((f"{_COMMON} {ratio:.3g}", ratio), shared if len(shared) > 1 else []))
    most = max(len(right) for _, right in options)
    best = [option for option in options if len(option[1]) == most]
    # where as many are scaled as are not, a factor with a name is no accident: the others lack it
    scaled = [o for o in best if o[0][1] != 1 and not o[0][0].startswith(_COMMON) and o[1] != plain]
    factor, right = (scaled or best)[0]
    return factor, right, plain if factor[1] != 1 else []


def _sharing(pairs: Sequence[tuple[float, Kind]], value: float, centre: Kind) -> list[Kind]:
    return [kind for ratio, kind in pairs if close(ratio, value, kind, centre)]


def counted(writers: Sequence[Kind]) -> tuple[int, int]:
    """Return the layers of a stack, and how many maps write its stream."""
    layers = {n for kind in writers for n in kind.layers}
    branches = {(kind.name, n) for kind in writers for n in kind.layers}
    return max(len(layers), 1), max(len(branches), 1)
