"""Tabulate which law describes the spectrum of each of the models of `_models.py`.

`python benchmarks/table_models.py` prints the table, `--write docs/models.md` writes the page.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _models import MODELS, Row
from isometry._result import format_cell, format_table
from isometry.nn.blocks.blocks import residual_blocks, residual_stream
from isometry.nn.diagnosis.diagnosis import Diagnosis, diagnose
from isometry.nn.diagnosis.twin import twin_of
from isometry.nn.diagnosis.verdicts import twin_holds
from isometry.nn.spectrum.extremes import largest_singular_values
from isometry.theory.laws import SpectralLaw
from isometry.theory.spectrum import Spectrum

BEYOND = 1.2
"""Largest s over the product law's upper edge from which on a row is listed under outliers."""
DRAWS = 8
"""Rotations of which the largest s of an outlier's twin is the mean."""


def measure(row: Row) -> Diagnosis:
    model, x = row.built()
    generator = torch.Generator().manual_seed(1)  # that of the weights would repeat their rows
    return diagnose(model, x, batch_norm=row.batch_norm, twin=True, generator=generator)


def count(row: Row) -> int:
    """Return how many blocks a model has, those with a matrix for a skip included."""
    model, x = row.built()
    try:
        return len(residual_blocks(model, x, batch_norm=row.batch_norm))
    except ValueError:  # it has none
        return 0


def quantile(distribution: Spectrum | SpectralLaw | None, level: float) -> float | None:
    """Return the s below which a part of what is not 0 lies."""
    if distribution is None:
        return None
    if isinstance(distribution, Spectrum):
        zeros = float(distribution.weights[distribution.values == 0].sum())
    else:
        places, weights = distribution.atoms()
        zeros = float(weights[places == 0].sum())
    return math.sqrt(float(distribution.icdf(zeros + level * (1 - zeros))))


@dataclass(frozen=True)
class Found:
    """What was measured of one model."""

    name: str
    row: Row
    diagnosis: Diagnosis

    @property
    def distances(self) -> list[float | None]:
        """Distances to the law, the product law and the twin."""
        d = self.diagnosis
        found = (d.comparison, d.product_comparison, d.twin_comparison)
        return [None if one is None else one.ks for one in found]

    @property
    def described_by(self) -> str:
        """The first of the predictions within what chance and the method allow."""
        d = self.diagnosis
        if d.law_holds is True:
            return "law"
        if d.product_law_holds is True:
            return "product law"
        if d.twin is None or d.twin_comparison is None:
            return "-"
        return "twin" if twin_holds(d.twin_comparison.ks, d.spectrum, d.twin) else "nothing"

    @property
    def compared(self) -> bool:
        """Whether the verdict means what its group says: not the twin's for want of a product."""
        return self.described_by != "twin" or self.diagnosis.product_law is not None

    @property
    def largest(self) -> float:
        """The largest singular value."""
        return math.sqrt(float(self.diagnosis.spectrum.values[-1]))

    @property
    def beyond(self) -> float:
        """The largest s over the upper edge of the product law."""
        compared = self.diagnosis.product_comparison
        return 0.0 if compared is None else self.largest / math.sqrt(compared.edges[1])

    def cells(self) -> dict[str, Any]:
        """Return the row of the table."""
        d = self.diagnosis
        twin = d.twin_comparison
        c = "-" if d.c is None else f"{d.c:.3g}"
        ends = {
            f"s at {level:.0%}": " / ".join(
                "-" if s is None else f"{s:.3g}"
                for s in (quantile(one, level) for one in (d.spectrum, d.law, d.product_law))
            )
            for level in (0.02, 0.98)
        }
        kinds = ("law", "product", "twin")
        return {
            "model": self.name,
            "N": d.spectrum.dimension,
            "blocks": count(self.row),
            "c": c,
            **{f"KS {kind}": ks(one) for kind, one in zip(kinds, self.distances, strict=True)},
            "described by": self.described_by,
            **ends,
            "largest s": self.largest,
            "of the twin": None if twin is None else twin.largest * self.largest,
            "zeros": f"{float(d.spectrum.cdf([0.0])[0]):.1%}",
        }


def ks(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def listed(found: Sequence[Found], columns: Sequence[int]) -> str:
    """Return names with the distances that their group is about."""
    said = []
    for one in found:
        distances = ", ".join(ks(one.distances[i]) for i in columns)
        said.append(f"{one.name} ({distances})" if columns else one.name)
    return "; ".join(said)


GROUPS = (
    ("law", (), "**The law of c and the scale describes:**"),
    (
        "product law",
        (0, 1),
        "**The blocks are free of each other, but not small.** The product law of their own "
        "spectra describes what the law does not, or what has no c (-) (distances of the two):",
    ),
    (
        "twin",
        (1, 2),
        "**The blocks are not free over all entries, but over channels.** They share what they do "
        "to tokens or pixels, which a rotation of the channels keeps: the twin describes what the "
        "product law does not (distances of the two):",
    ),
    (
        "nothing",
        (2,),
        "**The blocks are not free of each other.** The twin has another spectrum, too (its "
        "distance):",
    ),
)


def groups(found: Sequence[Found]) -> str:
    """Say of every prediction which models it is the first to describe."""
    parts = []
    for verdict, columns, words in GROUPS:
        those = [one for one in found if one.described_by == verdict and one.compared]
        if those:
            parts.append(f"{words} {listed(those, columns)}.")
    return "\n\n".join([*parts, unsolved(found)]).rstrip()


def twins(row: Row) -> np.ndarray:
    """Return the largest s of twins with other rotations."""
    model, x = row.built()
    stream = residual_stream(model, x, batch_norm=row.batch_norm)
    found = []
    for seed in range(DRAWS):
        generator = torch.Generator().manual_seed(seed)
        other = twin_of(stream, "channels", generator)
        top = largest_singular_values(other, tolerance=1e-3, generator=generator)
        found.append(float(top.s[0]))
    return np.array(found)


def outliers(found: Sequence[Found]) -> str:
    """Say what the twin makes of the values far beyond the product law's edge."""
    far = [one for one in found if one.beyond > BEYOND]
    kept: dict[bool, list[str]] = {True: [], False: []}
    for one in far:
        ratios = twins(one.row) / one.largest
        mean, spread = ratios.mean(), ratios.std(ddof=1)
        kept[bool(abs(mean - 1) <= 3 * spread)].append(
            f"{one.name} ({one.beyond:.3g}; {mean:.2f} ± {spread:.2f})"
        )
    return (
        f"Beyond {BEYOND} times the product law's upper edge lies the largest s of {len(far)} "
        "models. In brackets: the largest s over that edge; that of the twin over the model's, "
        f"mean and standard deviation over {DRAWS} sets of rotations.\n\n"
        "**The twin has the outlier, within 3 standard deviations:** tokens and pixels are not "
        "free, and what the blocks do to them, which the twin keeps, feeds it. "
        f"{'; '.join(kept[True]) or 'None'}.\n\n"
        "**The twin does not:** the blocks' channels feed it. "
        f"{'; '.join(kept[False]) or 'None'}."
    )


def unsolved(found: Sequence[Found]) -> str:
    """Name the models that have blocks and no product law."""
    those = [one for one in found if one.diagnosis.blocks and one.diagnosis.product_law is None]
    if not those:
        return ""
    return (
        "**No product law was found,** for lack of convergence or for size (the twin's distance): "
        f"{listed(those, (2,))}."
    )


def facts(found: Sequence[Found]) -> str:
    """Say how models are built, as far as it bears on the laws; those of one kind together."""
    names: dict[str, list[str]] = {}
    for one in found:
        names.setdefault(one.row.fact, []).append(one.name)
    return "\n".join(f"- **{'; '.join(those)}.** {fact}" for fact, those in names.items() if fact)


PAGE = """# How well do the laws describe the models people use?

Generated by `python benchmarks/table_models.py --write docs/models.md` with torch {torch};
weights and inputs have seed 0, probes and rotations seed 1. {count} models, at initialisation and
small: N is the dimension of the residual trunk, batch and tokens included, and all singular values
are computed. Three predictions, each with the Kolmogorov-Smirnov distance (KS) of the measured
spectrum; section numbers are those of [theory](theory.md):

- **law**: the two-parameter law of c and the scale, from the blocks' traces alone (section 4);
- **product**: the free product of the blocks' own spectra, for blocks of any size (section 11);
- **twin**: the model itself, its channels rotated between the blocks (section 9), one draw.

"Described by" is the first whose distance is within what chance at this N and the method allow, at
least 0.02, by the verdicts of `diagnose`. Distances to the laws are of the bulk, to the twin of all
values. s at 2 % and at 98 % of the values that are not 0 is measured / law / product.

{table}

## Which prediction describes which model

{groups}

## Outliers

{outliers}

## How the models are built

{facts}

No row is trained: with trained weights the distance to the twin is a finding.
"""


def page(found: Sequence[Found]) -> str:
    table = format_table([one.cells() for one in found], markdown=True)
    return PAGE.format(
        torch=torch.__version__,
        count=len(found),
        table=table,
        groups=groups(found),
        outliers=outliers(found),
        facts=facts(found),
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="file to write the page to")
    parser.add_argument("--only", nargs="*", help="names of rows")
    wish = parser.parse_args(arguments)
    found = []
    for name in wish.only or MODELS:
        found.append(Found(name, MODELS[name], measure(MODELS[name])))
        print(" ".join(map(format_cell, found[-1].cells().values())), file=sys.stderr, flush=True)
    if wish.write:
        wish.write.write_text(page(found))
    else:
        print(format_table([one.cells() for one in found]))


if __name__ == "__main__":
    main()
