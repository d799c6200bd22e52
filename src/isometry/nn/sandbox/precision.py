"""Double precision for the small parts of a measurement, on devices that have none as well."""

import torch
from torch import Tensor


def has_float64(device: torch.device) -> bool:
    """Return whether a device computes in float64; Apple's does not."""
    return device.type != "mps"


def widest(device: torch.device) -> torch.dtype:
    """Return the widest floating-point type of a device."""
    return torch.float64 if has_float64(device) else torch.float32


def wide(value: Tensor) -> Tensor:
    """Return a value in float64: where it is, or on the CPU where its device has no such type."""
    return value.double() if has_float64(value.device) else wide_on_cpu(value)


def wide_on_cpu(value: Tensor) -> Tensor:
    """Return a value in float64 on the CPU, converted there: its device may have no such type."""
    return _moved(value).double()


def _moved(value: Tensor) -> Tensor:
    return value.cpu()
