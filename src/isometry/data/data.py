"""Image sets without torchvision: digits, Fashion-MNIST, CIFAR-10, as NumPy arrays.

Digits come with scikit-learn; the others are files in ``data_dir``, ``$ISOMETRY_DATA`` or the
cache, checked by digest but for the JPEG copy, which has none. Nothing downloads unasked.
"""

import dataclasses
import importlib.util
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from isometry._checks import check_integer, suggest
from isometry._result import Result
from isometry._typing import Float, Int, Num
from isometry.data import formats as files
from isometry.data.download import Progress, fetch

__all__ = [
    "CIFAR10_URL",
    "ImageSet",
    "available",
    "best_available",
    "cache_dir",
    "download_cifar10",
    "embed",
    "load_images",
    "standardise",
]

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet(Result):
    """Labelled images, and where they come from.

    Attributes:
        name: One of the names that :func:`load_images` takes.
        label: What a table or a figure must call the set, e.g. "CIFAR-10 (JPEG copy)".
        split: "train" or "test".
        source: The folder read, or the package.
        classes: Names of the classes.
        images: Pixels in [0, 1], channels first.
        labels: Indices into ``classes``.
    """

    name: str
    label: str
    split: str
    source: str
    classes: tuple[str, ...]
    images: Float[np.ndarray, "n channels height width"] = dataclasses.field(repr=False)
    labels: Int[np.ndarray, "n"] = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class _Source:
    label: str
    read: Callable[[Path, str, files.Pick], files.Labelled]
    classes: tuple[str, ...]
    package: str | None = None  # needed from the extra
    files: tuple[str, ...] = ()
    places: tuple[str, ...] = ()  # where a system package puts them
    advice: str = ""


_SOURCES = {
    "cifar10": _Source(
        "CIFAR-10",
        files.read_cifar10,
        files.CIFAR10_CLASSES,
        files=(files.CIFAR10_FILE,),
        advice="Run `isometry.data.download_cifar10()`",
    ),
    "cifar10_jpeg": _Source(
        "CIFAR-10 (JPEG copy)",
        files.read_jpeg_copy,
        files.CIFAR10_CLASSES,
        package="PIL",
        files=(files.JPEG_FILE,),
        advice="Copy it there",
    ),
    "fashion_mnist": _Source(
        "Fashion-MNIST",
        files.read_fashion,
        files.FASHION_CLASSES,
        files=tuple(f"{name}.gz" for name in files.FASHION_SHA256),
        places=("/usr/share/datasets/fashion-mnist",),
        advice="Install the Debian package dataset-fashion-mnist",
    ),
    "digits": _Source("digits", files.read_digits, tuple(map(str, range(10))), package="sklearn"),
}  # the best first


def load_images(
    name: str = "digits",
    *,
    split: str = "train",
    data_dir: str | os.PathLike[str] | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> ImageSet:
    """Load an image set, shuffled by ``seed``.

    Args:
        name: "digits", "fashion_mnist", "cifar10" or "cifar10_jpeg".
        split: "train" or "test"; of the digits, the first 1,437 and the last 360.
        data_dir: Folder looked in before ``$ISOMETRY_DATA`` and the cache.
        seed: Of the shuffle inside the split; a file may be ordered by class.
        limit: Keep at most so many, drawn by ``seed``; a JPEG file left out is not decoded.

    Returns:
        Images as float32 in [0, 1], shape ``(n, channels, height, width)``, and int64 labels.

    Raises:
        ValueError: If an argument is unknown or out of range, or a file truncated or corrupt.
        TypeError: If ``seed`` or ``limit`` is not an integer.
        FileNotFoundError: If the files are in none of the folders, or ``data_dir`` is no folder.
        ImportError: If "digits" or "cifar10_jpeg" is asked for without the extra ``experiments``.

    Notes:
        All 50,000 training images of CIFAR-10 take 0.6 GB. Measured on one core: decoding their
        JPEG copy takes 18 s (2,000 of them 0.5 s), reading Fashion-MNIST's 60,000 takes 1.2 s.

    Examples:
        >>> digits = load_images("digits", limit=3)
        >>> digits.images.shape
        (3, 1, 8, 8)
    """
    source = _SOURCES.get(name)
    if source is None:
        known = ", ".join(map(repr, _SOURCES))
        raise ValueError(f"`name` is {name!r}; expected one of {known}.{suggest(name, _SOURCES)}")
    if split not in ("train", "test"):
        raise ValueError(f"`split` is {split!r}; expected 'train' or 'test'.")
    seed = check_integer("seed", seed, minimum=0)
    keep = None if limit is None else check_integer("limit", limit, minimum=1)
    folder = _find(source, data_dir)
    if folder is None:
        looked = ", ".join(str(place) for place in _places(source, data_dir))
        raise FileNotFoundError(
            f"`name` is {name!r}, but {source.files[0]} was not found in {looked}. "
            f"{source.advice}, or name its folder by `data_dir` or $ISOMETRY_DATA."
        )
    images, labels = source.read(
        folder, split, lambda size: np.random.default_rng(seed).permutation(size)[:keep]
    )
    where = str(folder) if source.files else "scikit-learn"
    return ImageSet(name, source.label, split, where, source.classes, images, labels)


def available(data_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """List the image sets that can be loaded here, the best first.

    A file is looked for, not read: that it is whole is checked when it is loaded.

    Args:
        data_dir: As in :func:`load_images`.

    Raises:
        FileNotFoundError: If ``data_dir`` is no folder.
    """
    return [
        name
        for name, source in _SOURCES.items()
        if _find(source, data_dir) is not None
        and (source.package is None or importlib.util.find_spec(source.package) is not None)
    ]


def best_available(data_dir: str | os.PathLike[str] | None = None) -> str:
    """Name the first of :func:`available`, "digits" where nothing was found.

    Args:
        data_dir: As in :func:`load_images`.

    Returns:
        The name.

    Raises:
        FileNotFoundError: If ``data_dir`` is no folder.
    """
    return next(iter(available(data_dir)), "digits")


def cache_dir() -> Path:
    """Return the folder of downloaded files, ``$XDG_CACHE_HOME/isometry`` (by default ~/.cache)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isometry"


def download_cifar10(
    data_dir: str | os.PathLike[str] | None = None,
    url: str = CIFAR10_URL,
    *,
    progress: Progress | None = None,
) -> Path:
    """Download CIFAR-10's binary archive (170 MB, and no byte more), resuming an earlier attempt.

    The content is written to a ``.part`` file, checked by its MD5 digest and then renamed: the
    final name is never that of a half file. A whole file already there is left alone.

    Args:
        data_dir: Folder to write to; by default the first of ``$ISOMETRY_DATA`` and the cache.
        url: Address of the archive or a mirror of it.
        progress: Called with the bytes present and the bytes expected (0 if not known).

    Returns:
        The path of the archive.

    Raises:
        ValueError: If ``url`` is not http(s), or the content is not the archive's or longer.
        OSError: If the folder cannot be written, another process is at it, or the connection
            fails; what was received is kept and the next call goes on from there.
    """
    folder = _given_folders(data_dir)[0]
    return fetch(
        url,
        folder / files.CIFAR10_FILE,
        md5=files.CIFAR10_MD5,
        size=files.CIFAR10_BYTES,
        progress=progress,
    )


def standardise(images: Num[np.ndarray, "n *shape"]) -> Float[np.ndarray, "n *shape"]:
    """Shift and scale each image to mean 0 and mean square 1 over its entries.

    Args:
        images: One image per entry of the first axis.

    Returns:
        The same shape, float32 for float32 and float64 for everything else.

    Raises:
        ValueError: If an image is constant or has an entry that is NaN or infinite.
    """
    axes = tuple(range(1, images.ndim))
    with np.errstate(invalid="ignore", over="ignore"):
        mean = images.mean(axis=axes, keepdims=True, dtype=np.float64)
        variance = images.var(axis=axes, keepdims=True, dtype=np.float64)
        good = np.isfinite(variance) & (variance > 1e-12 * mean**2)
    if not good.all():
        index = int(np.argmin(good))
        raise ValueError(
            f"`images` has no finite, positive variance at index {index}; expected images that "
            "are finite and not constant. Leave that image out."
        )
    kind = np.float32 if images.dtype == np.float32 else np.float64
    return ((images - mean) / np.sqrt(variance)).astype(kind)


def embed(
    image: Num[np.ndarray, "*shape"], width: int, *, upsample: bool = True
) -> Float[np.ndarray, "{width}"]:
    """Return an image as a network's input: a float64 vector, mean 0 and mean square 1.

    The channels are averaged, the grey image is resampled bilinearly to the smallest square with
    at least ``width`` pixels, its first ``width`` pixels in reading order are kept, and these are
    standardised. No smoothing precedes a reduction; a square of the right size stays as it is.

    Args:
        image: Shape ``(height, width)`` or ``(channels, height, width)``.
        width: Number of entries wanted, >= 2.
        upsample: Allow more pixels than the image has; the new ones bring no information.

    Raises:
        ValueError: If ``image`` has another shape, is constant or not finite, or is smaller than
            asked with ``upsample`` off, or if ``width`` is too small.
        TypeError: If ``width`` is not an integer.
    """
    width = check_integer("width", width, minimum=2)
    if image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(
            f"`image` has shape {image.shape}; expected (height, width) or (channels, height, "
            "width), none of them 0."
        )
    grey = image.astype(np.float64).reshape(-1, *image.shape[-2:]).mean(axis=0)
    side = math.isqrt(width - 1) + 1
    if not upsample and grey.size < width:
        raise ValueError(
            f"`image` has {grey.shape[0]} x {grey.shape[1]} = {grey.size} pixels; expected at "
            f"least {width}. Choose a smaller `width`, or allow `upsample`."
        )
    if not np.isfinite(grey).all():
        raise ValueError("`image` contains NaN or infinity; expected finite pixels.")
    if grey.shape != (side, side):
        square = np.empty((side, side))
        factors = [side / length for length in grey.shape]
        ndimage.zoom(grey, factors, output=square, order=1, mode="nearest", grid_mode=True)
        grey = square
    return standardise(grey.reshape(1, -1)[:, :width])[0]


def _given_folders(data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """Return the folders that the caller or the environment names, the cache last."""
    named = [data_dir, os.environ.get("ISOMETRY_DATA"), cache_dir()]
    return [Path(place).expanduser() for place in named if place]


def _places(source: _Source, data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """Return where to look, in order.

    Raises:
        FileNotFoundError: If ``data_dir`` is given and is no folder: a slip would go unseen.
    """
    if data_dir is not None and not Path(data_dir).expanduser().is_dir():
        raise FileNotFoundError(
            f"`data_dir` is {str(data_dir)!r}, which is not a folder; expected one that holds "
            "the files of an image set."
        )
    return _given_folders(data_dir) + [Path(place) for place in source.places]


def _find(source: _Source, data_dir: str | os.PathLike[str] | None) -> Path | None:
    """Return the first folder that holds a file of the set; any will do if it has no files."""
    places = _places(source, data_dir)
    return next((p for p in places if not source.files or _holds(p, source.files)), None)


def _holds(folder: Path, names: Sequence[str]) -> bool:
    return any((folder / name).is_file() for name in names)
