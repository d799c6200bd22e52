r"""Known initialisation rules as plans, so that they can be compared by one measurement.

Every function draws all linear maps anew, sets their biases, applies its rule to the residual
branches it finds and returns an :class:`~isometry.nn.InitPlan` with the c that results.
Rules that also change the architecture are applied as far as the given architecture allows.
"""

import math
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from isometry.nn.blocks.blocks import Block
from isometry.nn.init.attention import query_key_rows
from isometry.nn.init.changes import Change
from isometry.nn.init.drawn import DrawnModel, Options, drawn, measured
from isometry.nn.init.plans import InitPlan
from isometry.nn.init.unit_variance import unit_variance
from isometry.nn.roles.uses import WeightMap
from isometry.nn.sandbox._typing import Model, ModelInput

__all__ = [
    "deepnet",
    "depth_mup",
    "fixup",
    "he",
    "lsuv",
    "rezero",
    "skipinit",
    "stable_resnet",
    "torch_default",
    "xavier",
]


def he(model: Model, x: ModelInput, **options: Unpack[Options]) -> InitPlan:
    """Draw every linear map at variance 2 / fan_in, which keeps a ReLU signal.

    Biases are 0. The residual sum is not accounted for: c grows in proportion to the depth.

    Args:
        model: As for :func:`isometry.nn.plan`.
        x: As for :func:`isometry.nn.plan`.
        **options: ``blocks``, ``batch_norm`` and ``generator``, as for the plan.

    Returns:
        The plan.

    Raises:
        TypeError: If the input or the output is not one floating-point tensor.
        ValueError: If no residual block is found, or one has no parameter that scales it.

    References:
        [he2015] arXiv:1502.01852.
    """
    base = drawn(model, x, options, _he)
    return measured(base, "he", "He draw")


def xavier(model: Model, x: ModelInput, **options: Unpack[Options]) -> InitPlan:
    """Draw every linear map at variance 2 / (fan_in + fan_out).

    Biases are 0.

    Args:
        model: As for :func:`isometry.nn.plan`.
        x: As for :func:`isometry.nn.plan`.
        **options: ``blocks``, ``batch_norm`` and ``generator``, as for the plan.

    Returns:
        The plan.

    Raises:
        TypeError: If the input or the output is not one floating-point tensor.
        ValueError: If no residual block is found, or one has no parameter that scales it.

    References:
        [glorot2010] PMLR 9:249-256.
    """
    base = drawn(model, x, options, _xavier)
    return measured(base, "xavier", "Xavier draw")


def torch_default(model: Model, x: ModelInput, **options: Unpack[Options]) -> InitPlan:
    """Draw every linear map and bias as torch's own layers do.

    Both are uniform within 1 / sqrt(fan_in), a variance of 1 / (3 fan_in).

    Args:
        model: As for :func:`isometry.nn.plan`.
        x: As for :func:`isometry.nn.plan`.
        **options: ``blocks``, ``batch_norm`` and ``generator``, as for the plan.

    Returns:
        The plan.

    Raises:
        TypeError: If the input or the output is not one floating-point tensor.
        ValueError: If no residual block is found, or one has no parameter that scales it.

    References:
        [he2015] arXiv:1502.01852, the uniform draw with a slope of sqrt(5).
    """
    base = drawn(
        model,
        x,
        options,
        lambda n, _: 1 / (3 * n),
        scheme="uniform",
        bias=lambda n: 1 / math.sqrt(3 * n),
    )
    return measured(base, "torch default", "uniform draw")


def fixup(model: Model, x: ModelInput, **options: Unpack[Options]) -> InitPlan:
    """Scale the inside of every branch down by depth and set its last map to 0.

    He draw; with L branches of m linear maps each the inner ones are multiplied by
    L^(-1 / (2m - 2)). The scalar biases and multipliers of the rule are not added.

    Args:
        model: As for :func:`isometry.nn.plan`.
        x: As for :func:`isometry.nn.plan`.
        **options: ``blocks``, ``batch_norm`` and ``generator``, as for the plan.

    Returns:
        The plan.

    Raises:
        TypeError: If the input or the output is not one floating-point tensor.
        ValueError: If no residual block is found, or one has no parameter that scales it.

    References:
        [zhang2019] arXiv:1901.09321.
    """
    base = drawn(model, x, options, _he)
    for block in base.blocks:
        inside = base.branch(block)
        for name in inside:
            power = -1 / (2 * len(inside) - 2) if len(inside) > 1 else 0.0
            base.times(name, len(base.blocks) ** power)
        _switch_off(base, [term[-1:] for term in base.ends(block)])
    return measured(base, "fixup", "last map 0, inner maps scaled by depth")


def skipinit(model: Model, x: ModelInput, **options: Unpack[Options]) -> InitPlan:
    """Draw by He's rule and start every branch at 0 by its gain.

    Where a branch has no gain its last linear map is 0 instead, which is the same function.

    Args:
        model: As for :func:`isometry.nn.plan`.
        x: As for :func:`isometry.nn.plan`.
        **options: ``blocks``, ``batch_norm`` and ``generator``, as for the plan.

    Returns:
        The plan.

    Raises:
        TypeError: If the input or the output is not one floating-point tensor.
        ValueError: If no residual block is found, or one has no parameter that scales it.

    References:
        [de2020] arXiv:2002.10444.
    """
    return _gains_off(drawn(model, x, options, _he), "skipinit")


def rezero(model: Model, x: ModelInput, **options: Unpack[Options]) -> InitPlan:
    """Draw by Xavier's rule and start every branch at 0 by its gain.

    Where a branch has no gain its last linear map is 0 instead, which is the same function.

    Args:
        model: As for :func:`isometry.nn.plan`.
        x: As for :func:`isometry.nn.plan`.
        **options: ``blocks``, ``batch_norm`` and ``generator``, as for the plan.

    Returns:
        The plan.

    Raises:
        TypeError: If the input or the output is not one floating-point tensor.
        ValueError: If no residual block is found, or one has no parameter that scales it.

    References:
        [bachlechner2021] arXiv:2003.04887.
    """
    return _gains_off(drawn(model, x, options, _xavier), "rezero")


def lsuv(model: Model, x: ModelInput, **options: Unpack[Options]) -> InitPlan:
    """Draw orthogonal maps and scale each to a unit variance of its output at ``x``.

    The maps are scaled in the order in which they run, each expert of a bank alone; biases are 0.

    Args:
        model: As for :func:`isometry.nn.plan`.
        x: As for :func:`isometry.nn.plan`.
        **options: ``blocks``, ``batch_norm`` and ``generator``, as for the plan.

    Returns:
        The plan.

    Raises:
        TypeError: If the input or the output is not one floating-point tensor.
        ValueError: If no residual block is found, or one has no parameter that scales it.

    References:
        [mishkin2016] arXiv:1511.06422.
    """
    base = drawn(
        model,
        x,
        options,
        lambda n, _: 1 / n,
        scheme="orthogonal",
    )
    base.changes.update(unit_variance(base.model, base.changes))
    return measured(base, "lsuv", "orthogonal draw, unit output variance")


def deepnet(model: Model, x: ModelInput, **options: Unpack[Options]) -> InitPlan:
    """Draw by Xavier's rule with the gain (8 N)^(-1/4) in the branches.

    N is half the number of branches; maps that make queries and keys keep the gain 1, and so do
    those rows of a fused map, whose parts count as maps of their own. The rule's larger skip,
    (2 N)^(1/4) before a layer norm, is not added.

    Args:
        model: As for :func:`isometry.nn.plan`.
        x: As for :func:`isometry.nn.plan`.
        **options: ``blocks``, ``batch_norm`` and ``generator``, as for the plan.

    Returns:
        The plan.

    Raises:
        TypeError: If the input or the output is not one floating-point tensor.
        ValueError: If no residual block is found, or one has no parameter that scales it.

    References:
        [wang2022] arXiv:2203.00555.
    """
    base = drawn(model, x, options, _xavier)
    beta = (4 * len(base.blocks)) ** -0.25
    rows = query_key_rows(base.model, base.changes, base.blocks, base.maps)
    for name in dict.fromkeys(name for block in base.blocks for name in base.branch(block)):
        if name not in rows:
            base.times(name, beta)
        elif not bool(rows[name].all()):
            base.weigh(name, _fused_gains(rows[name].cpu(), base.maps[name], beta))
    return measured(base, "deepnet", f"Xavier draw, gain {beta:.4g} in the branch")


def depth_mup(model: Model, x: ModelInput, **options: Unpack[Options]) -> InitPlan:
    """Draw by He's rule and scale the end of each of L branches by 1 / sqrt(L).

    Args:
        model: As for :func:`isometry.nn.plan`.
        x: As for :func:`isometry.nn.plan`.
        **options: ``blocks``, ``batch_norm`` and ``generator``, as for the plan.

    Returns:
        The plan.

    Raises:
        TypeError: If the input or the output is not one floating-point tensor.
        ValueError: If no residual block is found, or one has no parameter that scales it.

    References:
        [yang2023] arXiv:2310.02244.
    """
    base = drawn(model, x, options, _he)
    factor = len(base.blocks) ** -0.5
    for block in base.blocks:
        _scale_end(base, block, factor)
    return measured(base, "depth-muP", "1 / sqrt(L)")


def stable_resnet(model: Model, x: ModelInput, **options: Unpack[Options]) -> InitPlan:
    """Draw by He's rule and scale branch l by 1 / (sqrt(l) log(l + 1)).

    The decreasing scaling, whose squares have a finite sum over any depth; l starts at 1.

    Args:
        model: As for :func:`isometry.nn.plan`.
        x: As for :func:`isometry.nn.plan`.
        **options: ``blocks``, ``batch_norm`` and ``generator``, as for the plan.

    Returns:
        The plan.

    Raises:
        TypeError: If the input or the output is not one floating-point tensor.
        ValueError: If no residual block is found, or one has no parameter that scales it.

    References:
        [hayou2021] arXiv:2010.12859.
    """
    base = drawn(model, x, options, _he)
    for place, block in enumerate(base.blocks, start=1):
        _scale_end(base, block, 1 / (math.sqrt(place) * math.log(place + 1)))
    return measured(base, "stable resnet", "1 / (sqrt(l) log(l + 1))")


def _he(fan_in: int, _fan_out: int) -> float:
    return 2 / fan_in


def _xavier(fan_in: int, fan_out: int) -> float:
    return 2 / (fan_in + fan_out)


def _fused_gains(query_key: Tensor, fused: WeightMap, beta: float) -> Tensor:
    """Return for each output of a map of queries, keys and values its gain over Xavier's draw.

    Queries and keys are told apart by their number alone: there are as many keys as values.
    """
    values = int((~query_key).sum())
    queries = max(int(query_key.sum()) - values, 0)
    order = query_key.cumsum(0)
    size = torch.where(query_key & (order <= queries), queries, values).double()
    if not queries:
        size = torch.where(query_key, float(query_key.sum()), size)
    gain = torch.where(query_key, 1.0, beta)
    return gain * ((fused.fan_in + fused.fan_out) / (fused.fan_in + size)).sqrt()


def _scale_end(base: DrawnModel, block: Block, factor: float) -> None:
    for name in dict.fromkeys(term[0] for term in base.ends(block)):
        base.times(name, factor)


def _gains_off(base: DrawnModel, name: str) -> InitPlan:
    for block in base.blocks:
        _switch_off(base, [term[:1] for term in base.ends(block)])
    return measured(base, name, "gain 0")


def _switch_off(base: DrawnModel, terms: Sequence[Sequence[str]]) -> None:
    for name in (name for term in terms for name in term):
        base.changes[name] = Change(0.0)
