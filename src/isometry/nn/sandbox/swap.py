"""Other tensors in the place of a model's parameters, for a while."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def swapped(root: nn.Module, new: Mapping[nn.Parameter, Tensor]) -> Iterator[None]:
    """Let the model hold other tensors inside; the very same parameters are back afterwards.

    A module that is reached by several names is visited once: what is put back is what was there.
    """
    originals: list[tuple[dict[str, nn.Parameter | None], str, nn.Parameter]] = []
    try:
        for module in root.modules():
            for key, parameter in module._parameters.items():
                if parameter is not None and parameter in new:
                    originals.append((module._parameters, key, parameter))
                    module._parameters[key] = new[parameter]  # pyright: ignore[reportArgumentType]
        yield
    finally:
        for place, key, parameter in originals:
            place[key] = parameter
