"""Measure a model that does not fit into memory: its own forward pass, one layer at a time.

The model is on the meta device. Its forward pass is run as it stands; a layer gets its weights when
it is called, is measured there by reverse products, hands its output on and gives the weights
back. What layers take beside the stream (masks, rotations, earlier states) is what they take.
"""

import gc
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from isometry._checks import check_integer
from isometry._typing import Checked, Integer
from isometry.nn.roles.follow import evaluating
from isometry.nn.roles.recipes import Recipe, RecipeLike, recipe_of
from isometry.nn.sandbox._typing import Blocks, ModelInput
from isometry.nn.sandbox.inputs import arguments_of
from isometry.nn.sandbox.undo import Undo, reversible
from isometry.nn.scale.streaming.kept import Kept
from isometry.nn.scale.streaming.layers import layers_of
from isometry.nn.scale.streaming.loans import Supply, first_names, lent, tied_names
from isometry.nn.scale.streaming.measure import LayerCall, measured
from isometry.nn.scale.streaming.passed import Passed
from isometry.nn.scale.streaming.report import StreamReport
from isometry.nn.scale.streaming.roles import Roles
from isometry.nn.scale.streaming.supply import Drawn, Stored, stored

Progress = Callable[[int, int], None]
"""Called with the number of layers that are done, and of all."""


def stream(
    model: Checked[nn.Module],
    x: ModelInput,
    *,
    recipe: RecipeLike = "llama",
    weights: Checked[str | Path | None] = None,
    seed: Integer = 0,
    num_probes: Integer = 8,
    blocks: Blocks = None,
    trained: bool = False,
    out: Checked[str | Path | None] = None,
    progress: Checked[Progress | None] = None,
) -> StreamReport:
    """Measure c, growth and initialisation of a model layer by layer, one in memory at a time.

    Args:
        model: A module on the meta device with its constants, as :class:`isometry.nn.skeleton`
            makes it; it is so afterwards. In eval mode.
        x: Its input, as the model takes it; of token ids, tensors by name and the like as they are.
        recipe: What the weights are drawn by, as for :func:`isometry.nn.draw_`; read weights
            are not held to it.
        weights: A folder of safetensors files to read the weights from in place of drawing them.
        seed: Of the draw and of the probes.
        num_probes: Random probes for each residual block, at least 3.
        blocks: Layers, or their names; found without, as the outermost lists of modules.
        trained: Whether read weights are meant to be trained ones, as for :func:`isometry.nn.lint`.
        out: A folder that keeps every finished layer; a killed run goes on from it, with the same
            result bit by bit.
        progress: Called after each layer.

    Returns:
        The report; ``print`` it.

    Raises:
        TypeError: If ``model`` is no module, or an argument is of the wrong type.
        ValueError: If no layer is found or met, the weights do not fit, ``out`` holds another run,
            a parameter that the recipe does not speak of has no values, or a number is not finite.
        FileNotFoundError: If ``weights`` has no files.
        NotImplementedError: If ``out`` is given and a layer returns what cannot be kept.

    Notes:
        Cost of a layer: drawing or reading it, three forward passes (two for lint), and for each
        of its residual blocks two backward passes a probe. Memory: one layer, its activations, and
        the largest of what is outside the layers. docs/distributed.md has a 7B model's numbers.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"`model` is a {type(model).__name__}; expected a torch.nn.Module.")
    chosen, folder = recipe_of(recipe), None if weights is None else Path(weights)
    num_probes = check_integer("num_probes", num_probes, minimum=3)
    run = _Run(
        model, layers_of(model, blocks), chosen, folder, check_integer("seed", seed, minimum=0),
        num_probes, trained, progress,
    )  # fmt: skip
    arguments = arguments_of(model, x, None)
    if out is not None:
        run.kept = Kept(Path(out), run.request(arguments.positional, arguments.named))
    with evaluating([model]), _patched(run), torch.no_grad():
        model(*arguments.positional, **_without_cache(model, arguments.named))
    if not run.passes:
        raise ValueError(
            f"`model` calls none of its {len(run.layers)} layers at this input; expected a forward "
            "pass through them. Name what it calls with `blocks=`."
        )
    said = f"drawn by {chosen.name!r}, seed {run.seed}" if folder is None else f"from {folder.name}"
    held = chosen if folder is None else None
    return StreamReport.of(type(model).__name__, said, run.passes, held, trained)


def _without_cache(model: nn.Module, named: Mapping[str, Any]) -> dict[str, Any]:
    """Leave the cache of keys and values off, which layers would write to once for each product."""
    takes = getattr(getattr(model, "config", None), "use_cache", None) is not None
    return {"use_cache": False} | dict(named) if takes else dict(named)


class _Run:
    """One pass through a model, as far as it has come."""

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[nn.Module, str],
        recipe: Recipe,
        folder: Path | None,
        seed: int,
        num_probes: int,
        trained: bool,
        progress: Progress | None,
    ) -> None:
        self.model, self.layers = model, layers
        self.seed, self.num_probes, self.trained = seed, num_probes, trained
        self.names = first_names(model)
        self.roles = Roles(recipe, layers, self.names)
        self.drawn = Drawn(seed)
        self.folder = folder
        self.supply: Supply = self.drawn
        if folder is not None:
            shapes = {name: p.shape for p, name in self.names.items()}
            kept = {name: held.shape for name, _, _, held in _buffers(model)}
            self.supply = stored(folder, shapes, kept, tied_names(model))
        self.kept: Kept | None = None
        self.passes: list[Passed] = []
        self._progress = progress
        self._busy = False

    def request(self, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """Return what decides the result, of JSON's types."""
        leaves = [t for t in tree_leaves((positional, named)) if isinstance(t, Tensor)]
        shapes = {name: list(p.shape) for p, name in self.names.items()}
        return {
            "model": digest([type(self.model).__name__, str(self.model), str(shapes)]),
            "input": digest([str(t.tolist()) for t in leaves]),
            "recipe": str(self.roles.recipe), "weights": self._version(), "seed": self.seed,
            "num_probes": self.num_probes, "trained": self.trained,
            "layers": list(self.layers.values()),
        }  # fmt: skip

    def _version(self) -> str:
        """Return a word for the files that weights are read from: where, how long, how old."""
        if self.folder is None:
            return "None"
        files = [(path.name, path.stat()) for path in sorted(self.folder.glob("*.safetensors"))]
        return digest([f"{name} {about.st_size} {about.st_mtime_ns}" for name, about in files])

    def outside(self, module: nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a module's forward that has weights while it runs."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            if self.supply is self.drawn:
                self.drawn.fills |= self.roles.outside(module)
            with lent([module], self.names, self.supply):
                return call(*args, **kwargs)

        return forward

    def layer(self, module: nn.Module, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a layer's forward that is measured where it is called."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            if self._busy:
                return call(*args, **kwargs)
            number = len(self.passes)
            passed = None if self.kept is None else self.kept.read(number)
            if passed is None:
                passed = self._measured(LayerCall(module, self.layers[module], args, kwargs))
                if self.kept is not None:
                    self.kept.write(number, passed)
            self.passes.append(replace(passed, output=None))
            if self._progress is not None:
                self._progress(len(self.passes), max(len(self.layers), len(self.passes)))
            return passed.output

        return forward

    def _measured(self, call: LayerCall) -> Passed:
        self._busy = True
        try:
            if self.supply is self.drawn:
                self.drawn.fills |= self.roles.inside(call)
            with lent(call.module.modules(), self.names, self.supply):
                return measured(
                    call, seed=self.seed, number=len(self.passes), num_probes=self.num_probes,
                    trained=self.trained,
                )  # fmt: skip
        finally:
            self._busy = False
            gc.collect()  # graphs are in circles of references, and they hold the layer's weights


@reversible
def _patched(undo: Undo, run: _Run) -> None:
    """Let the layers, and what holds weights outside them, take these when they are called."""
    within = {inner for layer in run.layers for inner in layer.modules()}
    holders = [m for m in run.model.modules() if m not in within and _holds_some(m)]
    if isinstance(run.supply, Stored):
        _read_buffers(undo, run.model, run.supply)
    for module in run.layers:
        _replace(undo, module, run.layer(module, module.forward))
    for module in holders:
        _replace(undo, module, run.outside(module, module.forward))


def _buffers(model: nn.Module) -> list[tuple[str, nn.Module, str, Tensor]]:
    """Return what a state dict keeps beside parameters: its name, its place, and itself."""
    return [
        (f"{prefix}.{key}" if prefix else key, module, key, held)
        for prefix, module in model.named_modules()
        for key, held in module._buffers.items()
        if held is not None and key not in module._non_persistent_buffers_set
    ]


def _read_buffers(undo: Undo, model: nn.Module, supply: Stored) -> None:
    for name, module, key, held in _buffers(model):
        if name in supply.places:
            values = torch.empty_like(held, device="cpu")
            supply(name, values)
            undo.before(module._buffers.__setitem__, key, held)
            module._buffers[key] = values


def _holds_some(module: nn.Module) -> bool:
    return any(p is not None for p in module._parameters.values())


def _replace(undo: Undo, module: nn.Module, forward: Callable[..., Any]) -> None:
    own = module.__dict__.get("forward")
    if own is None:
        undo.before(module.__dict__.pop, "forward", None)
    else:
        undo.before(module.__dict__.__setitem__, "forward", own)
    module.__dict__["forward"] = forward


def digest(words: Sequence[str]) -> str:
    """Return a short word that stands for a list of them."""
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]
