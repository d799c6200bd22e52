"""The theory route: the paper's network gets its sigma_w from the activation alone."""

import math
from dataclasses import replace

import torch
from torch import nn

from isometry.nn.init.changes import Change, Changes, Draw
from isometry.nn.init.measured import MeasuredModel
from isometry.nn.init.plans import InitPlan, PlannedBlock
from isometry.nn.init.schemes import check_scheme
from isometry.nn.networks.resnet import ConvResNet, ResidualLayer, ResNet
from isometry.nn.sandbox.checks import check_input
from isometry.nn.sandbox.precision import wide
from isometry.nn.sandbox.unwrap import plain_parameters
from isometry.theory.design import solve_sigma_w
from isometry.theory.propagation import ResNetSpec, propagate


def follows_theory(root: nn.Module) -> bool:
    """Return whether signal propagation gives this network's c exactly at large width."""
    if isinstance(root, ConvResNet):
        return all(conv.padding_mode == "circular" for conv in root.linear_maps())  # pyright: ignore[reportAttributeAccessIssue]
    return isinstance(root, ResNet) and root.spec.skip != 0


def theory_plan(
    model: MeasuredModel, c: float, scheme: str, seed: int, *, centre: bool = False
) -> InitPlan:
    """Return the plan that draws every weight and bias at the sigma_w of ``c``.

    Raises:
        NotImplementedError: If the network is not one that the theory covers.
        TypeError: If x is not a floating-point tensor.
        ValueError: If no sigma_w gives ``c``.
    """
    root = model.root
    if not follows_theory(root):
        raise NotImplementedError(
            f"`method` is 'theory' but the model is a {type(root).__name__}; expected "
            "`isometry.nn.ResNet`, or `ConvResNet` with circular padding, and a skip other than "
            "0. Use method='data'."
        )
    x = wide(check_input(model.x))
    m1, m2 = float(x.mean()), float(x.square().mean())
    old: ResNetSpec = root.spec  # pyright: ignore[reportAssignmentType]
    old = replace(old, centre=old.centre or centre)
    if old.centre or old.unit:  # the layers' means and scales are those of such an input
        m1, m2 = 0.0, 1.0
    sigma_w = solve_sigma_w(
        old.activation,
        depth=old.depth,
        c=c * old.skip**2,
        sigma_b=old.sigma_b,
        skip=old.skip,
        m1=m1,
        m2=m2,
        centre=old.centre,
        signs=old.signs,
        unit=old.unit,
    )
    spec = replace(old, sigma_w=sigma_w)
    chi = propagate(spec, m1=m1, m2=m2).chi / (old.depth * old.skip**2)
    before, passes = _before(model)
    rows, changes = [], {}
    for index, (layer, part) in enumerate(zip(_layers(root), chi, strict=True)):
        name = f"layers.{index}"
        changes |= _draws(root, layer, name, spec, scheme, seed)
        tensors = tuple(key for key in changes if key.startswith(f"{name}."))
        why = f"{scheme} draw at sigma_w = {sigma_w:.6g}"
        rows.append(PlannedBlock(name, before[index], float(part), float(part), tensors, 1.0, why))
    return InitPlan(c, "theory", tuple(rows), passes, changes, spec)


def _layers(root: nn.Module) -> list[ResidualLayer]:
    return list(root.layers)  # pyright: ignore[reportArgumentType]


def _draws(
    root: nn.Module, layer: ResidualLayer, prefix: str, spec: ResNetSpec, scheme: str, seed: int
) -> Changes:
    """Return the draws of one layer: the weight by the scheme, the bias Gaussian."""
    changes = {}
    for key, parameter in plain_parameters(layer.linear).items():
        name = f"{prefix}.linear.{key}"
        if parameter.ndim == 1:
            recipe = Draw("normal", spec.sigma_b, seed)
        else:
            check_scheme(scheme, {name: tuple(parameter.shape)})
            fan_in = parameter[0].numel()
            recipe = Draw(scheme, spec.sigma_w / math.sqrt(fan_in * spec.depth), seed)
        if name in plain_parameters(root):
            changes[name] = Change(recipe)
    return changes


def _before(model: MeasuredModel) -> tuple[list[float | None], int]:
    """Return each block's c as the network is, None where its weights are not initialised."""
    layers = len(_layers(model.root))
    finite = all(bool(torch.isfinite(p).all()) for p in plain_parameters(model.root).values())
    if not finite:
        return [None] * layers, 0
    return [model.trace(block).c for block in model.found({})], 1
