"""What the numbers of a diagnosis mean, in sentences. No torch and no measurement here."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from isometry._typing import Float
from isometry.theory.comparison import Comparison, ks_tolerance
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.spectrum import Spectrum

TRIVIAL, NEAR, FAR = 1e-3, 1.5, 3.0
"""The c below which blocks hardly act, up to which isometry is near, and from which it is far."""


def level(c: float, spread: float) -> str:
    """Say how far from isometry a network is, from c and the measured s_max / s_min."""
    predicted = UniversalLaw(c).condition_number()
    spans = f"the singular values of the bulk span a factor {predicted:.3g} in theory"
    spans += f", {spread:.3g} measured" if math.isfinite(spread) else ""
    if c < TRIVIAL:
        return f"Almost the identity map: c = {c:.3g}, {spans}; the blocks hardly act yet."
    if c <= NEAR:
        return f"Near dynamical isometry: c = {c:.3g}, {spans}."
    if c < FAR:
        return f"Some way from isometry: c = {c:.3g}, {spans}."
    return (
        f"Far from isometry: c = {c:.3g}, {spans}. Multiplying the last layer of every branch by "
        f"about {1 / math.sqrt(c):.2g} brings c near 1, and so does "
        "`isometry.nn.residual_(model, x, c=1.0)`."
    )


def heavy_blocks(shares: Mapping[str, float]) -> list[str]:
    """Name the blocks that carry far more than their even part of c."""
    even = 1 / max(len(shares), 1)
    heavy = {n: s for n, s in shares.items() if s > 3 * even and s > 0.05 and len(shares) > 2}
    top = sorted(heavy, key=lambda name: -heavy[name])[:3]
    return [
        f"Block `{name}` alone carries {heavy[name]:.0%} of c, {heavy[name] / even:.3g} times "
        "its even share."
        for name in top
    ]


def agreement(comparison: Comparison, spectrum: Spectrum) -> str:
    """Say whether the bulk follows the law, given what chance and the method allow."""
    allowed = ks_tolerance(spectrum.dimension) + comparison.resolution
    if spectrum.standard_error is not None:
        allowed += 3 * float(spectrum.standard_error.max())
    ks = comparison.ks
    allowed = max(0.02, allowed)
    distance = f"Kolmogorov-Smirnov distance {ks:.3f}, allowed {allowed:.3f} at this size"
    if ks <= allowed:
        return f"The law describes the bulk: {distance}."
    words = "roughly describes" if ks <= 0.1 else "does not describe"
    return (
        f"The law {words} the bulk: {distance}. The blocks are not small and free of each other: "
        "few positions, averaging over them, shared or trained weights, or a few large blocks "
        "do that."
    )


def left_bulk(comparison: Comparison) -> Float[np.ndarray, "k"]:
    """Return the outliers as singular values, without the zeros, which are told apart."""
    return np.sqrt(comparison.outliers[comparison.outliers > 0])


def outliers(comparison: Comparison, direction: str) -> list[str]:
    """Count the singular values that left the bulk, and say what feeds the largest."""
    edge = math.sqrt(comparison.edges[1])
    s = left_bulk(comparison)
    above, below = s[s > edge], s[s <= edge]
    said = []
    if len(above):
        many = "One outlier" if len(above) == 1 else f"{len(above)} outliers, the largest"
        far = above[-1] / edge
        beyond = f"{far:.3g} edges" if far >= 1.1 else f"{far - 1:.1%} beyond the edge"
        said.append(f"{many} at s = {above[-1]:.4g} = {beyond}{direction}.")
    if len(below):
        many = "One singular value" if len(below) == 1 else f"{len(below)} singular values"
        said.append(f"{many} below the bulk, the smallest at s = {below[0]:.2g}.")
    return said


def direction(whole: float, along: Mapping[int, float], shape: Sequence[int]) -> str:
    """Say what an outlier's output direction has in common, from its constant parts."""
    if whole > 0.5:
        return ": the mean direction of a non-odd activation"
    axis = max(along, key=lambda i: along[i], default=None)
    if axis is not None and along[axis] > 0.5:
        return (
            f": {along[axis]:.0%} of its direction is the same at all {shape[axis]} places of axis "
            f"{axis}, so averaging over that axis feeds it"
        )
    return ""


def vanishing(weight: float, dtype: str) -> list[str]:
    """Say how much of the spectrum is zero."""
    if weight <= 0:
        return []
    return [
        f"{weight:.2%} of the singular values are 0 to {dtype} precision: directions that "
        "nothing behind them sees."
    ]


def unpredicted(spectrum: Spectrum, total: float) -> list[str]:
    """Describe a spectrum that no law is compared with."""
    if spectrum.values[-1] <= 0:
        return ["The Jacobian is 0: the output does not change with the input at this point."]
    s = np.sqrt(spectrum.icdf(np.array([0.01, 0.5, 0.99])))
    said = f"Singular values: 1 % below {s[0]:.3g}, median {s[1]:.3g}, 1 % above {s[2]:.3g}."
    summed = f"The blocks' c add up to {total:.3g}, stages and all." if total > 0 else ""
    return [said, summed] if summed else [said]
