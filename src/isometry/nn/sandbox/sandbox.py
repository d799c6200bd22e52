"""What a measurement refuses, and the context that leaves the measured model as it was."""

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import is_lazy
from torch.utils.checkpoint import CheckpointFunction

from isometry.nn.sandbox.batch_norm import BatchNormPolicy
from isometry.nn.sandbox.ranks import Ranks, refuse_flat_shards, shard_again

_EMBEDDINGS = (
    "For a token model differentiate with respect to the embeddings: "
    "`JacobianOperator(lambda e: model(inputs_embeds=e).last_hidden_state, "
    "model.get_input_embeddings()(tokens))`."
)


def check_input(x: object) -> Tensor:
    """Return ``x`` detached, or say why no Jacobian can be taken there.

    Raises:
        TypeError: If it is not a dense real floating-point tensor.
        ValueError: If it is empty, on the meta device, or not finite.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"`x` is a {type(x).__name__}; expected one torch.Tensor, the point of J.")
    if not x.is_floating_point():
        advice = "Split it into real parts." if x.is_complex() else _EMBEDDINGS
        raise TypeError(f"`x` has dtype {x.dtype}; expected real floating point. {advice}")
    if x.layout is not torch.strided:
        raise TypeError(f"`x` has layout {x.layout}; expected a dense tensor: `x.to_dense()`.")
    if x.device.type == "meta":
        raise ValueError("`x` is on the meta device, which holds no values; expected data.")
    if x.numel() == 0:
        raise ValueError(f"`x` has shape {tuple(x.shape)}; expected at least one entry.")
    if not torch.isfinite(x).all():
        raise ValueError("`x` contains NaN or infinite entries; expected finite numbers.")
    return x.detach()


def check_output(y: object) -> Tensor:
    """Return ``y`` if it is one dense real tensor.

    Raises:
        TypeError: If it is anything else.
        ValueError: If it is empty or on the meta device.
    """
    if not isinstance(y, Tensor):
        raise TypeError(
            f"`f` returns a {type(y).__name__}; expected one torch.Tensor. Pick one: "
            "`lambda x: f(x)[0]`, or `lambda x: model(x).last_hidden_state`."
        )
    if not y.is_floating_point():
        raise TypeError(
            f"`f` returns dtype {y.dtype}; expected real floating point. Take the logits before "
            "an argmax, or real and imaginary parts with torch.view_as_real."
        )
    if y.layout is not torch.strided or y.device.type == "meta" or y.numel() == 0:
        raise ValueError(
            f"`f` returns shape {tuple(y.shape)}, {y.layout}, on {y.device}; expected a dense, "
            "non-empty tensor with data. Materialise a meta model first: `model.to_empty(...)`."
        )
    return y


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


class Sandbox:
    """Re-enterable context in which ``f`` may run without leaving a trace.

    Inside, buffers are clones, parameters are frozen, the global generator is forked, attention
    and checkpoints take routes that autograd can differentiate twice. On leaving, the very same
    tensors, flags and generator state are back.
    """

    def __init__(self, x: Tensor, batch_norm: str | None) -> None:
        self.policy = BatchNormPolicy(batch_norm)
        self.ranks = Ranks()
        self.names: dict[nn.Module, str] = {}
        self._device = x.device
        self._stack = ExitStack()
        self._versions: list[int] | None = None
        self.draws = False
        """Whether ``f`` advanced a global random generator when it was first called."""

    def __enter__(self) -> None:
        with ExitStack() as stack:
            for context in self._contexts():
                stack.enter_context(context)
            for module in self.names:
                _isolate(module, stack)
            if self.policy.discovering:
                stack.callback(self._note_draws, _random_states(self._device))
                stack.enter_context(self.ranks)
            if self.policy.discovering or self.policy.seen:
                hook = nn.modules.module.register_module_forward_pre_hook(self._meet)
                stack.callback(hook.remove)
                stack.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", "Using `torch.compile.* global hooks")
                stack.enter_context(self.policy)
            self._stack = stack.pop_all()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        shard_again(self.names)
        if self.policy.discovering:
            self.policy.discovering = False
            self.ranks.adopt(p for _, p in self.parameters())

    def _contexts(self) -> Iterator[Any]:
        device = self._device
        yield torch.inference_mode(False)
        yield torch.enable_grad()
        forked = [device] if device.type in ("cuda", "xpu") else []
        yield torch.random.fork_rng(forked, device_type=device.type if forked else "cuda")
        yield sdpa_kernel(SDPBackend.MATH)
        yield _plain_attention_layers()
        yield _plain_checkpoints()
        if device.type == "cuda" and any(isinstance(m, nn.RNNBase) for m in self.names):
            yield torch.backends.cudnn.flags(enabled=False)  # cuDNN's RNNs have one derivative
        if "torch._dynamo" in sys.modules:
            yield torch.compiler.set_stance("force_eager")

    def _meet(self, module: nn.Module, _: Any) -> None:
        """Adopt a module the first time ``f`` calls it, before its forward runs."""
        if module not in self.names:
            # f may call it inside vmap or grad, or under a mode that follows its functions
            with temporarily_clear_interpreter_stack(), torch._C.DisableTorchFunction():
                self._adopt(module)
        self.policy.layer = self.names[module]
        refuse_dropout(self.names[module], module)

    def _adopt(self, module: nn.Module) -> None:
        for name, child in module.named_modules():
            if child not in self.names:
                refuse_flat_shards(child)
                name = name.replace("_orig_mod.", "").removesuffix("_orig_mod")
                self.names[child] = f"layer '{name}'" if name else type(child).__name__
                _isolate(child, self._stack)

    def _note_draws(self, before: list[Tensor]) -> None:
        after = _random_states(self._device)
        self.draws = not all(map(torch.equal, before, after))

    def check_weights(self) -> None:
        """Compare the parameters' versions with those at the first call.

        Raises:
            RuntimeError: If one was written to.
        """
        versions = [_version(p) for _, p in self.parameters()]
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


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _random_states(device: torch.device) -> list[Tensor]:
    own = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *own]


def _isolate(module: nn.Module, stack: ExitStack) -> None:
    """Clone the module's own buffers and freeze its own parameters until ``stack`` closes.

    Raises:
        ValueError: If a parameter has no values yet.
    """
    originals = dict(module._buffers)
    if originals and isinstance(module._buffers, dict):  # not so in a scripted module
        stack.callback(_put_back, module._buffers, originals)
        module._buffers.update({k: None if b is None else b.clone() for k, b in originals.items()})
    for key, parameter in module.named_parameters(recurse=False):
        if is_lazy(parameter):
            raise ValueError(
                f"`f` has uninitialised lazy parameters in {type(module).__name__}; expected a "
                "model with weights. Call it once on an input before measuring it."
            )
        if parameter.requires_grad and parameter.is_leaf and not parameter.is_inference():
            stack.callback(_thaw, module, key, parameter)
            parameter.requires_grad_(False)


def _thaw(module: nn.Module, key: str, parameter: nn.Parameter) -> None:
    """Restore the flag, also where an offloading hook has put another parameter in its place."""
    parameter.requires_grad_(True)
    if isinstance(module._parameters, dict):  # not so in a scripted module
        current = module._parameters.get(key)
        if current is not None and current.is_leaf:
            current.requires_grad_(True)


def _put_back(buffers: dict[str, Tensor | None], originals: dict[str, Tensor | None]) -> None:
    buffers.clear()
    buffers.update(originals)


@contextmanager
def _plain_attention_layers() -> Iterator[None]:
    """Switch off the fused inference path of torch.nn's attention, which has no derivative."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _plain_checkpoints() -> Iterator[None]:
    """Let reentrant checkpoints call their function: as they are they allow no second backward."""
    CheckpointFunction.apply = staticmethod(lambda run, _preserve, *args: run(*args))  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        del CheckpointFunction.apply


def explain(error: Exception, sandbox: Sandbox, x: Tensor) -> Exception:
    """Turn a failure inside ``f`` into a sentence where the cause is the choice of ``x``."""
    if not re.search("type|device", str(error)):
        return error
    tensors = [p for _, p in sandbox.parameters()]
    devices = {p.device for p in tensors} - {x.device}
    dtypes = {p.dtype for p in tensors if p.is_floating_point()} - {x.dtype}
    if devices:
        found = ", ".join(sorted(map(str, devices)))
        return ValueError(
            f"`x` is on {x.device} but parameters of `f` are on {found}; expected one device. "
            "Move the input: `x.to(next(model.parameters()).device)`."
        )
    if dtypes:
        found = ", ".join(sorted(map(str, dtypes)))
        return TypeError(
            f"`x` has dtype {x.dtype} but parameters of `f` have {found}; expected one dtype. "
            "Convert one of them: `x.to(next(model.parameters()).dtype)`."
        )
    return error


def refuse_non_finite(sandbox: Sandbox) -> None:
    """Name the parameters that make the output NaN or infinite.

    Raises:
        ValueError: Always.
    """
    bad = [name for name, p in sandbox.parameters() if not torch.isfinite(p).all()]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise ValueError(
            f"`f` has NaN or infinite weights in {bad[0]}{more}; expected finite numbers. "
            "Initialise the model, or load an earlier checkpoint."
        )
    raise ValueError(
        "`f(x)` contains NaN or infinite entries; expected finite numbers. Scale `x` or the "
        "weights down, or run the model in float64."
    )
