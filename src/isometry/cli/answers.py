"""What the commands that compute a few numbers print with ``--json``: records with a schema."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isometry._result import Record


@dataclass(frozen=True)
class QuantileRow(Record):
    """A quantile of a law.

    Attributes:
        quantile: Its level.
        lam: The quantile of lam = s^2.
        s: That of the singular value.
        s_from: From where 95 % of networks of a width have it; None without a width.
        s_to: Up to where.
    """

    quantile: float
    lam: float
    s: float
    s_from: float | None = None
    s_to: float | None = None


@dataclass(frozen=True)
class EdgeRow(Record):
    """Where 95 % of networks of a width have an edge of the spectrum.

    Attributes:
        edge: Which one, in words.
        s_from: From where, in s.
        s_to: Up to where.
    """

    edge: str
    s_from: float
    s_to: float


@dataclass(frozen=True)
class LawAnswer(Record):
    """What ``isometry law`` prints.

    Attributes:
        c: The parameter of the law.
        scale: Factor on lam.
        lam_min: Lower edge of lam = s^2.
        lam_max: Upper edge of lam.
        s_min: Lower edge of s.
        s_max: Upper edge of s.
        condition_number: s_max / s_min.
        mean_lam: Mean of lam.
        width: The width that was asked for; None without, as all that follows from it.
        ks_allowed: Kolmogorov-Smirnov distance that 95 % of networks of the width stay below.
        quantiles: Rows of quantiles.
        edges_at_width: Rows of edges.
    """

    c: float
    scale: float
    lam_min: float
    lam_max: float
    s_min: float
    s_max: float
    condition_number: float
    mean_lam: float
    quantiles: list[QuantileRow]
    width: int | None = None
    ks_allowed: float | None = None
    edges_at_width: list[EdgeRow] | None = None


@dataclass(frozen=True)
class CumulantAnswer(Record):
    """What ``isometry cumulant`` prints; None from ``lam_min`` on where c has no law.

    Attributes:
        activation: The activation.
        depth: Number of layers.
        sigma_w: Standard deviation: Var W = sigma_w^2 / (N L).
        sigma_b: Standard deviation of the bias.
        skip: Factor of the skip connection.
        c: The effective cumulant.
        lam_min: Lower edge of lam = s^2.
        lam_max: Upper edge of lam.
        s_min: Lower edge of s.
        s_max: Upper edge of s.
        condition_number: s_max / s_min.
        mean_lam: Mean of lam.
        outliers_s: Singular values beyond the bulk.
    """

    activation: str
    depth: int
    sigma_w: float
    sigma_b: float
    skip: float
    c: float
    lam_min: float | None = None
    lam_max: float | None = None
    s_min: float | None = None
    s_max: float | None = None
    condition_number: float | None = None
    mean_lam: float | None = None
    outliers_s: list[float] | None = None


@dataclass(frozen=True)
class SigmaAnswer(Record):
    """What ``isometry sigma-w`` prints.

    Attributes:
        activation: The activation.
        depth: Number of layers.
        sigma_w: The standard deviation that gives c: Var W = sigma_w^2 / (N L).
        weight_std_times_sqrt_fan_in: sigma_w / sqrt(L).
        c: The effective cumulant.
        lam_min: Lower edge of lam = s^2.
        lam_max: Upper edge of lam.
        s_min: Lower edge of s.
        s_max: Upper edge of s.
        condition_number: s_max / s_min.
        mean_lam: Mean of lam.
    """

    activation: str
    depth: int
    sigma_w: float
    weight_std_times_sqrt_fan_in: float
    c: float
    lam_min: float
    lam_max: float
    s_min: float
    s_max: float
    condition_number: float
    mean_lam: float


@dataclass(frozen=True)
class ActivationRow(Record):
    """A named activation.

    Attributes:
        activation: Name and parameters.
        breakpoints: Where it or its derivative jumps.
        odd: Whether phi(-h) = -phi(h).
    """

    activation: str
    breakpoints: list[float]
    odd: bool


@dataclass(frozen=True)
class ActivationsAnswer(Record):
    """What ``isometry activations`` prints.

    Attributes:
        activations: All named ones.
    """

    activations: list[ActivationRow]


@dataclass(frozen=True)
class WatchAnswer(Record):
    """What ``isometry watch`` has read.

    Attributes:
        measurements: By file, what its monitor has measured, first to last: a step, and numbers.
    """

    measurements: Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class ExportAnswer(Record):
    """What ``isometry export`` prints.

    Attributes:
        runs: Settings and results by name, all runs with the same names: None where one has none.
    """

    runs: Sequence[Mapping[str, Any]]
