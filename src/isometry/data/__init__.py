"""Image sets without torchvision, as NumPy arrays."""

from isometry.data.data import (
    ImageSet,
    available,
    best_available,
    cache_dir,
    download_cifar10,
    embed,
    load_images,
    standardise,
)

__all__ = [
    "ImageSet",
    "available",
    "best_available",
    "cache_dir",
    "download_cifar10",
    "embed",
    "load_images",
    "standardise",
]
