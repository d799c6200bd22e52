r"""Learning rates that do not depend on the scale of the weights: the NTK parametrisation's.

Plain SGD on W with Var W = v moves a map's output by an amount that does not know v, while what it
had before goes like sqrt(v): the relative step is 1/v. Rates in proportion to v make it the same
for every map and every activation; an optimiser that divides by the gradient's size needs sqrt(v).
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from isometry._checks import check_kind, check_real
from isometry._typing import Checked, Real
from isometry._words import Optimiser
from isometry.nn.init.changes import Changes
from isometry.nn.init.plans import InitPlan, model_of
from isometry.nn.networks.resnet import ConvResNet, ResNet
from isometry.nn.sandbox.precision import wide
from isometry.nn.sandbox.unwrap import plain_parameters, unwrapped
from isometry.theory.propagation import ResNetSpec

__all__ = ["learning_rates"]


def learning_rates(
    model: Checked[nn.Module | InitPlan], lr: Real, *, optimiser: Checked[Optimiser] = "sgd"
) -> list[dict[str, Any]]:
    """Return an optimiser's parameter groups whose steps do not depend on the weights' scale.

    Args:
        model: The network as it was drawn: one of ours, or any module before its first step, such
            as one that a plan was applied to. Or what :func:`isometry.nn.plan` returned for it:
            the groups are of the planned module's parameters, the rates of the values that the
            plan gives them, written already or not.
        lr: The rate of a weight of variance 1.
        optimiser: ``"sgd"``: rates in proportion to the variance that a map was drawn with;
            ``"adam"``: to its standard deviation, for every optimiser that divides gradients by
            their size.

    Returns:
        One group per parameter that learns, with ``params``, ``lr`` and ``name``. A map's variance
        is its specification's in :class:`ResNet` and :class:`ConvResNet`, otherwise the mean
        square of its entries, and 1/fan_in where these are all zero. Its bias learns like a weight
        of one more input, of mean square 1, per fan_in: at rate variance times fan_in. What is no
        map (gains, their biases) learns at ``lr``.

    Raises:
        TypeError: If ``model`` is no module or plan, or ``lr`` not a number.
        ValueError: If ``lr`` is not above 0, ``optimiser`` unknown, a weight not finite, or the
            planned module gone or unknown, as for a plan of a baseline.

    References:
        The parametrisation of the neural tangent kernel; that the rates make learning curves of
        different activations at equal c agree: derived and measured here.

    Examples:
        >>> from isometry import ResNetSpec
        >>> net = ResNet(ResNetSpec("relu", depth=2, sigma_w=2.0), 8)
        >>> [round(group["lr"], 4) for group in learning_rates(net, 0.1)]
        [0.025, 0.2, 0.025, 0.2]
    """
    changes: Changes = {}
    spec: ResNetSpec | None = None
    if isinstance(model, InitPlan):
        changes, spec, model = model.changes, model.spec, _planned(model)
    check_kind("model", model, nn.Module, "a torch.nn.Module")
    rate = check_real("lr", lr, above=0.0)
    if optimiser not in ("sgd", "adam"):
        raise ValueError(f"`optimiser` is {optimiser!r}; expected 'sgd' or 'adam'.")
    root: Any = unwrapped(model)
    if spec is None and isinstance(root, (ResNet, ConvResNet)):
        spec = root.spec
    known = plain_parameters(root)
    new = known | {name: change.values(name, known[name]) for name, change in changes.items()}
    power = 1.0 if optimiser == "sgd" else 0.5
    return [
        {"params": [p], "lr": rate * _variance(spec, name, new) ** power, "name": name}
        for name, p in known.items()
        if p.requires_grad
    ]


def _planned(plan: InitPlan) -> nn.Module:
    """Return the module that a plan was made for.

    Raises:
        ValueError: If it is gone, or the plan does not know it.
    """
    model = model_of(plan)
    if model is None:
        raise ValueError(
            "`model` is a plan whose module is gone or not known to it; expected a plan that "
            "`isometry.nn.plan` made for a module still there. Write it with `apply_(model, plan)` "
            "and pass the model."
        )
    return model


def _variance(spec: ResNetSpec | None, name: str, known: Mapping[str, Tensor]) -> float:
    """Return the variance that a parameter was drawn with, or what stands for it."""
    parameter = known[name]
    if parameter.ndim > 1:
        return _drawn(spec, name, parameter)
    prefix, _, last = name.rpartition(".")
    weight = known.get(f"{prefix}.weight" if prefix else "weight")
    if last != "bias" or weight is None or weight.ndim < 2:
        return 1.0
    return _drawn(spec, f"{prefix}.weight", weight) * _fan_in(weight)


def _drawn(spec: ResNetSpec | None, name: str, weight: Tensor) -> float:
    """Return the variance of a map's weights.

    Raises:
        ValueError: If an entry is not finite.
    """
    if spec is not None:
        return spec.sigma_w**2 / (_fan_in(weight) * spec.depth)
    square = float(wide(weight.detach()).square().mean())
    if not math.isfinite(square):
        raise ValueError(
            f"`model` has {name!r} with entries that are not finite; expected drawn weights."
        )
    return square or 1.0 / _fan_in(weight)


def _fan_in(weight: Tensor) -> int:
    return weight[0].numel()
