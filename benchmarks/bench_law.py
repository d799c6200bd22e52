"""The universal law on a million points: pdf, cdf and icdf against np.exp and root finding.

Prints JSON. Every ratio is of minimal times, measured in alternation in one run. The
root finder is scipy.optimize.brentq on the same closed curve, on fewer points.

    python benchmarks/bench_law.py [--quick]
"""

import argparse
import math
import time

import numpy as np
from scipy import optimize

from _common import alternate, machine, ratios, show
from isometry.theory.laws import UniversalLaw
from isometry.theory.laws.universal import _shape


def curve(theta: float, c: float) -> float:
    eta2 = (c - theta * math.tan(theta / 2)) * (c + theta / math.tan(theta / 2))
    eta = math.sqrt(max(eta2, 0.0))
    return eta + math.asinh(eta * math.sin(theta) / theta)


def density_by_roots(lam: np.ndarray, c: float) -> np.ndarray:
    """Solve |log lam| = curve(theta) point by point."""
    top = optimize.brentq(lambda x: x * math.sin(x / 2) - c * math.cos(x / 2), 0.0, math.pi)
    out = np.empty_like(lam)
    for i, x in enumerate(lam):
        t = abs(math.log(x))
        theta = optimize.brentq(lambda y: curve(y, c) - t, 1e-9, top, xtol=1e-13)  # noqa: B023
        out[i] = theta / (2 * math.pi * c * x)
    return out


def measure(points: int, solved: int, *, c: float, repeats: int) -> dict:
    law, rng = UniversalLaw(c), np.random.default_rng(0)
    p = rng.random(points)
    lam = law.icdf(p)
    few = lam[:solved]
    error = np.max(np.abs(density_by_roots(few, c) / law.pdf(few) - 1))
    jobs = {
        "exp": lambda: np.exp(lam),
        "pdf": lambda: law.pdf(lam),
        "cdf": lambda: law.cdf(lam),
        "icdf": lambda: law.icdf(p),
        "brentq": lambda: density_by_roots(few, c),
    }
    times = alternate(jobs, repeats=repeats)
    start = time.perf_counter()
    _shape.__wrapped__(c)
    per_point = times["brentq"]["min_s"] / solved
    return {
        "c": c,
        "points": points,
        "points_brentq": solved,
        "times": times,
        "over_exp": {k: v for k, v in ratios(times, floor="exp").items() if k != "brentq"},
        "brentq_over_pdf_per_point": round(per_point / (times["pdf"]["min_s"] / points), 1),
        "brentq_over_cdf_per_point": round(per_point / (times["cdf"]["min_s"] / points), 1),
        "icdf_over_cdf": round(times["icdf"]["min_s"] / times["cdf"]["min_s"], 3),
        "table_built_cold_s": time.perf_counter() - start,
        "largest_relative_gap_to_brentq": float(error),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer points and repeats")
    quick = parser.parse_args(arguments).quick
    points, solved, repeats = (20_000, 50, 1) if quick else (1_000_000, 2_000, 9)
    results = [measure(points, solved, c=c, repeats=repeats) for c in (0.01, 1.0)]
    show({"benchmark": "law", "machine": machine(), "results": results})


if __name__ == "__main__":
    main()
