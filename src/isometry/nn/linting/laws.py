"""Rules about kinds of maps against one another: who breaks the law, who scales by depth."""

from collections.abc import Iterator, Sequence

from isometry.nn.linting.evidence import Evidence
from isometry.nn.linting.factors import depth_factors, fan_factors, named_factor
from isometry.nn.linting.finding import Finding
from isometry.nn.linting.fits import Fit, close, counted
from isometry.nn.linting.kinds import Kind
from isometry.nn.linting.scales import FAR

_NEAR = 1.1
"""Ratio up to which a misfit is left to golden files."""


def laws(evidence: Evidence) -> Iterator[Finding]:
    """Find maps that break the law that the others follow, and say how depth is scaled."""
    fit = None if evidence.trained else evidence.fit
    if fit is None:
        return
    for kind in fit.misfits:
        yield from _allowed(evidence, fit, kind) or _misfit(fit, kind)
    yield from _depth_notes(evidence, fit)


def _allowed(evidence: Evidence, fit: Fit, kind: Kind) -> list[Finding]:
    """Return a note where a kind that breaks the law follows a known rule of its own."""
    described = kind.part.map
    assert described is not None
    ratio = kind.std / fit.expected(kind)
    twins = [o for o in fit.misfits if o.part.attention in ("query", "key") and o is not kind]
    # DeepNet scales values and outputs; where the values break the law as well, all of it is wrong
    values = [o for o in fit.misfits if o.part.attention == "value"]
    values = [o for o in values if close(o.std / fit.expected(o), ratio, o, kind)]
    alike = not values and twins
    alike = alike and all(close(o.std / fit.expected(o), ratio, o, kind) for o in twins)
    if alike and kind.part.attention in ("query", "key"):
        said = f"Queries and keys share a factor of {ratio:.3g} over the other maps' law."
        return [Finding(kind.part.name, "fan", "note", said, "Right in DeepNet.", ratio)]
    fan_in, fan_out = described.fan_in, described.fan_out
    torchs = evidence.default_fan(kind.part)
    own = {"Xavier's": (2 / (fan_in + fan_out)) ** 0.5, "torch's default": (3 * torchs) ** -0.5}
    apart = described.kernel and not any(o.part.map and o.part.map.kernel for o in fit.fitting)
    he = {"fan_in": (2 / fan_in) ** 0.5, "fan_out": (2 / fan_out) ** 0.5}
    for fan, std in he.items() if apart else ():  # many draw linear maps and convolutions by class
        if close(kind.std, std, kind):
            said = (
                f"Its kernel follows He's rule, sqrt(2 / {fan}) = {std:.3g}, and linear maps not."
            )
            return [Finding(kind.part.name, "fan", "note", said, "", ratio)]
    uniform = evidence.summaries[kind.part.name].shape_of_entries == "uniform"
    for name, std in own.items():
        if uniform and close(kind.std, std, kind):
            said = f"It follows {name} rule, std = {std:.3g}, and the other maps another law."
            return [Finding(kind.part.name, "fan", "note", said, "", ratio)]
    return []


def _misfit(fit: Fit, kind: Kind) -> Iterator[Finding]:
    expected = fit.expected(kind)
    ratio = kind.std / expected
    if 1 / _NEAR < ratio < _NEAR:
        return
    peers = [other for other in fit.fitting if _does(other) == _does(kind)]
    known = depth_factors(*counted(fit.fitting))
    for peer in peers:
        known |= fan_factors(kind.part.fans, peer.part.fans)
    named = named_factor(ratio, known)
    lacks = kind in fit.unscaled
    others = ", ".join(f"`{peer.name}`" for peer in (peers or list(fit.fitting))[:3])
    name, value = fit.depth.get(kind.part.stack, ("", 1.0))
    scaled = f", times {name} = {value:.3g}" if kind.part.role == "writer" and value != 1 else ""
    why = (
        f"It writes the stream without the depth scaling {fit.depth[kind.part.stack][0]} that "
        f"{others} has" if lacks else
        f"{_does(kind)}, and {others} follow std = {fit.law} with k = {fit.k:.3g}{scaled}"
    )  # fmt: skip
    rule = "depth" if lacks else ("role-scale" if _same_shape(kind, peers) else "fan")
    for part, std in zip(kind.parts, kind.stds, strict=True):
        yield Finding(
            part.name, rule, "error" if not 1 / FAR < ratio < FAR else "warning",
            f"Its standard deviation of {std:.3g} is {ratio:.3g} times the {expected:.3g} "
            f"expected{named}: {why}.",
            "Draw it by the rule of its role, with its own fan.", ratio,
        )  # fmt: skip


def _does(kind: Kind) -> str:
    words = {"writer": "It writes the stream", "inner": "It lies inside a branch"}
    return words.get(kind.part.role, "It reads the stream")


def _same_shape(kind: Kind, peers: Sequence[Kind]) -> bool:
    return any(peer.part.shape == kind.part.shape for peer in peers)


def _depth_notes(evidence: Evidence, fit: Fit) -> Iterator[Finding]:
    for kind in fit.fitting:
        part = kind.part
        if part.role != "writer" or fit.depth[part.stack][1] != 1 or len(kind.parts) < 2:
            continue
        layers, _ = counted([kind])
        yield Finding(
            part.name, "depth", "note",
            f"It writes the stream in {layers} layers without depth scaling, as large as maps "
            "that read the stream.",
            "A choice; GPT-2 and others divide such maps by sqrt(2L). Pass `recipe=` to check it.",
            1.0,
        )  # fmt: skip
    for kind in evidence.kinds:
        if kind.slope is not None:
            yield Finding(
                kind.part.name, "depth", "note",
                f"Its standard deviation follows (layer + 1)^{kind.slope:.2f} over "
                f"{len(kind.parts)} layers.",
                "Right where the rule for depth goes by the layer's number.", kind.slope,
            )  # fmt: skip
