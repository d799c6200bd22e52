"""What a measurement could disturb."""

import torch
from torch import nn


def bits(tensor):
    return None if tensor is None else tensor.detach().numpy().tobytes()


def fingerprint(f):
    """Everything of a model, and of the process, that a measurement could disturb."""
    module = f if isinstance(f, nn.Module) else nn.Identity()
    tensors = dict([*module.named_parameters(), *module.named_buffers()])
    return {
        "identity": {k: id(t) for k, t in tensors.items()},
        "bits": {k: bits(t) for k, t in tensors.items() if not t.is_meta},
        "versions": {k: t._version for k, t in tensors.items()},
        "requires_grad": {k: t.requires_grad for k, t in tensors.items()},
        "grad": {k: bits(t.grad) for k, t in tensors.items()},
        "training": [m.training for m in module.modules()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in module.modules()],
        "attributes": [sorted(vars(m)) for m in module.modules()],
        "global hooks": len(nn.modules.module._global_forward_pre_hooks),
        "random state": bits(torch.get_rng_state()),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "fused attention": torch.backends.cuda.flash_sdp_enabled(),
        "checkpoint": vars(torch.utils.checkpoint.CheckpointFunction).get("apply"),
        "gradients": torch.is_grad_enabled(),
    }
