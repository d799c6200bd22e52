"""The study spectra: at equal c, do the Jacobian spectra of all activations fall on one curve?

Networks at their initialisation, the Jacobian taken at real images. The bulk is compared with the
law of the common c, and the bulks with each other; outliers are reported apart.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isometry.experiments.engine.runs import Outcome, Run, RunConfig
from isometry.experiments.parts.claims import Findings, Hypothesis, Reading
from isometry.experiments.parts.classifiers import ACTIVATIONS, draw_trunk, inputs
from isometry.experiments.parts.rungs import scheme_sigma_w
from isometry.experiments.parts.study import Study, register
from isometry.experiments.parts.tables import grouped, line_figure
from isometry.nn.jacobian.jacobian import JacobianOperator
from isometry.nn.networks.resnet import ResNet
from isometry.nn.spectrum.spectrum import singular_spectrum
from isometry.plotting import figure_svg, plot_collapse
from isometry.report import Figure, Paragraph, Table
from isometry.theory.comparison import compare
from isometry.theory.laws.universal import UniversalLaw
from isometry.theory.prediction import predict_outliers
from isometry.theory.propagation import ResNetSpec, effective_cumulant
from isometry.theory.spectrum import Spectrum

TASK = "network-spectrum"
NAME = "network spectra"
_KEYS = ("images", "side", "sigma_b", "scheme", "activation")
_DISTANCES = {"equal c": "KS at common c", "equal sigma_w": "KS at own c"}
_IMAGES = 64  # read; the seed picks one of them


def plan(
    *,
    images: Sequence[str],
    activations: Sequence[str],
    networks: Sequence[Mapping[str, int]],
    sigma_bs: Sequence[float],
    c: float,
    seeds: int,
) -> list[RunConfig]:
    """List the runs: every activation at equal c and at equal sigma_w = 1, on every image set.

    Args:
        images: Image sets.
        activations: Names.
        networks: Width (entries or channels), depth and side (0 for a fully connected network).
        sigma_bs: Standard deviations of the biases.
        c: The common c.
        seeds: Networks and images of each.
    """
    return [
        RunConfig(
            TASK,
            seed,
            {
                "images": name,
                "limit": _IMAGES,
                "activation": phi,
                "scheme": scheme,
                "c": c,
                "sigma_w": scheme_sigma_w(
                    scheme, phi, depth=net["depth"], value=value, sigma_b=sigma_b
                ),
                "sigma_b": sigma_b,
                **net,
            },
        )
        for name in images
        for net in networks
        for sigma_b in sigma_bs
        for phi in activations
        for scheme, value in (("equal c", c), ("equal sigma_w", 1.0))
        for seed in range(seeds)
    ]


def measure(config: RunConfig, folder: Path) -> Outcome:  # noqa: ARG001
    """Draw one network, take its Jacobian at one image, compare the bulk with the law.

    Args:
        config: Settings as in :func:`plan`.
        folder: Not used; the run is short.
    """
    settings = config.settings
    x, _ = inputs(settings, dtype=torch.float64)
    image = x[config.seed % len(x)]
    # Weights of its own for every run: shared ones would bring the spectra together by themselves.
    seed = int(config.rng().integers(2**31))
    net = draw_trunk(settings, seed=seed, dtype=torch.float64)
    if isinstance(net, ResNet):
        spectrum = Spectrum.from_matrix(net.jacobian(image).numpy())
        measured = float(net.layer_cumulants(image).sum())
    else:
        spectrum = singular_spectrum(JacobianOperator(net, image[None]), method="dense")
        measured = None
    spec: ResNetSpec = net.spec
    c = effective_cumulant(spec)
    common, own = (compare(spectrum, UniversalLaw(value)) for value in (settings["c"], c))
    results = {
        "c": c,
        "c_measured": measured,
        "ks_common": common.ks,
        "ks_own": own.ks,
        "outliers_s": own.outlier_singular_values.tolist(),
        "outliers_predicted": predict_outliers(spec).tolist(),
        "edges": list(own.measured_edges),
    }
    bulk = np.log(spectrum.values[~np.isin(spectrum.values, own.outlier_lam)])
    return Outcome(results, arrays={"log_lam": np.log(spectrum.values), "bulk": bulk})


def summarise(runs: Sequence[Run]) -> Findings:
    """Turn the runs into hypotheses, tables and figures.

    Args:
        runs: Finished runs of this study.
    """
    cells = grouped(runs, _KEYS, _averages)
    pairs = _pairs(runs)
    closer = Hypothesis(
        NAME,
        "Spectra of different activations are much closer at equal c than at equal sigma_w "
        "(ratio of the mean pairwise KS)",
        f"{len(pairs)} groups of an image set, an architecture and a sigma_b",
        float(np.mean([r["equal c"] for r in pairs]) / np.mean([r["other"] for r in pairs])),
        high=0.25,
    )
    about = Paragraph(
        "KS is the distance of the bulk to the law at the common c, or at the network's "
        "own predicted c. Side 0 is the fully connected network; outliers are singular "
        "values s beyond the bulk, of which the law says nothing; the predicted ones "
        "are roots of (39) of docs/theory.md."
    )
    spectra = _figures(runs, runs[0].config.settings["c"])
    averages = Table(cells, "Averages over networks and images.")
    distances = Table(pairs, "Mean KS between the bulks of two activations.")
    return Findings(
        "Residual networks on images: one curve at equal c",
        [
            Reading(
                _one_law(runs, cells),
                [*spectra, law_distances(cells), about, averages],
                {"networks": cells},
            ),
            Reading([closer], [pair_distances(pairs), distances], {"pairs": pairs}),
        ],
    )


def law_distances(cells: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the largest distance to the law by activation, which the claims bound.

    Args:
        cells: Rows with "activation", "side", "scheme" and both distances.
    """
    names = list(dict.fromkeys(row["activation"] for row in cells))
    curves = {
        f"{_kind(side)}, {scheme}": [
            (place, _largest(cells, key, {"side": side, "scheme": scheme, "activation": phi}))
            for place, phi in enumerate(names)
        ]
        for side in sorted({row["side"] for row in cells})
        for scheme, key in _DISTANCES.items()
    }
    return line_figure(
        curves,
        "",
        "KS to the law",
        "Largest distance to the law over image sets, with and without bias: at equal c to the "
        "law at that c, at equal sigma_w to that at the network's own.",
        scales=("linear", "log"),
        ticks=names,
    )


def _largest(rows: Sequence[Mapping[str, Any]], key: str, where: Mapping[str, Any]) -> float:
    here = [row[key] for row in rows if all(row[k] == value for k, value in where.items())]
    return max(here, default=math.nan)


def pair_distances(pairs: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw how far two activations' spectra are apart, at equal c and at equal sigma_w.

    Args:
        pairs: Rows with "images", "side", "sigma_b", "equal c" and "other".
    """
    places = list(dict.fromkeys((row["images"], row["side"]) for row in pairs))
    curves = {
        f"{scheme}{', with bias' * bool(sigma_b)}": [
            (places.index((row["images"], row["side"])), row[key])
            for row in pairs
            if row["sigma_b"] == sigma_b
        ]
        for scheme, key in (("equal c", "equal c"), ("equal sigma_w", "other"))
        for sigma_b in sorted({row["sigma_b"] for row in pairs})
    }
    return line_figure(
        curves,
        "",
        "mean KS of two activations",
        "Mean distance between the bulks of two activations, group by group.",
        scales=("linear", "log"),
        ticks=[f"{images}, {_kind(side)}" for images, side in places],
    )


def _kind(side: int) -> str:
    return "convolutional" if side else "fully connected"


def _averages(runs: Sequence[Run]) -> dict[str, Any]:
    results = [run.results for run in runs]
    measured = [r["c_measured"] for r in results if r["c_measured"] is not None]
    largest = [max(r["outliers_s"], default=0.0) for r in results]
    return {
        "sigma_w": runs[0].config.settings["sigma_w"],
        "c": results[0]["c"],
        "c measured": float(np.mean(measured)) if measured else None,
        "KS at common c": float(np.mean([r["ks_common"] for r in results])),
        "KS at own c": float(np.mean([r["ks_own"] for r in results])),
        "largest outlier s": max(largest) or None,
        "predicted": max(results[0]["outliers_predicted"], default=None),
    }


def _one_law(runs: Sequence[Run], cells: list[dict[str, Any]]) -> list[Hypothesis]:
    found = []
    for side in sorted({row["side"] for row in cells}):
        here = [row for row in cells if row["side"] == side]
        settings = next(r.config.settings for r in runs if r.config.settings["side"] == side)
        fan_in = settings["width"] * (9 if side else 1)
        for scheme, key in _DISTANCES.items():
            rows = [row for row in here if row["scheme"] == scheme]
            found.append(
                Hypothesis(
                    NAME,
                    f"{_kind(side).capitalize()} networks at {scheme} follow the law at "
                    f"{'that' if scheme == 'equal c' else 'their own'} c (largest mean KS)",
                    f"{len(rows)} settings: activations, image sets, with and without bias",
                    max(row[key] for row in rows),
                    high=10 / fan_in + 1 / settings["depth"],
                    remark=f"Wanted: 10/n + 1/L with n = {fan_in} entries feeding one.",
                )
            )
    return found


def _pairs(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the mean KS between two activations' bulks, per group and scheme."""
    groups: dict[tuple[Any, ...], dict[str, list[Any]]] = {}
    for run in runs:
        settings = run.config.settings
        key = tuple(settings[name] for name in _KEYS[:3])
        bulk = run.arrays()["bulk"]
        groups.setdefault(key, {}).setdefault(settings["scheme"], []).append(
            (run.config.seed, bulk)
        )
    return [
        dict(zip(_KEYS[:3], key, strict=True))
        | {
            "equal c": _mean_distance(groups[key].get("equal c", [])),
            "other": _mean_distance(groups[key].get("equal sigma_w", [])),
        }
        for key in sorted(groups)
    ]


def _mean_distance(bulks: Sequence[tuple[int, Any]]) -> float:
    distances = [
        two_sample_ks(a, b) for (i, a), (j, b) in combinations(bulks, 2) if i == j
    ]  # fmt: skip
    return float(np.mean(distances)) if distances else 0.0


def two_sample_ks(a: Any, b: Any) -> float:
    """Return the largest difference of two samples' distribution functions.

    Args:
        a: Numbers in any order.
        b: Numbers in any order.
    """
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    first = np.searchsorted(a, both, side="right") / len(a)
    return float(np.abs(first - np.searchsorted(b, both, side="right") / len(b)).max())


def _figures(runs: Sequence[Run], c: float) -> list[Figure]:
    first = runs[0].config.settings
    figures = []
    for scheme in ("equal c", "equal sigma_w"):
        spectra = {
            run.config.settings["activation"]: Spectrum(np.exp(run.arrays()["log_lam"]))
            for run in runs
            if run.config.seed == 0
            and run.config.settings["scheme"] == scheme
            and all(run.config.settings[key] == first[key] for key in _KEYS[:3])
        }
        svg = figure_svg(
            lambda figure, spectra=spectra: plot_collapse(
                figure.add_subplot(), spectra, UniversalLaw(c)
            ),
            (7.0, 3.8),
        )
        figures.append(
            Figure(svg, f"Jacobian spectra at {scheme}; the thick curve is the law at c = {c:g}.")
        )
    return figures


STUDY = register(
    Study(
        name="spectra",
        number=3,
        task=TASK,
        plan=lambda images, size: plan(images=images, **size),
        run=measure,
        summarise=lambda runs, size: summarise(runs),  # noqa: ARG005
        sizes={
            "smoke": {
                "activations": ["relu", "tanh"],
                "networks": [{"width": 64, "depth": 20, "side": 0}],
                "sigma_bs": [0.0], "c": 1.0, "seeds": 1,
            },
            "quick": {
                "activations": ACTIVATIONS,
                "networks": [{"width": 150, "depth": 40, "side": 0}],
                "sigma_bs": [0.0], "c": 1.0, "seeds": 1,
            },
            "full": {
                "activations": (*ACTIVATIONS, "linear", "erf"),
                "networks": [
                    {"width": 400, "depth": 60, "side": 0}, {"width": 16, "depth": 30, "side": 6},
                ],
                "sigma_bs": [0.0, 0.05**0.5], "c": 1.0, "seeds": 3,
            },
        },
    )
)  # fmt: skip
