"""Recognise torch's functions and modules without importing torch: it is loaded if they exist."""

import copy
import functools
import sys
from typing import Any, cast

import numpy as np

from isometry._typing import Function
from isometry.theory.activations.catalogue import ALIASES, NAMED

_MODULES: dict[str, tuple[str, ...]] = {
    "CELU": ("alpha",),
    "ELU": ("alpha",),
    "GELU": ("approximate",),
    "Hardshrink": ("lambd",),
    "Hardsigmoid": (),
    "Hardswish": (),
    "Hardtanh": ("min_val", "max_val"),
    "Identity": (),
    "LeakyReLU": ("negative_slope",),
    "LogSigmoid": (),
    "Mish": (),
    "PReLU": ("weight",),
    "ReLU": (),
    "ReLU6": (),
    "RReLU": ("lower", "upper"),
    "SELU": (),
    "SiLU": (),
    "Sigmoid": (),
    "Softplus": ("beta", "threshold"),
    "Softshrink": ("lambd",),
    "Softsign": (),
    "Tanh": (),
    "Tanhshrink": (),
    "Threshold": ("threshold", "value"),
}
MIXING = (
    *("glu", "gumbel_softmax", "log_softmax", "logsoftmax", "multihead_attention"),
    *("multiheadattention", "normalize", "softmax", "softmax2d", "softmin"),
)


def torch_module() -> Any:
    """Return torch if some import has loaded it, else ``None``."""
    return sys.modules.get("torch")


def is_module(spec: Any) -> bool:
    """Tell whether ``spec`` is an instance of ``torch.nn.Module``."""
    torch = torch_module()
    return torch is not None and isinstance(spec, torch.nn.Module)


def recognise(spec: Any) -> tuple[str, dict[str, Any]] | None:
    """Return the catalogue's name and parameters of a torch function or module."""
    torch = torch_module()
    if torch is None:
        return None
    if isinstance(spec, torch.nn.Module):
        return _known_module(torch, spec)
    keywords: dict[str, Any] = {}
    if isinstance(spec, functools.partial) and not spec.args:
        outer = cast("functools.partial[Any]", spec)
        keywords = {key: outer.keywords[key] for key in outer.keywords if key != "inplace"}
        spec = outer.func
    name = _functions(torch).get(id(cast(object, spec)))
    return None if name is None else (name, keywords)


def _known_module(torch: Any, module: Any) -> tuple[str, dict[str, Any]] | None:
    kind = type(module).__name__
    if kind not in _MODULES or type(module) is not getattr(torch.nn, kind):
        return None
    if kind == "PReLU":
        if module.weight.numel() != 1:
            raise NotImplementedError(
                f"`spec` is PReLU({module.weight.numel()}); the theory covers one activation for "
                "all channels, so expected a PReLU with a single weight."
            )
        return "prelu", {"weight": module.weight.item()}
    lower = {"LeakyReLU": "leaky_relu"}.get(kind, kind.lower())
    return ALIASES.get(lower, lower), {key: getattr(module, key) for key in _MODULES[kind]}


@functools.cache
def _functions(torch: Any) -> dict[int, str]:
    """Return the identities of torch's own functions, ``F.linear`` being none of ours."""
    table = {id(torch.special.expit): "sigmoid"}
    for module in (torch.nn.functional, torch, torch.special):
        for name in NAMED.keys() - {"linear"}:
            for spelling in (name, name + "_"):
                if hasattr(module, spelling):
                    table[id(getattr(module, spelling))] = name
    return table


def bridge(spec: Any) -> tuple[Function, Function]:
    """Return phi and its derivative by autograd, both in float64 on the CPU."""
    torch = torch_module()
    if is_module(spec):
        spec = copy.deepcopy(spec).to("cpu", torch.float64).eval()

    def phi(h: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(spec(torch.tensor(h)).numpy())

    def dphi(h: np.ndarray) -> np.ndarray:
        with torch.enable_grad():
            x = torch.tensor(h, requires_grad=True)
            y = spec(x * 1.0)
            if not y.requires_grad:
                return np.zeros_like(h)
            (slope,) = torch.autograd.grad(y.sum(), x, allow_unused=True, materialize_grads=True)
        return slope.numpy()

    return phi, dphi
