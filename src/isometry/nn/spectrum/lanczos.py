"""Golub-Kahan bidiagonalisation of an operator from several starting vectors at once.

From a unit vector v the recursion builds orthonormal V and U with ``A V = U B``, B upper
bidiagonal. The singular values of B and the first components of its right singular vectors are
the Gauss quadrature of the law of ``A.T A`` seen from v. The products run in the operator's
dtype; everything done to B is float64.
"""

import dataclasses

import numpy as np
import torch

from isometry._typing import Float
from isometry.nn.sandbox._typing import Operator, Progress
from isometry.nn.sandbox.precision import wide_on_cpu
from isometry.nn.spectrum.wide import precision_of


@dataclasses.dataclass(frozen=True)
class Bidiagonalisation:
    """``A V = U B`` for every probe; ``beta[:, -1]`` is what is left over at the last step.

    Singular values below ``floor`` times the largest are rounding error.
    """

    alpha: Float[np.ndarray, "probes steps"]
    beta: Float[np.ndarray, "probes steps"]
    basis: torch.Tensor | None
    floor: float

    def ended(self) -> "Bidiagonalisation":
        """Return it without the zeros that follow where the Krylov space of all probes ended."""
        last = np.flatnonzero((self.beta == 0).all(axis=0))
        steps = int(last[0]) + 1 if len(last) else self.alpha.shape[1]
        basis = None if self.basis is None else self.basis[:, :steps]
        return Bidiagonalisation(self.alpha[:, :steps], self.beta[:, :steps], basis, self.floor)

    def matrices(self) -> Float[np.ndarray, "probes steps steps"]:
        """Return the bidiagonal matrices B."""
        steps = self.alpha.shape[1]
        B = np.zeros((len(self.alpha), steps, steps))
        index = np.arange(steps)
        B[:, index, index] = self.alpha
        B[:, index[:-1], index[1:]] = self.beta[:, :-1]
        return B


@dataclasses.dataclass(frozen=True)
class RitzValues:
    """Approximate singular values, descending, with what they still miss."""

    theta: Float[np.ndarray, "probes steps"]
    weights: Float[np.ndarray, "probes steps"]
    residuals: Float[np.ndarray, "probes steps"]
    right: Float[np.ndarray, "probes steps steps"]


def rounding_floor(dtype: torch.dtype) -> float:
    """Return the s / s_max that products in ``dtype`` cannot tell from zero."""
    return 4 * torch.finfo(dtype).eps


def basis_bytes(A: Operator, num_probes: int, steps: int) -> int:
    """Return the memory of the stored basis, that of the input side."""
    itemsize = torch.empty(0, dtype=A.dtype).element_size()
    return num_probes * steps * A.shape[1] * itemsize


def random_probes(
    A: Operator, num_probes: int, seen: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Return unit vectors (num_probes, n_in), uniform on the sphere of the seen entries."""
    draw = torch.randn(
        num_probes, A.shape[1], generator=generator, device=generator.device, dtype=A.dtype
    )
    draw = draw.to(A.device).masked_fill(~seen, 0.0)
    return torch.nn.functional.normalize(draw, dim=1, eps=0.0)


def _project_out(w: torch.Tensor, basis: torch.Tensor | None, upto: int) -> torch.Tensor:
    """Remove from every w its part in the first ``upto`` vectors of its basis."""
    if basis is None or upto == 0:
        return w
    known = basis[:, :upto]
    overlap = torch.bmm(known, w.unsqueeze(2))
    return torch.baddbmm(w.unsqueeze(1), overlap.transpose(1, 2), known, alpha=-1).squeeze(1)


def _normalise(w: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return unit vectors and norms; a norm that is rounding error becomes an exact zero."""
    norm = torch.linalg.vector_norm(w, dim=1)
    ended = norm <= 50 * torch.finfo(w.dtype).eps * scale  # NaN goes on, to be found at the end
    safe = norm.masked_fill(ended, 1.0).unsqueeze(1)
    return (w / safe).masked_fill(ended.unsqueeze(1), 0.0), norm.masked_fill(ended, 0.0)


class GolubKahan:
    """The bidiagonalisation of ``A`` from unit vectors ``start`` (num_probes, n_in), in the making.

    Every step costs a product with A and one with A.T, each on all probes. A probe whose Krylov
    space is exhausted goes on with zeros, which leave its quadrature as it is.

    Only the input side's basis V is kept and reorthogonalised against: the three-term recurrence
    of ``A.T A`` on V holds to rounding step by step, whatever U has lost, and B.T B is its matrix
    (Simon and Zha, one-sided reorthogonalisation). It halves the memory of two bases, and a
    rectangular A is stored on its short side alone. From ``known`` vectors, orthonormal rows to
    which ``start`` is orthogonal, it keeps away: the products are those of A on what is left,
    which may be 0 to rounding, as only ``scale``, the size of all of A where it is known, shows.
    """

    def __init__(
        self,
        A: Operator,
        start: torch.Tensor,
        most: int,
        *,
        reorthogonalise: bool = True,
        known: torch.Tensor | None = None,
        scale: float = 0.0,
    ) -> None:
        self._A, self._v, self._u, self._known = A, start, None, known
        self._basis = start.new_empty(len(start), most, start.shape[1]) if reorthogonalise else None
        self._beta = start.new_zeros(len(start))
        self._scale = torch.full_like(self._beta, scale)
        self._alphas: list[torch.Tensor] = []
        self._betas: list[torch.Tensor] = []

    @property
    def steps(self) -> int:
        """Steps that are done."""
        return len(self._alphas)

    @torch.no_grad()
    def advance(self, to: int, progress: Progress | None = None) -> Bidiagonalisation:
        """Go on until ``to`` steps are done, and return what is known then."""
        while self.steps < to:
            self._step()
            if progress is not None:
                progress(2 * self.steps, 2 * to)
        numbers = [torch.stack(x, 1) for x in (self._alphas, self._betas)]
        alpha, beta = (wide_on_cpu(x).numpy() for x in numbers)
        basis = None if self._basis is None else self._basis[:, : self.steps]
        return Bidiagonalisation(alpha, beta, basis, rounding_floor(precision_of(self._A)))

    def _step(self) -> None:
        w = (self._A @ self._v.T).T
        w = w if self._u is None else w - self._beta.unsqueeze(1) * self._u
        self._u, alpha = _normalise(w, self._scale)
        self._scale = torch.maximum(self._scale, alpha)
        if self._basis is not None:
            self._basis[:, self.steps] = self._v
        w = (self._A.T @ self._u.T).T - alpha.unsqueeze(1) * self._v
        w = self._orthogonalised(w)
        self._v, self._beta = _normalise(w, self._scale)
        self._scale = torch.maximum(self._scale, self._beta)
        self._alphas.append(alpha)
        self._betas.append(self._beta)

    def _orthogonalised(self, w: torch.Tensor) -> torch.Tensor:
        """Remove V and the known vectors; again where little is left, which rounding dominates.

        Vectors that are not orthogonal let the recursion grow without bound.
        """
        once = self._projected(w)
        left = torch.linalg.vector_norm(once, dim=1) < 0.7 * torch.linalg.vector_norm(w, dim=1)
        return self._projected(once) if bool(left.any()) else once

    def _projected(self, w: torch.Tensor) -> torch.Tensor:
        w = _project_out(w, self._basis, self.steps + 1)
        return w if self._known is None else w - (w @ self._known.T) @ self._known


def ritz_values(bidiagonal: Bidiagonalisation) -> RitzValues:
    """Return the singular values of B, their quadrature weights and their residual norms.

    The residual is ``|A.T x - theta y|`` for the approximate singular pair (x, y); a true
    singular value lies within it.
    """
    left, theta, right = np.linalg.svd(bidiagonal.matrices())
    theta = np.where(theta <= bidiagonal.floor * theta[:, :1], 0.0, theta)
    residuals = bidiagonal.beta[:, -1:] * np.abs(left[:, -1, :])
    return RitzValues(theta, right[:, :, 0] ** 2, residuals, right)


def top_vector(bidiagonal: Bidiagonalisation) -> torch.Tensor:
    """Return the right Ritz vector of the largest value, from the probe that sees it best."""
    assert bidiagonal.basis is not None
    ritz = ritz_values(bidiagonal)
    best = int(np.argmin(ritz.residuals[:, 0]))
    basis = bidiagonal.basis[best]
    mix = torch.as_tensor(ritz.right[best, 0].copy(), dtype=basis.dtype, device=basis.device)
    return mix @ basis
