"""One bracketed root, without the third of a second that importing scipy.optimize takes."""

from collections.abc import Callable

_STEPS = 2200  # bisection alone crosses float64's whole range in fewer


def bracketed_root(
    f: Callable[[float], float], low: float, high: float, *, xtol: float = 0.0
) -> float:
    """Return a root of ``f`` between two points of opposite sign.

    Inverse quadratic interpolation where it is safe, bisection elsewhere: the algorithm of
    Chandrupatla (1997), Advances in Engineering Software 28, 145-149.

    Args:
        f: A continuous function.
        low: One end of the bracket.
        high: The other.
        xtol: Absolute width at which to stop; never finer than four units in the last place.

    Returns:
        The end of the last bracket with the smaller residual.

    Raises:
        ValueError: If ``f`` has the same sign at both ends.
    """
    a, b = low, high
    fa, fb = f(a), f(b)
    if fa == 0.0 or fb == 0.0:
        return a if fa == 0.0 else b
    if (fa > 0) == (fb > 0):
        raise ValueError(f"`f` is {fa:g} at {a:g} and {fb:g} at {b:g}; expected opposite signs.")
    c, fc, t, best = a, fa, 0.5, a
    for _ in range(_STEPS):
        x = a + t * (b - a)
        fx = f(x)
        if (fx > 0) == (fa > 0):
            c, fc = a, fa
        else:
            c, b, fc, fb = b, a, fb, fa
        a, fa = x, fx
        best, residual = (a, fa) if abs(fa) < abs(fb) else (b, fb)
        finest = (8.9e-16 * abs(best) + 0.5 * xtol) / abs(b - a) if b != a else 1.0
        if residual == 0.0 or finest > 0.5:
            return best
        t = min(max(_step(a, b, c, fa, fb, fc), finest), 1.0 - finest)
    return best


def _step(a: float, b: float, c: float, fa: float, fb: float, fc: float) -> float:
    """Return the next fraction of the way from a to b."""
    xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
    if not phi * phi < xi or not (1 - phi) ** 2 < 1 - xi:
        return 0.5
    return fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
