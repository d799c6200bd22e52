"""How large the studies are: a smoke of a minute, a quick profile, the full one.

Every number here is our own choice; the paper's settings are not known to this project.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from isometry._checks import suggest
from isometry.experiments.engine.runs import Run, RunConfig
from isometry.experiments.parts.claims import Findings
from isometry.experiments.studies import (
    confounder,
    confounder_report,
    cumulants,
    learning,
    network_spectra,
    random_matrices,
)

STUDIES = ("matrices", "cumulants", "spectra", "learning", "training", "convolution")
ACTIVATIONS = (
    "relu", "leaky_relu(0.1)", "elu", "selu", "gelu", "silu", "softplus", "sigmoid", "tanh",
    "hardtanh",
)  # fmt: skip
_KINDS = ("gaussian", "rademacher", "uniform", "student", "orthogonal")


@dataclass(frozen=True)
class Study:
    """A study at one size.

    Attributes:
        name: One of :data:`STUDIES`.
        configs: Its runs.
        summarise: From finished runs to findings.
    """

    name: str
    configs: Sequence[RunConfig]
    summarise: Callable[[Sequence[Run]], Findings]


def studies(
    profile: str, images: Sequence[str], *, only: Sequence[str] = (), limit: int | None = None
) -> list[Study]:
    """Return the studies of a profile, ready to run.

    Args:
        profile: "smoke", "quick" or "full".
        images: Image sets for the spectra; the first one is also trained on.
        only: Names of studies; all without.
        limit: Training images, instead of the profile's number.

    Raises:
        ValueError: If the profile or a study is unknown, or ``images`` is empty.
    """
    sizes = PROFILES.get(profile)
    if sizes is None:
        known = ", ".join(map(repr, PROFILES))
        raise ValueError(
            f"`profile` is {profile!r}; expected one of {known}.{suggest(profile, PROFILES)}"
        )
    unknown = [name for name in only if name not in STUDIES]
    if unknown:
        raise ValueError(
            f"`studies` has {unknown[0]!r}; expected {', '.join(map(repr, STUDIES))}."
            f"{suggest(unknown[0], STUDIES)}"
        )
    if not images:
        raise ValueError("`images` is empty; expected at least one image set, such as 'digits'.")
    return [_study(name, sizes, images, limit) for name in STUDIES if not only or name in only]


def _study(
    name: str, sizes: Mapping[str, dict[str, Any]], images: Sequence[str], limit: int | None
) -> Study:
    size = dict(sizes[name])
    if name == "matrices":
        return Study(name, random_matrices.plan(**size), random_matrices.summarise)
    if name == "cumulants":
        return Study(name, cumulants.plan(**size), cumulants.summarise)
    if name == "spectra":
        configs = network_spectra.plan(images=images, **size)
        return Study(name, configs, network_spectra.summarise)
    size["limit"] = limit or size["limit"]
    if name == "learning":
        return Study(name, learning.plan(images=images[0], **size), learning.summarise)
    levels = size.pop("levels")
    configs = confounder.plan(images=images[0], **size)
    title = "training" if name == "training" else "convolutional training"
    return Study(
        name,
        configs,
        partial(confounder_report.summarise, levels=levels, c=size.get("c", 1.0), name=title),
    )


def _training(steps: int, learning_rate: float, batch: int = 64) -> dict[str, Any]:
    return {
        "steps": steps,
        "batch": batch,
        "learning_rate": learning_rate,
        "evaluate_every": 10 if steps >= 200 else 5,
    }


_DENSE = {"width": 256, "depth": 20, "side": 0}
_CONV = {"width": 12, "depth": 10, "side": 8}

PROFILES: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {
        "matrices": {
            "cs": [1.0, 2.0], "entries": ["gaussian", "orthogonal"], "width": 50, "depth": 32,
            "widths": [25, 100], "depths": [2, 4, 8], "trend_width": 50, "seeds": 1,
        },
        "cumulants": {
            "widths": [50, 100], "depth": 20, "sigma_ws": [1.0], "sigma_bs": [0.0], "seeds": 1,
        },
        "spectra": {
            "activations": ["relu", "tanh"], "networks": [{"width": 64, "depth": 20, "side": 0}],
            "sigma_bs": [0.0], "c": 1.0, "seeds": 1,
        },
        "learning": {
            "limit": 300, "activations": ["tanh"], "network": {"width": 64, "depth": 8},
            "training": _training(5, 0.03), "at": [0, 1, 5], "c": 1.0, "seeds": 1,
        },
        "training": {
            "limit": 300, "activations": ["relu", "tanh"],
            "network": {"width": 64, "depth": 8, "side": 0}, "training": _training(20, 0.05),
            "seeds": 1, "levels": [1.7, 1.5, 1.3], "sweep_activations": ["relu"],
            "sweep_cs": [0.1, 1.0], "sweep_seeds": 1,
        },
        "convolution": {
            "limit": 300, "activations": ["relu", "tanh"],
            "network": {"width": 4, "depth": 4, "side": 4}, "training": _training(10, 0.05),
            "seeds": 1, "levels": [2.1, 2.0, 1.9],
        },
    },
    "quick": {
        "matrices": {
            "cs": [0.25, 1.0, 2.0], "entries": _KINDS, "width": 150, "depth": 64,
            "widths": [50, 100, 200], "depths": [2, 4, 8, 16], "trend_width": 200, "seeds": 2,
        },
        "cumulants": {
            "widths": [50, 100, 200], "depth": 30, "sigma_ws": [1.0], "sigma_bs": [0.0], "seeds": 2,
        },
        "spectra": {
            "activations": ACTIVATIONS,
            "networks": [{"width": 150, "depth": 40, "side": 0}],
            "sigma_bs": [0.0], "c": 1.0, "seeds": 1,
        },
        "learning": {
            "limit": 1000, "activations": ["relu", "tanh"], "network": {"width": 64, "depth": 12},
            "training": _training(100, 0.03), "at": [0, 1, 10, 100], "c": 1.0, "seeds": 1,
        },
        "training": {
            "limit": 1000, "activations": ACTIVATIONS,
            "network": {"width": 64, "depth": 12, "side": 0}, "training": _training(120, 0.03),
            "seeds": 2, "levels": [1.5, 1.25, 1.0],
            "sweep_activations": ["relu", "tanh"],
            "sweep_cs": [0.01, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0], "sweep_seeds": 1,
        },
        "convolution": {
            "limit": 1000, "activations": ["relu", "tanh", "gelu"],
            "network": {"width": 8, "depth": 6, "side": 8}, "training": _training(60, 0.03),
            "seeds": 1, "levels": [1.75, 1.5, 1.25],
        },
    },
    "full": {
        "matrices": {
            "cs": [0.05, 0.25, 0.5, 1.0, 2.0, 4.0], "entries": _KINDS, "width": 300, "depth": 128,
            "widths": [50, 100, 200, 400, 1000], "depths": [2, 4, 8, 16, 32, 500],
            "trend_width": 1000, "seeds": 3,
        },
        "cumulants": {
            "widths": [50, 100, 200, 400], "depth": 50, "sigma_ws": [0.5, 1.0, 2.0],
            "sigma_bs": [0.0, 0.05**0.5], "seeds": 3,
        },
        "spectra": {
            "activations": (*ACTIVATIONS, "linear", "erf"),
            "networks": [
                {"width": 400, "depth": 60, "side": 0}, {"width": 16, "depth": 30, "side": 6},
            ],
            "sigma_bs": [0.0, 0.05**0.5], "c": 1.0, "seeds": 3,
        },
        "learning": {
            "limit": 10000, "activations": ["relu", "tanh", "gelu"], "network": _DENSE,
            "training": _training(3000, 0.03), "at": [0, 1, 10, 100, 1000, 3000], "c": 1.0,
            "seeds": 3,
        },
        "training": {
            "limit": 10000, "activations": ACTIVATIONS, "network": _DENSE,
            "training": _training(800, 0.03), "seeds": 3,
            "levels": [2.2, 2.1, 2.0, 1.9, 1.8],
            "shared_sigma_ws": [2.0, 4.0], "sweep_activations": ["relu", "tanh", "gelu"],
            "sweep_cs": [0.01, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0], "sweep_seeds": 3,
        },
        "convolution": {
            "limit": 10000,
            "activations": ["relu", "elu", "selu", "gelu", "silu", "softplus", "sigmoid", "tanh"],
            "network": _CONV, "training": _training(300, 0.03), "seeds": 3,
            "levels": [2.0, 1.9, 1.8, 1.7, 1.6],
        },
    },
}  # fmt: skip
"""From a profile to the sizes of its studies."""
