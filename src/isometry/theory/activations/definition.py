"""The value type of an activation: phi, its derivative, and where either is not smooth."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, Union

import numpy as np

from isometry._checks import check_array
from isometry._result import Worded
from isometry._typing import Checked, Function, Reals
from isometry.theory.activations.catalogue import NAMED

_GRADES = (1.0, 2.0, 4.0, 8.0, *(4.0**k for k in range(2, 42)))


@dataclass(frozen=True)
class Activation(Worded):
    """Describe an elementwise activation for the theory.

    Args:
        name: Name under which it is printed.
        phi: The function, from a float64 array to one of the same shape.
        dphi: Its derivative almost everywhere, likewise.
        breakpoints: Kinks and jumps of ``phi``, in ascending order.
        jumps: Those breakpoints at which ``phi`` itself is discontinuous.
        odd: Whether ``phi(-h) == -phi(h)``, so that odd averages are exactly zero.
        parameters: Parameters by name, as in ``torch.nn.functional``.
        closed: Closed forms: variances ``q > 0`` to the averages of phi, phi^2, phi', phi'^2.
        panels: Further points between which ``phi`` is well approximated by a polynomial of
            degree 19; they make the quadrature efficient and change nothing else.
        slope_error: Estimated error of ``dphi`` where that is a numerical derivative.
        source: The callable it was made from, or ``None`` for a named activation.
        recipe: The function and arguments that make it again, for pickling.

    Notes:
        Two activations are equal if name, parameters, breakpoints and source are. One can be
        pickled if its source can. Make one with :func:`isometry.activation`.

    Examples:
        >>> square = Activation("square", np.square, lambda h: 2 * h)
        >>> square(np.array([-1.0, 3.0]))
        array([1., 9.])
    """

    name: str
    phi: Function = field(compare=False)
    dphi: Function = field(compare=False)
    breakpoints: tuple[float, ...] = ()
    jumps: tuple[float, ...] = ()
    odd: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    closed: Callable[[Any], tuple[Any, Any, Any, Any]] | None = field(default=None, compare=False)
    panels: tuple[float, ...] = field(default=(), compare=False)
    slope_error: Function | None = field(default=None, compare=False)
    source: Any = None
    recipe: tuple[Callable[..., Any], tuple[Any, ...]] | None = field(default=None, compare=False)

    def __call__(self, h: Reals) -> np.ndarray:
        """Return ``phi(h)`` for an array, list or number ``h``.

        Raises:
            TypeError: If ``h`` is not numeric.
            ValueError: If ``h`` or ``phi(h)`` is not finite.
        """
        points = check_array("h", h)
        with np.errstate(all="ignore"):  # what is not finite is refused below
            values = np.asarray(self.phi(points))
        bad = ~(np.isfinite(points) & np.isfinite(values))
        if bad.any():
            raise ValueError(
                f"`h` contains {points[bad].flat[0]:g}, where `{self.name}` is not finite; "
                "expected numbers with finite values."
            )
        return values

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return the recipe for pickling and copying, where there is one."""
        return self.recipe or super().__reduce_ex__(protocol)

    def __repr__(self) -> str:
        """Return ``Activation('leaky_relu', negative_slope=0.1)``."""
        parameters = "".join(f", {key}={value!r}" for key, value in self.parameters.items())
        return f"Activation({self.name!r}{parameters})"

    def __str__(self) -> str:
        """Return ``leaky_relu(negative_slope=0.1)``, which :func:`isometry.activation` takes."""
        given = ", ".join(f"{key}={value!r}" for key, value in self.parameters.items())
        return f"{self.name}({given})" if given else self.name


ActivationLike: TypeAlias = Checked[Union[str, Activation, Callable[..., Any]]]  # noqa: UP007
"""A name, an :class:`Activation`, a callable of arrays or tensors, or a torch module."""


def _quiet(f: Function) -> Function:
    """Return a function whose squares and exponentials may overflow on the way to a right value."""

    @functools.wraps(f)
    def silent(h: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(f(h))

    return silent


def build(name: str, parameters: Mapping[str, Any]) -> Activation:
    """Return a named activation whose panels grow geometrically from its feature scale."""
    shape = NAMED[name](**parameters)
    edges = [shape.length * grade for grade in _GRADES]
    return Activation(
        name,
        _quiet(shape.phi),
        _quiet(shape.dphi),
        shape.breakpoints,
        shape.jumps,
        shape.odd,
        parameters,
        closed=shape.closed,
        panels=tuple([-edge for edge in reversed(edges)] + [0.0] + edges),
        recipe=(build, (name, parameters)),
    )
