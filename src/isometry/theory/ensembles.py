"""Random matrices whose singular values follow each law: what theory is tested against.

``J = prod_l (a + D_l X_l)`` with independent ``X_l`` of ``tau(X_l X_l^T) = c / depth``, where tau
is trace / N and D_l an optional diagonal. As N and the depth grow, the squared singular values of J
follow the universal law whatever the distribution of the entries. No network is involved.
"""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from isometry._checks import (
    check_array,
    check_integer,
    check_real,
    check_rng,
    shown,
    suggest,
)
from isometry._typing import Checked, Float, FloatArray, Integer, Real, Reals
from isometry._words import Entries


def residual_product(
    width: Integer,
    depth: Integer,
    *,
    c: Real,
    entries: Checked[Entries] = "gaussian",
    skip: Real = 1.0,
    slopes: Reals | None = None,
    rng: Checked[np.random.Generator | None] = None,
) -> Float[np.ndarray, "width width"]:
    """Draw the Jacobian-like product of ``depth`` factors ``skip + D_l X_l``.

    Args:
        width: Size N of the matrices, at least 1.
        depth: Number of factors, at least 1.
        c: ``depth * tau(X_l X_l^T)``, at least 0; the entries have variance ``c / (N * depth)``.
        entries: "gaussian", "rademacher", "uniform", "student" (five degrees of freedom) or
            "orthogonal" (Haar).
        skip: The number a in every factor.
        slopes: The diagonals D_l, of shape (depth, width); 1 without. If they are independent
            of each other, the effective cumulant is c times the mean of ``slopes**2``.
        rng: Source of the randomness; `np.random.seed` decides without.

    Returns:
        The product, float64.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If an argument is out of range, or the slopes do not have the shape.

    Notes:
        Cost: ``depth`` products of N x N matrices ("orthogonal": and as many QR
        factorisations). Measured at N = 400, depth 100, c = 1, one draw of each of the five:
        Kolmogorov-Smirnov distance 0.0065 to 0.0095 from the universal law.
    """
    width = check_integer("width", width, minimum=1)
    depth = check_integer("depth", depth, minimum=1)
    scale = np.sqrt(check_real("c", c, minimum=0.0) / depth)
    skip = check_real("skip", skip)
    rng = check_rng(rng)
    if not isinstance(cast(object, entries), str) or entries not in _DRAW:
        raise ValueError(
            f"`entries` is {shown(entries)}; expected one of {sorted(_DRAW)}."
            f"{suggest(str(entries), _DRAW)}"
        )
    diagonals = np.ones((depth, width)) if slopes is None else check_array("slopes", slopes)
    if diagonals.shape != (depth, width):
        raise ValueError(f"`slopes` has shape {diagonals.shape}; expected ({depth}, {width}).")
    J = np.eye(width)
    with np.errstate(all="ignore"):  # what overflows is refused below
        for diagonal in diagonals:
            X = scale * _DRAW[entries](width, rng)
            J = skip * J + diagonal[:, None] * (X @ J)  # pyright: ignore[reportConstantRedefinition]
    if not np.isfinite(J).all():
        raise ValueError(
            f"`c` is {c:g} and `skip` {skip:g}, with which the product overflows after {depth} "
            "factors; expected one within float64's range. Reduce them or the depth."
        )
    return J


def rotated_product(
    spectra: Sequence[Reals], *, rng: np.random.Generator
) -> Float[np.ndarray, "width width"]:
    """Draw a product of square factors with given singular values and directions of their own.

    Args:
        spectra: The squared singular values lam of every factor, N of them each, >= 0; the first
            factor acts first.
        rng: Source of the Haar-distributed rotations.

    Returns:
        The product, float64; as N grows its spectrum follows ``isometry.ProductLaw(spectra)``.

    Raises:
        TypeError: If ``rng`` is no generator or a spectrum is not numeric.
        ValueError: If the spectra differ in length, or a value is negative.

    Notes:
        Cost: two QR factorisations of N x N matrices a factor.
    """
    rng = check_rng(rng)
    factors = [check_array("spectra", lam, minimum=0.0) for lam in spectra]
    if not factors or any(lam.ndim != 1 or lam.shape != factors[0].shape for lam in factors):
        raise ValueError(
            f"`spectra` has shapes {[lam.shape for lam in factors]}; expected vectors of one "
            "length."
        )
    width = len(factors[0])
    J = np.eye(width)
    for lam in factors:
        J = (_orthogonal(width, rng) * np.sqrt(lam)) @ (_orthogonal(width, rng) @ J)  # pyright: ignore[reportConstantRedefinition]
    return J


def squared_singular_values(J: Reals) -> Float[np.ndarray, "n"]:
    """Return lam = s^2 for the singular values s of a matrix, ascending.

    Args:
        J: A real matrix; it is converted to float64.

    Returns:
        The ``min(n_out, n_in)`` squared singular values.

    Raises:
        TypeError: If ``J`` is not numeric.
        ValueError: If ``J`` is not a matrix or has an entry that is not finite.

    Notes:
        By a singular value decomposition. An s below about ``eps * s_max``, with eps the
        precision in which J was *computed* (2e-16 for float64, 1e-7 for float32), is noise.
        The route over the eigenvalues of ``J J^T`` has its floor at ``sqrt(eps) * s_max``.
    """
    matrix = check_array("J", J)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise ValueError(
            f"`J` has shape {matrix.shape} and {np.sum(~np.isfinite(matrix))} infinite entries; "
            "expected a finite matrix. Rescale it before it overflows."
        )
    s = np.linalg.svd(matrix, compute_uv=False)[::-1]
    if s.max(initial=0.0) > 1e154:
        raise ValueError(
            f"`J` has a singular value of {s.max():g}; expected values below 1e154, whose squares "
            "float64 holds. Rescale it."
        )
    return s**2


def _gaussian(width: int, rng: np.random.Generator) -> Float[np.ndarray, "n n"]:
    return rng.standard_normal((width, width)) / np.sqrt(width)


def _rademacher(width: int, rng: np.random.Generator) -> Float[np.ndarray, "n n"]:
    return (2.0 * rng.integers(0, 2, (width, width)) - 1.0) / np.sqrt(width)


def _uniform(width: int, rng: np.random.Generator) -> Float[np.ndarray, "n n"]:
    return rng.uniform(-1.0, 1.0, (width, width)) * np.sqrt(3.0 / width)


def _student(width: int, rng: np.random.Generator) -> Float[np.ndarray, "n n"]:
    return rng.standard_t(5, (width, width)) * np.sqrt(0.6 / width)


def _orthogonal(width: int, rng: np.random.Generator) -> Float[np.ndarray, "n n"]:
    Q, R = np.linalg.qr(rng.standard_normal((width, width)))
    return Q * np.sign(np.diag(R))


_DRAW: dict[Entries, Callable[[int, np.random.Generator], FloatArray]] = {
    "gaussian": _gaussian,
    "rademacher": _rademacher,
    "uniform": _uniform,
    "student": _student,
    "orthogonal": _orthogonal,
}
