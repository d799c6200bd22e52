"""Models built without storage for what is drawn at random, but with all that is computed.

Everything on the meta device would lose the constants as well (frequencies of rotations, masks,
gains of 1), which nothing brings back.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_UNFILLED = {torch.empty, torch.rand, torch.randn}
"""What gives a tensor whose values are not the model's own: to be drawn, or drawn already."""


class skeleton(TorchFunctionMode):  # noqa: N801 (a context, as torch.no_grad)
    """Build the models made inside on the meta device, up to their constants.

    Notes:
        What ``torch.empty``, ``torch.rand`` and ``torch.randn`` make has no storage; initialisation
        in place does nothing to it and takes no time. A 7B model takes as long as its modules.

    Examples:
        >>> with skeleton():
        ...     layer = torch.nn.Linear(10**6, 10**6)
        ...     gain = torch.nn.Parameter(torch.ones(3))
        >>> layer.weight.is_meta, gain.is_meta
        (True, False)
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None
    ) -> Any:
        """Call a function; what it does not fill gets no storage."""
        kwargs = kwargs or {}
        if func in _UNFILLED:
            kwargs = kwargs | {"device": "meta"}
            kwargs.pop("generator", None)
            kwargs.pop("pin_memory", None)
        return func(*args, **kwargs)
