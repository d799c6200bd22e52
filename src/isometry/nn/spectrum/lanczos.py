"""Golub-Kahan bidiagonalisation of an operator from several starting vectors at once.

From a unit vector v the recursion builds orthonormal V and U with ``A V = U B``, B upper
bidiagonal. The singular values of B and the first components of its right singular vectors are
the Gauss quadrature of the law of ``A.T A`` seen from v. The products run in the operator's
dtype; everything done to B is float64.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from isometry._typing import Float
from isometry.nn._typing import Operator

Progress = Callable[[int, int], None]
"""Called with the number of products done and the number to do."""


@dataclasses.dataclass(frozen=True)
class Bidiagonalisation:
    """``A V = U B`` for every probe; ``beta[:, -1]`` is what is left over at the last step.

    Singular values below ``floor`` times the largest are rounding error.
    """

    alpha: Float[np.ndarray, "probes steps"]
    beta: Float[np.ndarray, "probes steps"]
    basis: torch.Tensor | None
    floor: float

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
    """Return the memory of the two stored bases."""
    itemsize = torch.empty(0, dtype=A.dtype).element_size()
    return num_probes * steps * (A.shape[0] + A.shape[1]) * itemsize


def random_probes(A: Operator, num_probes: int, generator: torch.Generator) -> torch.Tensor:
    """Return unit vectors of shape (num_probes, n_in), uniform on the sphere."""
    draw = torch.randn(
        num_probes, A.shape[1], generator=generator, device=generator.device, dtype=A.dtype
    )
    return torch.nn.functional.normalize(draw, dim=1, eps=0.0).to(A.device)


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


@torch.no_grad()
def golub_kahan(
    A: Operator,
    start: torch.Tensor,
    steps: int,
    *,
    reorthogonalise: bool = True,
    progress: Progress | None = None,
) -> Bidiagonalisation:
    """Bidiagonalise ``A`` from unit vectors ``start`` of shape (num_probes, n_in).

    Costs ``steps`` products with A and as many with A.T, each on all probes. A probe whose Krylov
    space is exhausted goes on with zeros, which leave its quadrature as it is.
    """
    probes, n = start.shape
    V = start.new_empty(probes, steps, n) if reorthogonalise else None
    U = start.new_empty(probes, steps, A.shape[0]) if reorthogonalise else None
    v, u, beta = start, None, start.new_zeros(probes)
    scale, alphas, betas = start.new_zeros(probes), [], []
    for j in range(steps):
        w = (A @ v.T).T
        w = w if u is None else w - beta.unsqueeze(1) * u
        u, alpha = _normalise(_project_out(w, U, j), scale)
        scale = torch.maximum(scale, alpha)
        if U is not None and V is not None:
            U[:, j], V[:, j] = u, v
        w = (A.T @ u.T).T - alpha.unsqueeze(1) * v
        v, beta = _normalise(_project_out(w, V, j + 1), scale)
        scale = torch.maximum(scale, beta)
        alphas.append(alpha)
        betas.append(beta)
        if progress is not None:
            progress(2 * (j + 1), 2 * steps)
    as_array = [torch.stack(x, 1).to("cpu", torch.float64).numpy() for x in (alphas, betas)]
    return Bidiagonalisation(as_array[0], as_array[1], V, rounding_floor(start.dtype))


def ritz_values(bidiagonal: Bidiagonalisation) -> RitzValues:
    """Return the singular values of B, their quadrature weights and their residual norms.

    The residual is ``|A.T x - theta y|`` for the approximate singular pair (x, y); a true
    singular value lies within it.
    """
    left, theta, right = np.linalg.svd(bidiagonal.matrices())
    theta = np.where(theta <= bidiagonal.floor * theta[:, :1], 0.0, theta)
    residuals = bidiagonal.beta[:, -1:] * np.abs(left[:, -1, :])
    return RitzValues(theta, right[:, :, 0] ** 2, residuals, right)
