"""The study matrices: do products of random matrices follow the universal law, and at which rate?

No network: J = prod_l (1 + X_l) with independent X_l of five kinds of entries. The law is compared
at several c, and its distance followed in the width N and the depth L.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isometry.experiments.engine.runs import Outcome, Run, RunConfig
from isometry.experiments.parts.claims import Findings, Hypothesis, Reading
from isometry.experiments.parts.study import Study, register
from isometry.experiments.parts.tables import grouped, line_figure, slope
from isometry.plotting import figure_svg, plot_collapse
from isometry.report import Figure, Paragraph, Table
from isometry.theory.comparison import compare, ks_tolerance
from isometry.theory.ensembles import residual_product
from isometry.theory.laws.finite import FiniteDepthLaw
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.spectrum import Spectrum

TASK = "random-matrix"
NAME = "random matrices"
_KINDS = ("gaussian", "rademacher", "uniform", "student", "orthogonal")


def plan(
    *,
    cs: Sequence[float],
    entries: Sequence[str],
    width: int,
    depth: int,
    widths: Sequence[int],
    depths: Sequence[int],
    trend_width: int,
    seeds: int,
) -> list[RunConfig]:
    """List the runs: every c with every kind of entry, then the two trends at c = 1.

    Args:
        cs: Effective cumulants.
        entries: Kinds of entries, as in :func:`isometry.theory.ensembles.residual_product`.
        width: N of the first part.
        depth: L of the first part and of the trend in width.
        widths: N of the trend.
        depths: L of the trend, which has at least three.
        trend_width: N of the trend in depth.
        seeds: Draws of each.
    """
    cells = [(width, depth, c, kind) for c in cs for kind in entries]
    cells += [(n, depth, 1.0, "gaussian") for n in widths]
    cells += [(trend_width, n, 1.0, "gaussian") for n in depths]
    return [
        RunConfig(TASK, seed, {"width": n, "depth": layers, "c": c, "entries": kind})
        for n, layers, c, kind in dict.fromkeys(cells)
        for seed in range(seeds)
    ]


def draw(config: RunConfig, folder: Path) -> Outcome:  # noqa: ARG001
    """Draw one product and compare its spectrum with the laws.

    Args:
        config: Width, depth, c, entries.
        folder: Not used; the run is short.
    """
    width, depth, c, kind = (config.settings[k] for k in ("width", "depth", "c", "entries"))
    J = residual_product(width, depth, c=c, entries=kind, rng=config.rng())
    spectrum = Spectrum.from_matrix(J)
    found = compare(spectrum, UniversalLaw(c))
    nearer = min(compare(spectrum, UniversalLaw(c * factor)).ks for factor in (0.9, 1.1))
    log_lam = np.log(spectrum.values)
    results = {
        "ks": found.ks,
        "ks_finite_depth": compare(spectrum, FiniteDepthLaw.ginibre(np.full(depth, c / depth))).ks,
        "ks_wrong_c": nearer,
        "log_variance": float(log_lam.var()),
        "log_variance_law": UniversalLaw(c).log_variance(),
        "edges": list(found.measured_edges),
        "edges_law": list(found.edges),
        "outliers": len(found.outlier_lam),
    }
    return Outcome(results, arrays={"log_lam": log_lam})


def summarise(runs: Sequence[Run]) -> Findings:
    """Turn the runs into hypotheses, tables and figures.

    Args:
        runs: Finished runs of this study.
    """
    cells = grouped(runs, ("width", "depth", "c", "entries"), _averages)
    depth = max(row["depth"] for row in cells if row["c"] != 1.0)
    width = max(row["width"] for row in cells if row["c"] != 1.0)
    table = [row for row in cells if (row["width"], row["depth"]) == (width, depth)]
    at_one = [row for row in cells if row["c"] == 1.0 and row["entries"] == "gaussian"]
    by_width = [row for row in at_one if row["depth"] == depth]
    by_depth = _with_pooled_distance(_longest_trend(at_one), runs)
    law, moments, told = _law_hypotheses(table, width, depth)
    about = Paragraph(
        f"Products of {depth} matrices of size {width}; KS is the distance of the bulk, "
        "averaged over draws. A finite product is closer to the finite-depth law."
    )
    cells_table = Table(table, "Edges are of lam = s^2; the deviations are relative.")
    tables = [
        Table(by_width, "The width varies."),
        Table(by_depth, "The depth varies; pooled: all draws together, nothing left out."),
    ]
    return Findings(
        "Random matrices: one law whatever the entries",
        [
            Reading(law, [_collapse(runs, width, depth), distances(table, law[0].high), about]),
            Reading(moments, [deviations(table)]),
            Reading(told, [cells_table], {"law": table}),
            Reading(
                _rate_hypotheses(by_width, by_depth),
                [_trends(by_width, by_depth), *tables],
                {"width": by_width, "depth": by_depth},
            ),
        ],
    )


def distances(table: Sequence[Mapping[str, Any]], most: float | None) -> Figure:
    """Draw the distance to the law against c, a curve for every kind of entries.

    Args:
        table: Rows with "c", "entries" and "KS".
        most: The largest distance with which the claim passes.
    """
    curves = {
        kind: [(row["c"], row["KS"]) for row in table if row["entries"] == kind]
        for kind in sorted({row["entries"] for row in table})
    }
    caption = "Distance of the bulk to the universal law at every c, a curve per kind of entries."
    bounds = [] if most is None else [most]
    return line_figure(curves, "c", "mean KS to the law", caption, wanted=bounds)


def deviations(table: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw how far the variance and the edges are from the law's, the largest over all entries.

    Args:
        table: Rows with "c", "deviation" and "edge deviation".
    """
    curves = {
        name: [
            (c, max(abs(row[key]) for row in table if row["c"] == c))
            for c in sorted({row["c"] for row in table})
        ]
        for name, key in (("Var log lam", "deviation"), ("edges", "edge deviation"))
    }
    caption = "Largest deviation over the kinds of entries, of the variance and of both edges."
    return line_figure(curves, "c", "relative deviation from the law", caption)


def _trends(by_width: list[dict[str, Any]], by_depth: list[dict[str, Any]]) -> Figure:
    curves = {
        "to the finite-depth law, N varies": [(r["width"], r["KS finite depth"]) for r in by_width],
        "to the universal law, L varies": [(r["depth"], r["pooled KS"]) for r in by_depth],
        "between the two laws": [(r["depth"], r["KS of the two laws"]) for r in by_depth],
    }
    return line_figure(
        curves,
        "width N or depth L",
        "Kolmogorov-Smirnov distance",
        "Distance to the laws at c = 1 against N and L.",
    )


def _averages(runs: Sequence[Run]) -> dict[str, Any]:
    results = [run.results for run in runs]
    edges = np.log([r["edges"] for r in results]).mean(axis=0)
    law = np.log(results[0]["edges_law"])
    variance = float(np.mean([r["log_variance"] for r in results]))
    return {
        "KS": float(np.mean([r["ks"] for r in results])),
        "KS finite depth": float(np.mean([r["ks_finite_depth"] for r in results])),
        "nearer than c 10 % off": float(np.mean([r["ks"] < r["ks_wrong_c"] for r in results])),
        "Var log lam": variance,
        "deviation": variance / results[0]["log_variance_law"] - 1,
        "log lam_-": float(edges[0]),
        "log lam_+": float(edges[1]),
        "edge deviation": float(np.abs(edges / law - 1).max()),
        "draws": len(runs),
    }


def _longest_trend(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the width that has most depths."""
    widths = [row["width"] for row in rows]
    return [row for row in rows if row["width"] == max(widths, key=widths.count)]


def _with_pooled_distance(rows: list[dict[str, Any]], runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Add the distance of all draws together, and the exact one that a finite depth has."""
    law = UniversalLaw(1.0)
    lam = law.icdf(np.linspace(0.001, 0.999, 999))
    longer = []
    for row in rows:
        logs = [
            run.arrays()["log_lam"]
            for run in runs
            if all(run.config.settings[k] == row[k] for k in ("width", "depth", "c", "entries"))
        ]
        finite = FiniteDepthLaw.ginibre(np.full(row["depth"], 1 / row["depth"]))
        longer.append(
            row
            | {
                "pooled KS": compare(Spectrum(np.exp(np.concatenate(logs))), law).ks_all,
                "KS of the two laws": float(np.abs(finite.cdf(lam) - law.cdf(lam)).max()),
            }
        )
    return longer


def _law_hypotheses(
    table: list[dict[str, Any]], width: int, depth: int
) -> tuple[list[Hypothesis], list[Hypothesis], list[Hypothesis]]:
    """Return the claims on the whole spectrum, on its variance and edges, and on c."""
    tested = f"N = {width}, L = {depth}; {len(table)} pairs of c and entries"
    law = Hypothesis(
        NAME,
        "The spectrum follows the universal law for every c and every kind of entries "
        "(largest mean KS)",
        tested,
        max(row["KS"] for row in table),
        high=ks_tolerance(width) + 0.5 / depth,
        remark="Wanted: 6/N + 0.5/L.",
    )
    moments = [
        Hypothesis(
            NAME,
            "Var log lam = 2c + c^2/3 (largest relative deviation)",
            tested,
            max(abs(row["deviation"]) for row in table),
            high=10 / width + 1 / depth,
            remark="Wanted: 10/N + 1/L.",
        ),
        Hypothesis(
            NAME,
            "Both edges are where the law has them (largest relative deviation of log lam)",
            tested,
            max(row["edge deviation"] for row in table),
            high=3 * width ** (-2 / 3) + 1 / depth,
            remark="Wanted: 3 N^(-2/3) + 1/L, an edge's own fluctuation.",
        ),
    ]
    told = Hypothesis(
        NAME,
        "The distance tells c from a c that is 10 % off (fraction of draws nearer to c)",
        tested,
        float(np.average([r["nearer than c 10 % off"] for r in table])),
        low=0.9,
    )
    return [law], moments, [told]


def _rate_hypotheses(
    by_width: list[dict[str, Any]], by_depth: list[dict[str, Any]]
) -> list[Hypothesis]:
    widths, depths = [r["width"] for r in by_width], [r["depth"] for r in by_depth]
    shallow = [row for row in by_depth if row["depth"] <= 32]
    exact = slope([row["depth"] for row in shallow], [row["KS of the two laws"] for row in shallow])
    return [
        Hypothesis(
            NAME,
            "At fixed depth the distance to the finite-depth law falls like 1/N (exponent)",
            f"c = 1, Gaussian, N = {widths}",
            slope(widths, [row["KS finite depth"] for row in by_width]),
            low=-1.3,
            high=-0.7,
        ),
        Hypothesis(
            NAME,
            "At fixed width the distance to the universal law falls like 1/L (exponent)",
            f"c = 1, Gaussian, N = {by_depth[0]['width']}, all draws together, "
            f"L = {[row['depth'] for row in shallow]} of {depths}",
            slope([row["depth"] for row in shallow], [row["pooled KS"] for row in shallow]),
            low=-1.3,
            high=-0.7,
            remark=f"The finite-depth law itself has {_shown(exact)}; beyond, the distance is that "
            "of a finite width.",
        ),
    ]


def _shown(number: float | None) -> str:
    return "-" if number is None else f"{number:.2f}"


def _collapse(runs: Sequence[Run], width: int, depth: int) -> Figure:
    spectra = {
        run.config.settings["entries"]: Spectrum(np.exp(run.arrays()["log_lam"]))
        for run in runs
        if run.config.seed == 0
        and [run.config.settings[k] for k in ("c", "width", "depth")] == [1.0, width, depth]
    }
    svg = figure_svg(
        lambda figure: plot_collapse(figure.add_subplot(), spectra, UniversalLaw(1.0)), (7.0, 3.8)
    )
    return Figure(svg, f"{len(spectra)} kinds of entries at c = 1, and the law (thick).")


STUDY = register(
    Study(
        name="matrices",
        number=1,
        task=TASK,
        plan=lambda images, size: plan(**size),  # noqa: ARG005
        run=draw,
        summarise=lambda runs, size: summarise(runs),  # noqa: ARG005
        sizes={
            "smoke": {
                "cs": [1.0, 2.0], "entries": ["gaussian", "orthogonal"], "width": 50, "depth": 32,
                "widths": [25, 100], "depths": [2, 4, 8], "trend_width": 50, "seeds": 1,
            },
            "quick": {
                "cs": [0.25, 1.0, 2.0], "entries": _KINDS, "width": 150, "depth": 64,
                "widths": [50, 100, 200], "depths": [2, 4, 8, 16], "trend_width": 200, "seeds": 2,
            },
            "full": {
                "cs": [0.05, 0.25, 0.5, 1.0, 2.0, 4.0], "entries": _KINDS, "width": 300,
                "depth": 128, "widths": [50, 100, 200, 400, 1000],
                "depths": [2, 4, 8, 16, 32, 500], "trend_width": 1000, "seeds": 3,
            },
        },
    )
)  # fmt: skip
