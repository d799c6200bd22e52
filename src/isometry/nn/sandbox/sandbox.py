"""The context that leaves the measured model, and the process, as they were."""

import sys
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.nn.modules.module import _global_forward_pre_hooks, register_module_forward_pre_hook
from torch.overrides import _get_current_function_mode_stack

from isometry.nn.sandbox.batch_norm import BatchNormPolicy
from isometry.nn.sandbox.flags import (
    allow_gradients,
    ignore_warning,
    use_plain_checkpoints,
    use_plain_kernels,
)
from isometry.nn.sandbox.isolation import (
    isolate,
    own_generators,
    own_memory,
    use_running_statistics,
)
from isometry.nn.sandbox.listener import Listener
from isometry.nn.sandbox.random import Source, process_sources, same
from isometry.nn.sandbox.ranks import Ranks, refuse_flat_shards, shard_again
from isometry.nn.sandbox.undo import Reversible, Undo, reversible
from isometry.nn.sandbox.unwrap import plain_modules

_LOCK: Any = threading.RLock()
"""Held by the thread that is inside a sandbox: flags and hooks belong to the process."""


def refuse_dropout(name: str, module: nn.Module) -> None:
    """Refuse a layer that is about to draw a random mask.

    Raises:
        ValueError: If the layer is in train mode with a positive dropout probability.
    """
    if isinstance(module, nn.modules.dropout._DropoutNd):
        p = module.p
    elif isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
        single = isinstance(module, nn.RNNBase) and module.num_layers == 1
        p = 0.0 if single else module.dropout
    else:
        return
    if module.training and p > 0:
        raise ValueError(
            f"`f` applies dropout in train mode in {name} (p = {p:g}); expected a deterministic "
            "function, since J v and J^T u would see different masks. Call `model.eval()`."
        )


class Sandbox(Reversible[None]):
    """Re-enterable context in which ``f`` may run without leaving a trace.

    Inside, buffers are clones, parameters are frozen, attention and checkpoints take routes that
    autograd can differentiate twice. On leaving, by whatever way, the very same tensors,
    attributes, hooks and flags are back, as are the states of torch's, numpy's and Python's
    generators and of those that modules keep. Threads take turns: a lock is held inside.

    Args:
        x: The point; its device decides which generators and kernels are looked after.
        batch_norm: Statistics of batch normalisation, ``"eval"``, ``"batch"``, ``"own"`` (running
            ones, and those of the call where a layer keeps none) or unstated.
        modules: Modules known from the start; others are met when ``f`` first calls them.
    """

    def __init__(
        self, x: Tensor, batch_norm: str | None, modules: Iterable[nn.Module] = ()
    ) -> None:
        super().__init__()
        self.policy = BatchNormPolicy(batch_norm)
        self.ranks = Ranks()
        self.names: dict[nn.Module, str] = {}
        self.wrappers: set[nn.Module] = set()
        """Modules of ours around ``f``: none of the user's, whatever calls them."""
        self.variation = 0
        """Which random numbers the model sees: the user's, or others, as in `Source.vary`."""
        self.draws = False
        """Whether ``f`` advanced a random generator when it was first called."""
        self.seeded = False
        """Whether one of them was a generator that extreme numbers cannot be put into."""
        self.normalised = False
        """Whether a batch normalisation that the policy cannot follow used the batch."""
        self._known = tuple(modules)
        self._device = x.device
        self._opened = weakref.ref(Undo())  # weak: a circle would outlive an interrupt
        self._owned: dict[int, torch.UntypedStorage] = {}
        self._written: set[int] = set()
        """Memory of the model that ``f`` writes to itself, each time it is called."""
        self._own_sources: list[Source] = []
        self._drawn_from: list[tuple[Source, Any]] = []
        self._versions: list[int] | None = None
        self._thread = 0

    def change(self, undo: Undo) -> None:
        """Enter: every step back is registered before the step it undoes."""
        if not _LOCK._is_owned():
            undo.before(_release)
            _LOCK.acquire()
        self._opened, self._thread = weakref.ref(undo), threading.get_ident()
        undo.before(shard_again, self.names)
        allow_gradients(undo)
        recurrent = any(isinstance(module, nn.RNNBase) for module in self.names)
        use_plain_kernels(undo, self._device, recurrent=recurrent)
        use_plain_checkpoints(undo)
        sources = [*process_sources(self._device), *self._own_sources]
        for source in sources:
            self._keep_random(source, undo)
        for module in self.names:
            self._lend(module, undo)
        if self.policy.discovering:
            undo.before(self._discovered)
        if self.policy.discovering or self._written:
            self._listen(undo)
        if self.policy.discovering or self.policy.seen:
            self._follow(undo)
        if self.policy.discovering:
            self._drawn_from = [(source, source.state()) for source in sources]
            undo.before(self._note_draws)
            for module in self._known:
                self._adopt(module)

    def varied(self, variation: int) -> Reversible[None]:
        """Return the same context, in which the model sees other random numbers."""
        return _entered(self, variation)

    def _listen(self, undo: Undo) -> None:
        listener = Listener(self.ranks, self._owned, self.policy)
        undo.before(self._note_heard, listener)
        listener.listen(undo)

    def _note_heard(self, listener: Listener) -> None:
        self._written |= set(listener.saved)
        self.normalised = self.normalised or listener.normalised

    def _follow(self, undo: Undo) -> None:
        """Watch which module is called, and what batch normalisation does."""
        if "torch._dynamo" in sys.modules:
            ignore_warning(undo, "Using `torch.compile.* global hooks")
        undo.before(_remove_hook, self._meet)
        register_module_forward_pre_hook(self._meet)
        undo.before(_leave_function_modes, len(_get_current_function_mode_stack()))
        undo.before(setattr, self.policy, "in_force", self.policy.in_force)
        self.policy.in_force = True
        self.policy.__enter__()

    def _keep_random(self, source: Source, undo: Undo) -> None:
        """Put a generator's state back afterwards; give the model other numbers if asked."""
        undo.before(source.restore, source.state())
        if self.variation:
            source.vary(self.variation)

    def _note_draws(self) -> None:
        for source, before in self._drawn_from:
            if not same(source.state(), before):
                self.draws = True
                self.seeded = self.seeded or source.fill is None

    def _discovered(self) -> None:
        if self.policy.discovering:
            self.policy.discovering = False
            self.ranks.adopt(p for _, p in self.parameters())

    def _meet(self, module: nn.Module, _: Any) -> None:
        """Adopt a module the first time ``f`` calls it, before its forward runs."""
        if threading.get_ident() != self._thread or module in self.wrappers:
            return
        if module not in self.names:
            # f may call it inside vmap or grad, or under a mode that follows its functions
            with temporarily_clear_interpreter_stack(), torch._C.DisableTorchFunction():
                self._adopt(module)
        self.policy.layer = self.names[module]
        refuse_dropout(self.names[module], module)

    def _adopt(self, module: nn.Module) -> None:
        undo = self._opened() or Undo()
        for name, child in plain_modules(module):
            if child not in self.names:
                refuse_flat_shards(child)
                self.names[child] = f"layer '{name}'" if name else type(child).__name__
                self._owned |= {storage._cdata: storage for storage in own_memory(child)}
                for source in own_generators(child):
                    self._own_sources.append(source)
                    self._drawn_from.append((source, source.state()))
                    self._keep_random(source, undo)
                    undo.before(self._note_draws)
                self._lend(child, undo, met=True)

    def _lend(self, module: nn.Module, undo: Undo, *, met: bool = False) -> None:
        isolate(module, undo, met=met)
        if isinstance(module, torch.jit.ScriptModule) and self.policy.statistics in ("eval", "own"):
            use_running_statistics(module, undo)

    def check_weights(self) -> None:
        """Compare the parameters' versions with those at the first call.

        Raises:
            RuntimeError: If one was written to.
        """
        versions = [
            _version(p)
            for _, p in self.parameters()
            if not self._written or p.untyped_storage()._cdata not in self._written
        ]
        if self._versions is None:
            self._versions = versions
        elif versions != self._versions:
            raise RuntimeError(
                "The weights of `f` were written to after this operator was made; expected the "
                "same weights. Build a new JacobianOperator after an optimiser step."
            )

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield every parameter met so far with a name for messages."""
        for module, name in self.names.items():
            for key, parameter in module.named_parameters(recurse=False):
                yield f"'{key}' of {name}", parameter


@reversible
def _entered(undo: Undo, sandbox: Sandbox, variation: int) -> None:
    undo.before(setattr, sandbox, "variation", sandbox.variation)
    sandbox.variation = variation
    sandbox.change(undo)


def _release() -> None:
    if _LOCK._is_owned():
        _LOCK.release()


def _remove_hook(hook: Any) -> None:
    for key in [key for key, known in _global_forward_pre_hooks.items() if known == hook]:
        del _global_forward_pre_hooks[key]


def _leave_function_modes(depth: int) -> None:
    while len(modes := _get_current_function_mode_stack()) > depth:
        modes[-1].__exit__(None, None, None)


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
