"""First light: from an activation to the spectrum of a real network's Jacobian, on a real image.

For each activation: c from the activation, the sigma_w that gives the wanted c, the paper's network
at that sigma_w, its Jacobian at a real image, and the distance of its spectrum to the one law that
depends on c alone.  Next to it the same activations at one common sigma_w.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from isometry._result import Result
from isometry.data import ImageSet, embed
from isometry.nn.jacobian.jacobian import JacobianOperator
from isometry.nn.networks.resnet import ResNet
from isometry.nn.spectrum.spectrum import singular_spectrum
from isometry.plotting import figure_svg, plot_collapse
from isometry.report import Figure, Origin, Paragraph, Report, Section, Table
from isometry.theory.comparison import Comparison, compare
from isometry.theory.design import solve_sigma_w
from isometry.theory.laws import UniversalLaw
from isometry.theory.prediction import jacobian_law
from isometry.theory.propagation import ResNetSpec, effective_cumulant
from isometry.theory.spectrum import Spectrum

ACTIVATIONS = (
    "linear",
    "relu",
    "leaky_relu(0.1)",
    "elu",
    "selu",
    "gelu",
    "silu",
    "mish",
    "softplus",
    "sigmoid",
    "tanh",
    "hardtanh",
    "erf",
)


@dataclass(frozen=True)
class Network(Result):
    """One network's spectrum beside its prediction.

    Attributes:
        activation: Name, with parameters.
        sigma_w: Standard deviation in the 1/L convention: Var W = sigma_w^2 / (N L).
        c_predicted: From signal propagation, at the image's mean and mean square.
        c_measured: Sum over layers of |D_l W_l|^2 / N at the image.
        comparison: Distance to the universal law at the common c.
        ks_own: Kolmogorov-Smirnov distance of the bulk to the law at ``c_predicted``.
        spectrum: The squared singular values.
    """

    activation: str
    sigma_w: float
    c_predicted: float
    c_measured: float
    comparison: Comparison
    ks_own: float
    spectrum: Spectrum = field(repr=False)

    def rows(self) -> list[dict[str, Any]]:
        """Return the network's line of the demo's table; edges are of lam, outliers of s."""
        found = self.comparison
        outliers = found.outlier_singular_values
        return [
            {
                "activation": self.activation,
                "sigma_w": self.sigma_w,
                "c predicted": self.c_predicted,
                "c measured": self.c_measured,
                "KS": found.ks,
                "KS own c": self.ks_own,
                "lam edges predicted": _interval(found.edges),
                "lam edges measured": _interval(found.measured_edges),
                "outlier s": ", ".join(f"{s:.3g}" for s in outliers) or "-",
            }
        ]


@dataclass(frozen=True)
class FirstLight(Result):
    """The demo's numbers.

    Attributes:
        image_set: Name of the images' source.
        width: N of every network.
        depth: L of every network.
        c: The common c of ``equal_c``.
        sigma_w: The common sigma_w of ``equal_sigma_w``.
        equal_c: One network an activation, each at its own sigma_w.
        equal_sigma_w: The same activations at the common sigma_w.
    """

    image_set: str
    width: int
    depth: int
    c: float
    sigma_w: float
    equal_c: tuple[Network, ...]
    equal_sigma_w: tuple[Network, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Return the table of the networks at equal c."""
        return [row for network in self.equal_c for row in network.rows()]

    @property
    def largest_ks(self) -> float:
        """Largest distance of a bulk at equal c to the law."""
        return max(network.comparison.ks for network in self.equal_c)


def measure_network(
    spec: ResNetSpec, x: torch.Tensor, *, generator: torch.Generator, reference: UniversalLaw
) -> Network:
    """Draw the paper's network, take its Jacobian at ``x`` and compare with the law.

    Args:
        spec: Activation, depth, sigma_w, sigma_b, skip.
        x: One input, of shape ``(width,)``, float64.
        generator: Source of the weights.
        reference: The law at the common c.

    Returns:
        The network's spectrum beside its prediction.
    """
    m1, m2 = float(x.mean()), float(x.square().mean())
    net = ResNet(spec, x.numel(), generator=generator, dtype=x.dtype)
    spectrum = singular_spectrum(JacobianOperator(net, x), method="dense")
    return Network(
        activation=str(spec.activation),
        sigma_w=spec.sigma_w,
        c_predicted=effective_cumulant(spec, m1=m1, m2=m2),
        c_measured=float(net.layer_cumulants(x).sum()),
        comparison=compare(spectrum, reference),
        ks_own=compare(spectrum, jacobian_law(spec, m1=m1, m2=m2)).ks,
        spectrum=spectrum,
    )


def first_light(
    images: ImageSet,
    *,
    activations: Sequence[str] = ACTIVATIONS,
    width: int = 400,
    depth: int = 100,
    c: float = 1.0,
    sigma_w: float = 1.0,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> FirstLight:
    """Measure one network an activation at equal c, and one at equal sigma_w.

    Args:
        images: Source of the one image that is fed to every network.
        activations: Names, see ``isometry activations``.
        width: N; the image is resized to that many entries.
        depth: L.
        c: The wanted c, > 0.
        sigma_w: Common standard deviation (1/L convention) of the second half.
        seed: Chooses the image and every weight.
        progress: Called with a network's name before it is measured.

    Returns:
        Both halves, network by network.
    """
    pixels = images.images[seed % len(images.images)]
    x = torch.as_tensor(embed(pixels, width), dtype=torch.float64)
    m1, m2 = float(x.mean()), float(x.square().mean())
    generator = torch.Generator().manual_seed(seed)
    halves: list[list[Network]] = [[], []]
    reference = UniversalLaw(c=c)
    for name in activations:
        solved = solve_sigma_w(name, depth=depth, c=c, m1=m1, m2=m2)
        for half, deviation in zip(halves, (solved, sigma_w), strict=True):
            if progress is not None:
                progress(f"{name} at sigma_w = {deviation:.3g}")
            spec = ResNetSpec(name, depth=depth, sigma_w=deviation)
            half.append(measure_network(spec, x, generator=generator, reference=reference))
    return FirstLight(
        images.label, width, depth, c, sigma_w, tuple(halves[0]), tuple(halves[1])
    )  # fmt: skip


def page(found: FirstLight, origin: Origin | None = None) -> Report:
    """Return the demo's page: the two figures and the two tables.

    Args:
        found: What was measured.
        origin: How to get it again.
    """
    worst = max(network.comparison.ks for network in found.equal_sigma_w)
    alike = found.largest_ks <= 10 / found.width + 1 / found.depth
    verb = "lie" if alike else "do not all lie"
    return Report(
        "One law for every activation",
        f"At c = {found.c:g} the spectra of {len(found.equal_c)} activations {verb} on one curve, "
        f"the law: the largest Kolmogorov-Smirnov distance is {found.largest_ks:.4f}. At one "
        f"common sigma_w it is {worst:.4f}.",
        [_at_equal_c(found), _at_equal_sigma_w(found, worst)],
        tone="good" if alike else "bad",
        figure=_figure(found, found.equal_c, "equal c"),
        origin=origin,
    )


def _at_equal_c(found: FirstLight) -> Section:
    said = (
        f"Each network has its own sigma_w, solved from its activation alone so that c = "
        f"{found.c:g}. The thick curve is the universal law, which was not fitted to anything; "
        "triangles are singular values that left the bulk (the mean direction of an activation "
        "that is not odd), which the law does not describe."
    )
    note = "sigma_w: Var W = sigma_w^2 / (N L); edges are of lam = s^2."
    table = Table(found.rows(), note, f"The networks at c = {found.c:g}")
    return Section("What is seen", [Paragraph(said), table])


def _at_equal_sigma_w(found: FirstLight, worst: float) -> Section:
    own = max(network.ks_own for network in found.equal_sigma_w)
    said = (
        "One common sigma_w gives every activation another c, so a comparison between activations "
        f"compares initialisations as well. Largest distance to the law at c = {found.c:g}: "
        f"{worst:.4f}; to the law at its own predicted c: {own:.4f}."
    )
    rows = [row for network in found.equal_sigma_w for row in network.rows()]
    return Section(
        f"The same activations at sigma_w = {found.sigma_w:g}: many curves",
        [
            Paragraph(said),
            _figure(found, found.equal_sigma_w, "equal sigma_w"),
            Table(rows, title=f"The networks at sigma_w = {found.sigma_w:g}"),
        ],
    )


def _figure(found: FirstLight, networks: Sequence[Network], what: str) -> Figure:
    spectra = {network.activation: network.spectrum for network in networks}
    law = UniversalLaw(c=found.c)
    svg = figure_svg(
        lambda figure: plot_collapse(figure.add_subplot(), spectra, law), figsize=(8.0, 4.4)
    )
    where = f"width {found.width}, depth {found.depth}, one image of {found.image_set}"
    return Figure(svg, f"Jacobian spectra at {what}; {where}.")


def _interval(edges: Any) -> str:
    low, high = (float(edge) for edge in edges)
    return f"{low:.4g} .. {high:.4g}"
