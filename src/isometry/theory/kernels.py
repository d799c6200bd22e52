r"""How alike are the outputs for two inputs, and how does one step on one move the other?

The two kernels of a wide residual network, layer by layer, from the dual activation of each:

    Q_l = sigma_w^2/L K_{l-1} + sigma_b^2,   rho_l = Q_l / q_l
    K_l = a^2 K_{l-1} + 2 a m1_{l-1} m_l + m_l^2 + kappa_l(rho_l)                              (65)
    T_l = a^2 T_{l-1} + (kappa_l'(rho_l) / q_l) (Q_l + sigma_w^2/L T_{l-1})                    (66)

K is the kernel of the network as a Gaussian process, T the tangent kernel where every parameter
learns at a rate in proportion to the variance it was drawn with.
"""

from dataclasses import dataclass

import numpy as np

from isometry._checks import check_array, shown
from isometry._result import Result
from isometry._typing import Checked, Float, Reals
from isometry.theory.activations.lookup import activation
from isometry.theory.dual import dual_activation
from isometry.theory.propagation import ResNetSpec, check_spec, propagate

__all__ = ["NetworkKernels", "network_kernels"]


@dataclass(frozen=True, eq=False)
class NetworkKernels(Result):
    """Both kernels after every layer, for pairs of inputs of mean 0 and mean square 1.

    Attributes:
        correlation: Of the two inputs.
        nngp: K_l, the mean of the products of the entries of x_l, l = 0..depth.
        tangent: T_l likewise, of a network whose input is not trained.
        signal: K_l of an input with itself, l = 0..depth.
    """

    correlation: Float[np.ndarray, "n"]
    nngp: Float[np.ndarray, "layers n"]
    tangent: Float[np.ndarray, "layers n"]
    signal: Float[np.ndarray, "layers"]


def network_kernels(spec: Checked[ResNetSpec], correlation: Reals) -> NetworkKernels:
    """Return the kernels of a wide network for inputs of given correlation.

    Args:
        spec: The network.
        correlation: Of the two inputs, numbers from -1 to 1.

    Returns:
        The kernel of the network as a Gaussian process and the tangent kernel, per layer.

    Raises:
        TypeError: If ``spec`` is no ResNetSpec or ``correlation`` not numeric.
        ValueError: If a correlation is outside [-1, 1].
        OverflowError: If the signal leaves the range of float64.

    Notes:
        Exact as N goes to infinity at fixed depth; the diagonal is :func:`isometry.propagate`'s.
        The tangent kernel is that of :func:`isometry.nn.learning_rates`' weights at rate 1, biases
        at sigma_b^2. Cost: a dual activation a layer, one in all with ``spec.unit``.

    References:
        Derived here.

    Examples:
        >>> spec = ResNetSpec("linear", depth=4, sigma_w=2.0)
        >>> network_kernels(spec, [0.5]).nngp[:, 0]
        array([0.5, 1. , 2. , 4. , 8. ])
    """
    spec = check_spec(spec)
    pairs = check_array("correlation", correlation).ravel()
    if (np.abs(pairs) > 1.0).any():
        raise ValueError(f"`correlation` is {shown(correlation)}; expected numbers from -1 to 1.")
    signal = propagate(spec)
    step, a = spec.sigma_w**2 / spec.depth, spec.skip
    K, T = pairs.copy(), np.zeros_like(pairs)  # pyright: ignore[reportConstantRedefinition]
    nngp, tangent = [K], [T]
    before = np.concatenate([[0.0], signal.m1[:-1]])
    act = activation(spec.activation)
    shared = dual_activation(act, 1.0) if spec.unit else None  # its curves are made once
    for q, m1, mean in zip(signal.q.tolist(), before.tolist(), signal.mean.tolist(), strict=True):
        Q = step * K + spec.sigma_b**2
        covariance, slope = 0.0 * K, 0.0 * K
        if q > 0.0:  # with unit, s^2 = q multiplies the outputs and divides the arguments of (64)
            dual = shared or dual_activation(act, q)
            rho = np.clip(Q / q, -1.0, 1.0)
            covariance, slope = dual(rho) * (q if spec.unit else 1.0), dual.slope(rho)
            slope = slope if spec.unit else slope / q
        coherent = 0.0 if spec.centre or spec.signs else 2 * a * m1 * mean
        constant = 0.0 if spec.centre else mean**2
        K = a * a * K + coherent + covariance + constant  # pyright: ignore[reportConstantRedefinition]
        T = a * a * T + slope * (Q + step * T)  # pyright: ignore[reportConstantRedefinition]
        nngp.append(K)
        tangent.append(T)
    diagonal = np.concatenate([[1.0], signal.m2])
    return NetworkKernels(pairs, np.array(nngp), np.array(tangent), diagonal)
