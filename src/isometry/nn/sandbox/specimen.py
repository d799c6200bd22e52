"""A model at an input, as every measurement takes it: one point, one output, all else held."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isometry.nn.sandbox.checks import NO_VALUES, check_input, check_output, explain
from isometry.nn.sandbox.inputs import Arguments, Key, arguments_of, picked
from isometry.nn.sandbox.lookup import FoundLookup, Lookup
from isometry.nn.sandbox.sandbox import Sandbox
from isometry.nn.sandbox.unwrap import unwrapped

Inputs = Any
"""One tensor, or a tuple or mapping of a model's inputs."""


@dataclass(frozen=True, eq=False)
class Specimen:
    """The function of one tensor that a model, its inputs and a choice of output make."""

    model: Callable[..., Any]
    """The model without wrappers."""
    point: Tensor
    """Where the derivative is taken, detached."""
    about: str
    """What the point is, where that was not said by passing one tensor."""
    arguments: Arguments
    output: Key | None
    ids: Tensor | None = None
    """Token ids, where the point is what the model first makes of them."""

    @classmethod
    def of(
        cls,
        model: Any,
        x: Inputs,
        *,
        inputs: Inputs = None,
        wrt: Any = None,
        output: Any = None,
        batch_norm: str | None = None,
    ) -> "Specimen":
        """Return the specimen; one that is passed as the model is returned as it is.

        Raises:
            TypeError: If the model is not callable, the point is neither floating point nor
                token ids that the model looks up, or both ``x`` and ``inputs`` are given.
            ValueError: If it is not finite or empty, or ``wrt`` is none of the inputs.
        """
        if isinstance(model, Specimen):
            return model
        if not callable(model):
            kind = type(model).__name__
            raise TypeError(f"`model` is a {kind}; expected a module or a callable.")
        if inputs is not None and x is not None:
            raise TypeError("`x` and `inputs` are both given; expected one of them.")
        model = unwrapped(model)
        arguments = arguments_of(model, x if inputs is None else inputs, wrt)
        point, about = arguments.point, "" if arguments.alone else f"`{arguments.label}`"
        if not _are_ids(point):
            return cls(model, check_input(point), about, arguments, output)
        found = _looked_up(model, arguments, point, batch_norm)
        about = found.described(model, arguments.label)
        return cls(model, _checked(found.value, about), about, arguments, output, point)

    @property
    def aside(self) -> str:
        """What the point is, as the end of a sentence."""
        return f"; with respect to {self.about}" if self.about else ""

    @property
    def plain(self) -> bool:
        """Whether the model is called with the point alone."""
        return self.arguments.alone and self.ids is None and not self.arguments.named

    def __call__(self, x: Tensor) -> Tensor:
        """Return the output at another point; the first operation on it may be in place.

        Raises:
            TypeError: If the output has no real floating-point tensor.
            ValueError: If it is empty or has no data, or there is none of the name.
        """
        if self.ids is None:
            return check_output(picked(self.arguments.call(self.model, x), self.output))
        ids = self.ids.clone()
        with Lookup(ids, x):
            return check_output(picked(self.arguments.call(self.model, ids), self.output))


def _are_ids(value: object) -> bool:
    if not isinstance(value, Tensor) or value.layout is not torch.strided:
        return False
    return not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)


def _looked_up(
    model: Callable[..., Any], arguments: Arguments, ids: Tensor, batch_norm: str | None
) -> Lookup:
    """Run the model until it makes floating-point numbers of the ids.

    Raises:
        TypeError: If it does not.
    """
    own = ids.clone()
    lookup, sandbox = (
        Lookup(own),
        Sandbox(own, batch_norm, [model] if isinstance(model, nn.Module) else []),
    )
    try:
        with sandbox, lookup:
            arguments.call(model, own)
    except FoundLookup:
        return lookup
    except RuntimeError as error:  # a layer for floating point met the ids themselves
        explained = explain(error, sandbox, own)
        refused = TypeError(_no_lookup(arguments, ids))
        raise (refused if explained is error else explained) from error
    raise TypeError(_no_lookup(arguments, ids))


def _checked(value: Any, about: str) -> Tensor:
    """Return what a model makes of ids; what is wrong with it is the model's, not the ids'.

    Raises:
        ValueError: If it has no values, or such as are not finite.
    """
    if isinstance(value, Tensor) and value.is_meta:
        raise ValueError(NO_VALUES)
    if isinstance(value, Tensor) and not torch.isfinite(value).all():
        raise ValueError(
            f"{about} contains NaN or infinite entries; expected finite numbers. Initialise "
            "the model, or load an earlier checkpoint."
        )
    return check_input(value)


def _no_lookup(arguments: Arguments, ids: Tensor) -> str:
    return (
        f"`{arguments.label}` has dtype {ids.dtype} and `f` makes nothing of it that can be "
        "differentiated; expected real floating point, or token ids that are looked up. Pass the "
        "embeddings: `JacobianOperator(lambda e: model(inputs_embeds=e), embeddings)`."
    )
