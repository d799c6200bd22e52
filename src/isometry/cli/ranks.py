"""What a command under torchrun needs: the group, the mesh, the model on it, this rank's batch."""

import inspect
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.utils._pytree import tree_leaves, tree_map

from isometry._checks import check_real
from isometry.cli.load import load_inputs, load_model
from isometry.cli.reference import load_object
from isometry.nn.scale.capture import layers_of
from isometry.nn.scale.share import DATA, Share
from isometry.nn.scale.stages import modules_of

TOKENS = re.compile(r"tokens(?::(\d+)x(\d+))?")
_LONGEST = 1e6
"""Seconds that a rank may wait; torch counts milliseconds in 32 bits somewhere."""
_LENGTH = 64
"""Tokens a sequence where the command does not say."""


@dataclass(frozen=True)
class Place:
    """This process among those that run the command.

    Attributes:
        rank: Its number.
        device: Where its model and its batch are.
        mesh: The device mesh; None for a single process.
    """

    rank: int
    device: torch.device
    mesh: DeviceMesh | None

    def share(self, split: Mapping[str, int] | None) -> Share:
        """Return what this rank measures; what is split is added to the batch along dp."""
        if self.mesh is None or split is None:
            return Share.of(self.mesh, split)
        names = self.mesh.mesh_dim_names or ()
        return Share.of(self.mesh, {n: 0 for n in names if n.startswith(DATA)} | dict(split))


def sizes_of(option: str, text: str | None) -> dict[str, int]:
    """Return names and numbers of an option, as in ``dp=2,tp=2``.

    Raises:
        ValueError: If it is written otherwise.
    """
    if text is None:
        return {}
    pairs = [re.fullmatch(r"(\w+)=(\d+)", part.strip()) for part in text.split(",")]
    found = {pair[1]: int(pair[2]) for pair in pairs if pair is not None}
    if len(found) < len(pairs):
        raise ValueError(f"`{option}` is {text!r}; expected names and numbers, as in dp=2,tp=2.")
    return found


@contextmanager
def joined(sizes: Mapping[str, int], timeout: float) -> Iterator[Place]:
    """Join the processes that torchrun started; one that it did not start is alone.

    Raises:
        ValueError: If the mesh is of another number of processes, or the time is no such.
    """
    timeout = check_real("timeout", timeout, above=0.0)
    if timeout > _LONGEST:
        raise ValueError(f"`--timeout` is {timeout:g}; expected at most {_LONGEST:g} seconds.")
    count = int(os.environ.get("WORLD_SIZE", "1"))
    wanted = math.prod(sizes.values())
    if sizes and not wanted:
        raise ValueError(
            f"`--mesh` has a dimension of 0 ranks; expected numbers whose product is the {count} "
            "that started. Leave out what is not split."
        )
    if sizes and wanted != count:
        raise ValueError(
            f"`--mesh` is of {wanted} ranks and {count} started; expected as many. Start them with "
            f"`torchrun --nproc-per-node {wanted} -m isometry scale ...`."
        )
    cuda = torch.cuda.is_available()
    index = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", index) if cuda else torch.device("cpu")
    if "RANK" not in os.environ:
        yield Place(0, device, None)
        return
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=timedelta(seconds=timeout)
    )
    shape = dict(sizes) or {"dp": count}
    mesh = init_device_mesh(device.type, tuple(shape.values()), mesh_dim_names=tuple(shape))
    yield Place(distributed.get_rank(), device, mesh)
    distributed.destroy_process_group()  # not after an error: it would wait for the others


def load(reference: str, place: Place, seed: int) -> Any:
    """Make the model on every rank from one seed; shard it where it was not made for the mesh.

    Raises:
        ValueError: If it was not and the mesh is more than data parallel.
    """
    torch.manual_seed(seed)
    if place.mesh is None:
        return load_model(reference)
    if takes_mesh(reference):
        return load_object("MODEL", reference, "a function that returns the model")(place.mesh)
    net = load_model(reference)
    modules_of(net)
    names = place.mesh.mesh_dim_names or ()
    others = [name for name in names if not name.startswith(DATA)]
    if others:
        raise ValueError(
            f"`MODEL` is {reference!r}, which takes no mesh, and the mesh has {', '.join(others)}; "
            "expected a function that shards the model over it. Write `def make_model(mesh)`, and "
            f"`parallelize_module(..., mesh[{others[0]!r}], plan)` or a pipeline stage in it."
        )
    return sharded(net.to(place.device), place.mesh)


def takes_mesh(reference: str) -> bool:
    """Return whether what makes the model has to be given something, which is the mesh."""
    if reference.startswith(("hf:", "timm:", "torchvision:")):
        return False
    found = load_object("MODEL", reference, "a function that returns the model")
    if isinstance(found, nn.Module):
        return False
    try:
        inspect.signature(found).bind()
    except TypeError:
        return True
    except ValueError:
        return False  # a builtin that does not say what it takes
    return False


def sharded(net: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Shard every layer and what is around them by FSDP2; copy them along the first of two."""
    from torch.distributed.fsdp import fully_shard

    for layer in layers_of(net, None):
        if layer is not net:
            fully_shard(layer, mesh=mesh)
    fully_shard(net, mesh=mesh)
    return net


def batch_of(source: str, net: Any, share: Share, seed: int) -> tuple[Any, Share]:
    """Return this rank's part of the batch; all of it where it cannot be shared out evenly."""
    count = math.prod(p.size for p in share.parts if p.axis == 0)
    words = TOKENS.fullmatch(source)
    whole = _tokens(net, words, count, seed) if words else load_inputs([source])
    leaves = [leaf for leaf in tree_leaves(whole) if isinstance(leaf, Tensor)]
    if any(leaf.ndim == 0 or leaf.shape[0] % count for leaf in leaves):
        return whole, share.whole()
    place = 0
    for part in share.parts:
        if part.axis == 0:
            place = place * part.size + part.place

    def own(leaf: Any) -> Any:
        return leaf.chunk(count)[place] if isinstance(leaf, Tensor) else leaf

    return tree_map(own, whole), share


def _tokens(net: Any, words: re.Match[str], count: int, seed: int) -> Tensor:
    """Return random token ids, the same on every rank; a later stage has no use for them.

    Raises:
        ValueError: If none is asked for.
    """
    inside = [module for top in modules_of(net) for module in top.modules()]
    rows = [module.num_embeddings for module in inside if isinstance(module, nn.Embedding)]
    batch, length = (int(words[1]), int(words[2])) if words[1] else (count, _LENGTH)
    if not batch * length:
        raise ValueError(
            f"`--input` is {words[0]}; expected at least one sequence of one token, as tokens:1x64."
        )
    source = torch.Generator().manual_seed(seed)
    return torch.randint(0, rows[0] if rows else 1, (batch, length), generator=source)
