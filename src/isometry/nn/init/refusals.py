"""Why a block cannot be scaled, in a sentence that says what would help."""

from torch import Tensor, nn

from isometry.nn.blocks.blocks import Block

_LEGACY = {"SpectralNorm": "remove_spectral_norm", "WeightNorm": "remove_weight_norm"}


def no_parameter(block: Block) -> str:
    """Say that nothing at the end of a branch scales it."""
    return (
        f"`model` has no linear map or gain at the end of the branch of block {block.name!r}; "
        "expected a parameter that scales it. Add a linear map, or leave the block out with "
        "`blocks=`."
    )


def unknown_parameter(name: str) -> str:
    """Say that a parameter is not the model's own."""
    return (
        f"`model` uses {name!r}, which is not among its own parameters; expected one module that "
        "holds all. Register the modules that it calls."
    )


def closed_map(block: Block, name: str, parameter: Tensor) -> str:
    """Say that a branch ends in a map or a gain that is off."""
    return (
        f"`model` has {name!r} at {float(parameter.abs().max()):g} at the end of block "
        f"{block.name!r}; expected weights that can be scaled. Pass `redraw=True` to set gains to "
        "1 and draw weights anew before they are scaled."
    )


def closed_gate(block: Block, name: str) -> str:
    """Say that a branch is closed by a gate, and by which parameter."""
    return (
        f"`model` has {name!r} at 0, which closes the gate of block {block.name!r}; expected a "
        "branch that can be scaled. Pass `redraw=True` to open the gate as far as c asks for and "
        "keep the rest."
    )


def no_opening(block: Block, names: list[str]) -> str:
    """Say that a branch is 0 and no single parameter opens it."""
    zero = ", ".join(map(repr, names[:3])) or "no parameter"
    return (
        f"`model` has a branch in block {block.name!r} that is 0, and no single parameter opens "
        f"it (at 0: {zero}); expected a branch that can be scaled. Set all but one of them to "
        "other values, or leave the block out with `blocks=`."
    )


def cannot_scale(name: str) -> str:
    """Say that a parameter cannot be drawn as a linear map."""
    return (
        f"`model` has {name!r} at 0, which is not seen to be a linear map; expected one that can "
        "be drawn anew. Give it values other than 0 first."
    )


def fixed_size(root: nn.Module, block: Block, name: str, c: float | None = None) -> str:
    """Say that a branch has the same size whatever its weights', and what fixes it."""
    stays = "" if c is None else f" and c at {c:.3g}"
    if block.parameters.get(name) == "reparametrised":
        what, remedy = _reparametrisation(root, name)
        return (
            f"`model` computes the last map of block {block.name!r} from {name!r} by {what}, "
            f"which keeps its size{stays} whatever the scale of the parameter; expected a "
            f"parameter that scales the branch. Put a gain behind that map{remedy}."
        )
    return (
        f"`model` has a norm behind {name!r} in the branch of block {block.name!r}, which keeps "
        f"the branch's size{stays} at any scale of its weights; expected a parameter behind the "
        "norm. Give the norm a weight (`elementwise_affine=True`) or put a gain behind it, or "
        "leave the block out with `blocks=`."
    )


def unreachable(
    block: Block, target: float, low: tuple[float, float], high: tuple[float, float]
) -> str:
    """Say that no factor gives a block its target, from (factor, c) on both sides of the search."""
    asks = f"`c` asks for {target:.3g} from block {block.name!r}"
    if low[1] < target < high[1]:
        return (
            f"{asks}, whose c jumps from {low[1]:.3g} to {high[1]:.3g} at one scale of its "
            "weights: its activation has a kink that so few samples do not average out; expected "
            "an `x` of more samples. Pass a larger batch, or raise `rtol`."
        )
    return (
        f"{asks}, which has between {low[1]:.3g} and {high[1]:.3g} at every scale of its weights "
        "that was tried; expected a c inside. Ask for another `c`, or another share of it."
    )


def _reparametrisation(root: nn.Module, name: str) -> tuple[str, str]:
    """Return what computes a weight, and how it is taken off."""
    path, _, key = name.rpartition(".")
    if ".parametrizations." in f".{path}":
        owner, _, weight = path.rpartition(".parametrizations.")
        owner = owner or path.partition("parametrizations.")[0].rstrip(".")
        weight = path.rpartition(".")[2]
        kinds = ", ".join(
            type(part).__name__.strip("_") for part in root.get_submodule(path).children()
        )
        module = f"model.{owner}" if owner else "model"
        call = f"torch.nn.utils.parametrize.remove_parametrizations({module}, {weight!r})"
        return f"`{kinds}`", f", or take the parametrisation off for good: `{call}`"
    module = root.get_submodule(path) if path else root
    for hook in module._forward_pre_hooks.values():
        kind = type(hook).__name__
        if kind in _LEGACY and key.startswith(getattr(hook, "name", "\0")):
            call = f"torch.nn.utils.{_LEGACY[kind]}(model.{path})"
            return f"`{kind}`", f", or take it off for good: `{call}`"
    return "a normalisation in the model's own code", " (a parameter that multiplies its output)"
