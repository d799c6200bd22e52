"""Readers of the four image sets: each returns images in [0, 1], channels first, and labels.

What a small file unpacks to is bounded by what the true one has, before it is unpacked.
"""

import gzip
import hashlib
import importlib
import io
import math
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from isometry._typing import Float, Int
from isometry.data.download import check_md5

Pick = Callable[[int], Int[np.ndarray, "n"]]
"""From the size of a split, the indices wanted, in the order wanted."""
Labelled = tuple[Float[np.ndarray, "n channels height width"], Int[np.ndarray, "n"]]

CIFAR10_FILE = "cifar-10-binary.tar.gz"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR10_BYTES = 170_498_071
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
JPEG_FILE = "cifar10_jpeg.npz"
FASHION_CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
    "ankle boot",
)  # fmt: skip
FASHION_SHA256 = {  # of the content, uncompressed
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error)
_UNPACKED = 256 << 20
"""Bytes that an archive may unpack to: the largest, CIFAR-10's, has 184 million."""
_DIGITS_TRAIN = 1437  # of 1,797; the file is ordered by writer, so few writers are in both parts


def import_extra(module: str, *, needed_by: str) -> ModuleType:
    """Import a module of the extra ``experiments``.

    Raises:
        ImportError: If it is not installed; the message has the command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as err:
        raise ImportError(
            f"{needed_by} needs {module.partition('.')[0]}, which is not installed; run "
            "`pip install 'isometry[experiments]'`."
        ) from err


def read_digits(_: Path, split: str, pick: Pick) -> Labelled:
    """Read the 8 x 8 digits that come with scikit-learn (pixels 0 to 16 there)."""
    digits: Any = import_extra("sklearn.datasets", needed_by="The image set 'digits'").load_digits()
    part = slice(None, _DIGITS_TRAIN) if split == "train" else slice(_DIGITS_TRAIN, None)
    images, labels = digits.images[part, None], digits.target[part]
    chosen = pick(len(labels))
    return (images[chosen] / 16).astype(np.float32), labels[chosen].astype(np.int64)


def read_fashion(folder: Path, split: str, pick: Pick) -> Labelled:
    """Read Fashion-MNIST's gzip-compressed IDX files."""
    stem = "train" if split == "train" else "t10k"
    labels = np.frombuffer(_fashion_bytes(folder / f"{stem}-labels-idx1-ubyte.gz"), np.uint8, -1, 8)
    raw = _fashion_bytes(folder / f"{stem}-images-idx3-ubyte.gz")
    height, width = int.from_bytes(raw[8:12]), int.from_bytes(raw[12:16])
    images = np.frombuffer(raw, np.uint8, -1, 16).reshape(len(labels), 1, height, width)
    chosen = pick(len(labels))
    return _unit(images[chosen]), labels[chosen].astype(np.int64)


def _fashion_bytes(path: Path) -> bytes:
    advice = "Install the Debian package dataset-fashion-mnist again, or copy the file anew."
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; expected next to its three siblings. {advice}")
    try:
        with gzip.open(path) as stream:
            content = stream.read(_UNPACKED + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as err:
        raise ValueError(
            f"{path} ends early or is not gzip ({err}); expected a complete IDX file. {advice}"
        ) from err
    if len(content) > _UNPACKED:
        raise ValueError(
            f"{path} unpacks to more than {_UNPACKED:,} bytes; expected a file of Fashion-MNIST. "
            f"{advice}"
        )
    got, expected = hashlib.sha256(content).hexdigest(), FASHION_SHA256[path.stem]
    if got != expected:
        raise ValueError(
            f"{path} holds {len(content):,} bytes with SHA-256 {got}; expected {expected}. {advice}"
        )
    return content


def read_cifar10(folder: Path, split: str, pick: Pick) -> Labelled:
    """Read the official binary archive: records of one label byte and 3,072 pixels.

    Raises:
        ValueError: If the file is another one, or unpacks to more than CIFAR-10.
    """
    path = folder / CIFAR10_FILE
    check_md5(path, CIFAR10_MD5, advice="Delete it and run `isometry.data.download_cifar10()`.")
    wanted = "data_batch_" if split == "train" else "test_batch"
    batches: dict[str, bytes] = {}
    unpacked = 0
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            unpacked += member.size
            if unpacked > _UNPACKED:
                raise ValueError(
                    f"{path} unpacks to more than {_UNPACKED:,} bytes; expected CIFAR-10. Delete "
                    "it and run `isometry.data.download_cifar10()`."
                )
            name = member.name.rpartition("/")[2]
            stream = archive.extractfile(member) if name.startswith(wanted) else None
            if stream is not None:
                batches[name] = stream.read()
    content = b"".join(batches[name] for name in sorted(batches))
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    chosen = records[pick(len(records))]
    return _unit(chosen[:, 1:].reshape(-1, 3, 32, 32)), chosen[:, 0].astype(np.int64)


def read_jpeg_copy(folder: Path, split: str, pick: Pick) -> Labelled:
    """Decode the chosen images of the JPEG copy of CIFAR-10, and only those.

    Raises:
        ValueError: If the file is truncated or corrupt.
    """
    path = folder / JPEG_FILE
    pillow = import_extra("PIL.Image", needed_by="The image set 'cifar10_jpeg'")
    content, offsets, labels = _jpeg_arrays(path, split)
    chosen = pick(len(labels))
    images = np.empty((len(chosen), 3, 32, 32), np.uint8)
    for row, index in enumerate(chosen):
        jpeg = content[offsets[index] : offsets[index + 1]].tobytes()
        images[row] = _decoded(pillow, jpeg, f"image {index} of {split!r}", path).transpose(2, 0, 1)
    return _unit(images), labels[chosen].astype(np.int64)


def _decoded(pillow: Any, jpeg: bytes, name: str, path: Path) -> np.ndarray:
    """Return the pixels of one image, whose size is looked at before it is decoded.

    Raises:
        ValueError: If it is no JPEG of 32 x 32 pixels.
    """
    try:
        with pillow.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            size = image.size
            pixels = np.asarray(image.convert("RGB")) if size == (32, 32) else None
    except (OSError, SyntaxError, pillow.DecompressionBombError) as err:
        raise ValueError(
            f"{path} is corrupt: {name} is not a JPEG file that can be "
            f"decoded ({type(err).__name__}). Copy the file anew."
        ) from err
    if pixels is None:
        raise ValueError(
            f"{path} is not the copy of CIFAR-10: {name} has {size[0]} x {size[1]} pixels; "
            "expected 32 x 32. Copy the file anew."
        )
    return pixels


def _jpeg_arrays(path: Path, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the concatenated files of a split, where each begins, and the labels.

    Raises:
        ValueError: If they cannot be read or do not fit together.
    """
    names = [f"{split}_{part}" for part in ("bytes", "offsets", "labels")]
    try:
        with path.open("rb") as stream:
            _check_unpacked(stream, names)
            with np.load(stream, allow_pickle=False) as arrays:
                content, offsets, labels = (arrays[name] for name in names)
    except (OSError, EOFError, ValueError, TypeError, LookupError, *_ZIP_ERRORS) as err:
        raise ValueError(
            f"{path} cannot be read ({err}); expected an .npz archive with the arrays "
            f"{', '.join(names)}. Copy the file anew: it may be truncated."
        ) from err
    consistent = (
        content.dtype == np.uint8
        and offsets.shape == (len(labels) + 1,)
        and offsets[0] == 0
        and offsets[-1] == len(content)
        and bool((np.diff(offsets) > 0).all())
        and bool(np.isin(labels, np.arange(len(CIFAR10_CLASSES))).all())
    )
    if not consistent:
        raise ValueError(
            f"{path} is inconsistent: {names[1]} must rise from 0 to the {len(content):,} bytes of "
            f"{names[0]}, one entry more than the {len(labels):,} labels in 0 to 9. "
            "Copy the file anew."
        )
    return content, offsets, labels


def _check_unpacked(stream: BinaryIO, names: Sequence[str]) -> None:
    """Refuse arrays that would fill the memory, by what they say of themselves.

    Raises:
        ValueError: If an array is larger than the bound.
    """
    with zipfile.ZipFile(stream) as archive:
        for name in names:
            with archive.open(f"{name}.npy") as member:
                version = npy.read_magic(member)
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, _, dtype = read(member)
            size = max(archive.getinfo(f"{name}.npy").file_size, math.prod(shape) * dtype.itemsize)
            if size > _UNPACKED:
                raise ValueError(f"{name} unpacks to {size:,} bytes, more than {_UNPACKED:,}")
    stream.seek(0)


def _unit(pixels: np.ndarray) -> np.ndarray:
    """Scale bytes to float32 in [0, 1]."""
    return np.divide(pixels, 255, dtype=np.float32)
