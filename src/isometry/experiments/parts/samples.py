"""Images as the inputs of networks, prepared once a process: no run sends arrays to another.

A fully connected network takes the grey image as a vector of its width; a convolutional one takes
the colours, resized and lifted to its channels by one fixed random map.
"""

from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from isometry.data import ImageSet, embed, load_images, standardise

_LIFT_SEED = 1809_08848


@lru_cache(maxsize=4)
def images(name: str, limit: int, split: str = "train") -> ImageSet:
    """Load ``limit`` images of a split, always the same ones; see :func:`load_images`."""
    return load_images(name, limit=limit, split=split)


@lru_cache(maxsize=8)
def vectors(name: str, limit: int, width: int, split: str = "train") -> tuple[Tensor, Tensor]:
    """Return images as rows of ``width`` entries, mean 0 and mean square 1, and their classes."""
    found = images(name, limit, split)
    rows = np.stack([embed(image, width) for image in found.images])
    return torch.from_numpy(rows), torch.from_numpy(found.labels)


@lru_cache(maxsize=8)
def planes(
    name: str, limit: int, channels: int, side: int, split: str = "train"
) -> tuple[Tensor, Tensor]:
    """Return images as ``channels`` planes of ``side`` x ``side`` pixels, and their classes.

    Args:
        name: Of the image set.
        limit: Number of images.
        channels: Planes of the result; combinations of the colours, the same for every image.
        side: Pixels of an edge.
        split: "train" or "test".
    """
    found = images(name, limit, split)
    colours, edge = found.images.shape[1:3]
    small = np.empty((len(found), colours, side, side))
    factors = (1.0, 1.0, side / edge, side / edge)
    ndimage.zoom(found.images, factors, output=small, order=1, mode="nearest", grid_mode=True)
    lift = np.random.default_rng(_LIFT_SEED).standard_normal((channels, colours))
    lifted = np.einsum("kc,nchw->nkhw", lift, standardise(small))
    return torch.from_numpy(standardise(lifted)), torch.from_numpy(found.labels)
