"""The product law: a chain of blocks of any size, from the spectra of the blocks alone.

If the blocks of ``J = A_L ... A_1`` are free of each other, the squared singular values of J follow
the free multiplicative convolution of theirs (derived here, theory.md section 11). The universal
law is its limit for many small steps from the identity; transformers' blocks are not small.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import numpy as np

from isometry._checks import check_array, check_integer, check_real
from isometry._typing import Checked, FloatArray, Real, Reals
from isometry.theory.laws.arguments import ComplexArray
from isometry.theory.laws.condensed import Rule, condensed
from isometry.theory.laws.factors import Factors
from isometry.theory.laws.free_product import continued, resolvent
from isometry.theory.laws.intervals import held, outer_edges
from isometry.theory.laws.mixture import Mixture
from isometry.theory.laws.tables import Tables
from isometry.theory.laws.tabulated_law import TabulatedLaw


class HasSpectrum(Protocol):
    """Values of lam and their weights: an ``isometry.Spectrum``."""

    @property
    def values(self) -> FloatArray: ...

    @property
    def weights(self) -> FloatArray: ...


Factor: TypeAlias = HasSpectrum | tuple[Reals, Reals]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ProductLaw(TabulatedLaw):
    """The law of lam = s^2 for a product of free factors with given spectra.

    Args:
        factors: One entry per factor, in the order in which they act (for square factors the
            order does not matter): a :class:`~isometry.Spectrum` of ``A_l^T A_l`` or a pair
            ``(values, weights)``, values of lam >= 0 with weights that sum to 1. Equal factors
            may be given once, as ``(factor, count)``.
        shapes: Of rectangular factors, ``(rows, columns)`` each; the columns of a factor are the
            rows of the one before. A spectrum then has a value for each column, zeros included.
            Square without.

    Raises:
        TypeError: If an argument is not what is asked for.
        ValueError: If a value is negative or not finite, weights do not sum to 1, a factor is 0,
            or shapes do not fit together or to the zeros of the spectra.
        ConvergenceError: From every method but the mean, the moment of order 1 and
            :meth:`log_support`, if the density is not computed accurately enough.

    Notes:
        Up to 2,000 values in all count as they are, and up to 64 a factor in any case. More are put
        together within half
        the standard deviation in log lam that the other factors bring, by two points that keep
        the moments of order 0 to 3.

        Discrete factors can leave gaps in the support, and atoms; both are found. Mass and mean
        are right to 1e-8 where the support is one interval and to 1e-5 else, or the law raises.

    Examples:
        >>> block = [0.6, 1.0, 1.6], [0.3, 0.4, 0.3]
        >>> law = ProductLaw([(block, 12)])
        >>> round(law.mean(), 6), round(float(law.cdf(law.icdf(0.3))), 6)
        (2.012196, 0.3)
    """

    factors: Checked[tuple[tuple[Rule, int], ...]]
    shapes: Checked[tuple[tuple[int, int], ...] | None] = None

    if TYPE_CHECKING:

        def __init__(
            self,
            factors: Sequence[Factor | tuple[Factor, int]],
            shapes: Sequence[tuple[int, int]] | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        entries = cast("object", self.factors)
        if not isinstance(entries, list | tuple):
            raise TypeError(
                f"`factors` is a {type(entries).__name__}; expected a list of spectra, or of "
                "pairs (values, weights)."
            )
        listed = cast("Sequence[object]", entries)
        given = tuple(_entry(f"factors[{index}]", entry) for index, entry in enumerate(listed))
        if not given:
            raise ValueError("`factors` is empty; expected at least one spectrum.")
        object.__setattr__(self, "factors", given)
        if self.shapes is not None:
            object.__setattr__(self, "shapes", _checked_shapes(self.shapes, self.factors))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProductLaw) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        parts = ((t.tobytes(), w.tobytes(), count) for (t, w), count in self.factors)
        return (*parts, self.shapes)

    def __repr__(self) -> str:
        if sum(values.size for (values, _), _ in self.factors) <= 32:
            given = [((t.tolist(), w.tolist()), count) for (t, w), count in self.factors]
            return f"ProductLaw(factors={given}, shapes={self.shapes})"
        depth = sum(count for _, count in self.factors)
        return f"<ProductLaw: {depth} factors, {len(self.factors)} given>"

    def contributions(self, low: Real = 0.02, high: Real = 0.98) -> FloatArray:
        """Return how much of the range between two quantiles, in log lam, is each factor's.

        With S the S-transforms, ``log lam = log((1 + w) / w) - sum_l log S_l(w)``, and the factor's
        part is the difference of the real part of ``log S_l`` at the two quantiles; for small
        factors, its share of c. At an edge it is by how much log lam falls where the factor's
        ``log S_l`` is left out, to first order.

        Args:
            low: Level of the lower quantile, above 0.
            high: Level of the upper quantile, below 1.

        Returns:
            One number per factor, in the order of ``factors``; equal ones of a count together.

        Raises:
            TypeError: If a level is not a number.
            ValueError: If a level is out of range or its quantile 0.
            ConvergenceError: If the density is not computed accurately enough.

        Examples:
            >>> small, large = ([0.9, 1.1], [0.5, 0.5]), ([0.6, 1.6], [0.5, 0.5])
            >>> ProductLaw([(small, 6), large]).contributions().round(2)
            array([0.37, 0.77])
        """
        levels = [check_real("low", low, above=0.0), check_real("high", high, above=0.0)]
        if not levels[0] < levels[1] < 1:
            raise ValueError(f"`low`, `high` are {levels}; expected 0 < low < high < 1.")
        group = _group(self)
        t = np.asarray(self.log_icdf(np.array(levels)))
        if not np.isfinite(t).all():
            raise ValueError(f"`low` is {levels[0]:g}, where lam is 0; expected more than that.")
        u, E = continued(group, group.floor, t, np.zeros(2))
        parts: list[float] = []
        for index, ((values, weights), count) in enumerate(self.factors):
            w = (u - 1) * (
                1.0 if self.shapes is None else self.shapes[0][1] / self.shapes[index][1]
            )
            psi = (weights * values / (E[..., None] - values)).sum(axis=-1)
            own = E[np.arange(2), np.abs(psi - w[:, None]).argmin(axis=1)]
            log_s = np.log(np.abs((1 + w) / (w * own)))
            parts.append(count * float(log_s[0] - log_s[1]))
        return np.array(parts)

    def log_support(self) -> tuple[float, float]:
        """Return the logarithms of the edges of the continuous part.

        They take no density, so that they are known where it is refused, and cost little.

        Raises:
            ConvergenceError: If an edge is not found.
        """
        return outer_edges(_group(self)) or self._held().log_support()

    def _held(self) -> Tables | Mixture:
        return _held(self)

    def _log_moment(self, n: float) -> float:
        """Return the logarithm of the mean, a product over factors; other orders by quadrature."""
        return _group(self).log_mean() if n == 1.0 else self._integrated_moment(n)

    def _s_formula(self, w: ComplexArray) -> ComplexArray:
        factors = _group(self)
        if (w.imag != 0).any() or (w.real >= 0).any() or (w.real <= factors.floor - 1).any():
            raise ValueError(
                f"`w` leaves ({factors.floor - 1:.6g}, 0); expected real numbers in it."
            )
        u = 1 + w.real.reshape(-1)
        log_z = factors.linearise(u, factors.solve_real(u))[0]
        return (u / (1 - u) * np.exp(-log_z)).reshape(w.shape).astype(np.complex128)

    def _cauchy_formula(self, z: ComplexArray) -> ComplexArray:
        flat, factors = z.reshape(-1), _group(self)
        if not flat.all():
            raise NotImplementedError("`z` is 0; use `method='quadrature'` there.")
        u = resolvent(factors, factors.floor, np.log(np.abs(flat)), np.abs(np.angle(flat)))
        return (np.where(flat.imag < 0, u.conj(), u) / flat).reshape(z.shape)


def _entry(name: str, entry: object) -> tuple[Rule, int]:
    """Return values, weights and count of one entry of the factors.

    Raises:
        TypeError: If it is no spectrum and no pair.
        ValueError: If its numbers are out of range.
    """
    count = 1
    parts = _pair(entry)
    if parts is not None and isinstance(parts[1], (int, np.integer)):
        entry, count = parts[0], check_integer(f"{name}[1]", cast("int", parts[1]), minimum=1)
        parts = _pair(entry)
    if parts is None:
        raise TypeError(
            f"`{name}` is a {type(entry).__name__}; expected an isometry.Spectrum, a pair (values, "
            "weights), or either with a count."
        )
    values = check_array(f"the values of `{name}`", parts[0], minimum=0.0)
    weights = check_array(f"the weights of `{name}`", parts[1], minimum=0.0)
    if values.ndim != 1 or not values.size or values.shape != weights.shape:
        raise ValueError(
            f"`{name}` has values of shape {values.shape} and weights of shape {weights.shape}; "
            "expected two vectors of one length."
        )
    if not np.isfinite(values).all() or not abs(weights.sum() - 1) < 1e-6:
        raise ValueError(
            f"`{name}` has a largest value {values.max():g} and weights that sum to "
            f"{weights.sum():g}; expected finite values and a sum of 1."
        )
    weights = weights / weights.sum()
    if not weights @ values > 0:
        raise ValueError(f"`{name}` is 0; expected a factor with a positive mean.")
    distinct, index = np.unique(values, return_inverse=True)
    weights = np.bincount(index, weights=weights)
    return (distinct[weights > 0], weights[weights > 0]), count


def _pair(entry: object) -> tuple[object, object] | None:
    """Return the two parts of a pair, or the values and weights of a spectrum."""
    if isinstance(entry, list | tuple):
        parts = cast("Sequence[object]", entry)
        return (parts[0], parts[1]) if len(parts) == 2 else None
    values, weights = getattr(entry, "values", None), getattr(entry, "weights", None)
    return None if values is None or weights is None else (values, weights)


def _checked_shapes(shapes: Any, factors: tuple[Any, ...]) -> tuple[tuple[int, int], ...]:
    """Return the shapes, if the factors can be chained and have the zeros that their shape asks.

    Raises:
        ValueError: If not.
    """
    pairs = tuple((check_integer("shapes", m, minimum=1), check_integer("shapes", n, minimum=1))
                  for m, n in shapes)  # fmt: skip
    if len(pairs) != len(factors) or any(count > 1 and m != n for (m, n), (_, count) in
                                         zip(pairs, factors, strict=True)):  # fmt: skip
        raise ValueError(
            f"`shapes` has {len(pairs)} entries for {len(factors)} factors; expected one each, "
            "square where a factor has a count."
        )
    for index, ((m, n), ((values, weights), _)) in enumerate(zip(pairs, factors, strict=True)):
        if index and n != pairs[index - 1][0]:
            raise ValueError(
                f"`shapes[{index}]` is {(m, n)} after {pairs[index - 1]}; expected "
                f"{pairs[index - 1][0]} columns, the rows of the factor before."
            )
        zeros = float(weights[values == 0.0].sum())
        if zeros < 1 - m / n - 1e-6:
            raise ValueError(
                f"`factors[{index}]` has weight {zeros:g} at 0 and shape {(m, n)}; expected at "
                f"least {1 - m / n:g}: a value for every column, zeros included."
            )
    return pairs


@functools.lru_cache(maxsize=64)
def _group(law: ProductLaw) -> Factors:
    """Return the distinct factors, how often each occurs, and the spaces between them."""
    counts = np.array([count for _, count in law.factors], dtype=np.float64)
    if law.shapes is None:
        ratios, spaces = np.ones(counts.size), np.ones(int(counts.sum()) - 1)
    else:
        sizes = np.array([n for _, n in law.shapes], dtype=np.float64)
        ratios = sizes[0] / sizes
        spaces = np.repeat(ratios, counts.astype(int))[1:]
    rules = condensed(law.factors)
    most = max(len(values) for (values, _), _ in rules)
    rows = np.zeros((counts.size, 2 * most + 1))
    for row, ((values, weights), _), ratio in zip(rows, rules, ratios, strict=True):
        row[: len(values)], row[most : most + len(weights)], row[-1] = values, weights, ratio
    distinct, inverse = np.unique(rows, axis=0, return_inverse=True)
    kinds, times = np.unique(spaces, return_counts=True)
    return Factors(
        distinct[:, :most].copy(), distinct[:, most:-1].copy(),
        np.bincount(inverse.reshape(-1), weights=counts), distinct[:, -1].copy(),
        kinds, times.astype(np.float64),
    )  # fmt: skip


@functools.lru_cache(maxsize=32)
def _held(law: ProductLaw) -> Tables | Mixture:
    return held(_group(law))
