"""What a measurement refuses, and the sentences that say why."""

import re

import torch
from torch import Tensor

from isometry.nn.sandbox.batch_norm import unstated
from isometry.nn.sandbox.isolation import calls
from isometry.nn.sandbox.sandbox import Sandbox

_EMBEDDINGS = (
    "For a token model differentiate with respect to the embeddings: "
    "`JacobianOperator(lambda e: model(inputs_embeds=e).last_hidden_state, "
    "model.get_input_embeddings()(tokens))`."
)

NO_VALUES = (
    "parameters of `f` are on the meta device, without values; expected weights in memory. "
    "Materialise the model first, `model.to_empty(device='cpu')`, and initialise it."
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
            f"`f` returns a {type(y).__name__}; expected a torch.Tensor, or a "
            "structure that holds one. Return the tensor that is to be differentiated."
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


def explain(error: Exception, sandbox: Sandbox, x: Tensor) -> Exception:
    """Turn a failure inside ``f`` into a sentence where the cause is the choice of ``x``."""
    if not re.search("type|device", str(error)):
        return error
    tensors = [p for _, p in sandbox.parameters()]
    devices = {p.device for p in tensors} - {x.device}
    dtypes = {p.dtype for p in tensors if p.is_floating_point()} - {x.dtype}
    if any(device.type == "meta" for device in devices):
        return ValueError(NO_VALUES)
    if devices:
        found = ", ".join(sorted(map(str, devices)))
        return ValueError(
            f"`x` is on {x.device} but parameters of `f` are on {found}; expected one device. "
            "Move the input: `x.to(next(model.parameters()).device)`."
        )
    if dtypes and x.is_floating_point():  # of token ids no weight has the type
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


def refuse_unfollowed_norms(sandbox: Sandbox) -> None:
    """Refuse a batch normalisation whose statistics cannot be stated from outside.

    Raises:
        ValueError: If one inside a scripted module, or an operator that is not known, used the
            statistics of the batch.
    """
    inside = {
        operator: any(calls(module, operator) for module in sandbox.names)
        for operator in ("aten::batch_norm", "aten::instance_norm")
    }
    instances = inside["aten::instance_norm"] and not inside["aten::batch_norm"]
    if not sandbox.normalised or instances:
        return
    if sandbox.policy.statistics is None:
        raise ValueError(unstated(sandbox.policy.layer))
    raise ValueError(
        f"`batch_norm` is {sandbox.policy.statistics!r} but {sandbox.policy.layer} normalises with "
        "the statistics of the batch inside compiled code, out of reach; expected an eager model. "
        "Pass the model that was scripted or traced, or script it after `model.eval()`."
    )
