"""Other tensors in the place of a model's parameters, for a while."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from isometry.nn.sandbox.undo import Undo, reversible


@reversible
def swapped(undo: Undo, root: nn.Module, new: Mapping[Any, Tensor]) -> None:
    """Let the model hold other tensors inside; the very same parameters are back afterwards.

    A module that is reached by several names is visited once: what is put back is what was there.
    """
    for module in root.modules():
        for key, parameter in module._parameters.items():
            if parameter is not None and parameter in new:
                undo.before(module._parameters.__setitem__, key, parameter)
                module._parameters[key] = new[parameter]  # pyright: ignore[reportArgumentType]
