import gzip
import hashlib
import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from isometry.data import formats as files


def everything(size):
    return np.arange(size)


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4) for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def fashion(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for stem, size in [("train", 7), ("t10k", 3)]:
        for kind, shape in [("images-idx3", (size, 28, 28)), ("labels-idx1", (size,))]:
            name = f"{stem}-{kind}-ubyte"
            content = idx(rng.integers(10, size=shape))
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
            digest = hashlib.sha256(content).hexdigest()
            monkeypatch.setitem(files.FASHION_SHA256, name, digest)
    return tmp_path


@pytest.fixture
def archive(tmp_path, monkeypatch):
    path = tmp_path / files.CIFAR10_FILE
    with tarfile.open(path, "w:gz") as tar:
        for number in (2, 1, 3, 4, 5, 0):
            name = f"data_batch_{number}.bin" if number else "test_batch.bin"
            record = np.full((2, 3073), number, np.uint8)
            record[:, 1025:2049] = 255  # the green plane
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = record.size
            tar.addfile(member, io.BytesIO(record.tobytes()))
    monkeypatch.setattr(files, "CIFAR10_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    return tmp_path


def jpeg(colour, size=(32, 32)):
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "JPEG", quality=95)
    return stream.getvalue()


RED, GREY = jpeg((255, 0, 0)), jpeg((128, 128, 128))


def write_npz(folder, contents=(RED, GREY, RED), **changes):
    offsets = np.cumsum([0, *map(len, contents)])
    arrays = {}
    for split in ("train", "test"):
        arrays[f"{split}_bytes"] = np.frombuffer(b"".join(contents), np.uint8)
        arrays[f"{split}_offsets"] = offsets
        arrays[f"{split}_labels"] = np.array([0, 5, 9], np.uint8)
    np.savez(folder / files.JPEG_FILE, **(arrays | changes))
    return folder


@pytest.mark.parametrize(("split", "size"), [("train", 7), ("test", 3)])
def test_fashion_reads_the_split_asked_for(fashion, split, size):
    images, labels = files.read_fashion(fashion, split, everything)
    assert images.shape == (size, 1, 28, 28)
    assert images.dtype == np.float32
    stem = "train" if split == "train" else "t10k"
    raw = gzip.decompress((fashion / f"{stem}-images-idx3-ubyte.gz").read_bytes())
    np.testing.assert_array_equal(
        images.ravel(), np.frombuffer(raw[16:], np.uint8) / np.float32(255)
    )
    assert labels.dtype == np.int64


FASHION_NAME = "train-images-idx3-ubyte.gz"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda b: b[:-20], "ends early or is not gzip"),
        (lambda b: b"no gzip", "ends early or is not gzip"),
        (lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:], "ends early or is not gzip|SHA-256"),
        (lambda b: gzip.compress(gzip.decompress(b)[:-1]), "holds 5,503 bytes with SHA-256"),
    ],
    ids=["truncated", "not gzip", "one bit", "complete but other"],
)
def test_a_spoilt_fashion_file_is_named(fashion, spoil, message):
    path = fashion / FASHION_NAME
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"{FASHION_NAME} ({message}).*dataset-fashion-mnist"):
        files.read_fashion(fashion, "train", everything)


def test_a_missing_fashion_file_is_named(fashion):
    (fashion / FASHION_NAME).unlink()
    with pytest.raises(FileNotFoundError, match=f"{FASHION_NAME} is missing"):
        files.read_fashion(fashion, "train", everything)


def test_cifar10_batches_are_read_in_order_with_channels_first(archive):
    images, labels = files.read_cifar10(archive, "train", everything)
    assert images.shape == (10, 3, 32, 32)
    assert labels.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    np.testing.assert_array_equal(images[:, 1], 1)
    np.testing.assert_array_equal(images[:, 0, 0, 0] * 255, labels)
    _, labels = files.read_cifar10(archive, "test", everything)
    assert labels.tolist() == [0, 0]


def test_a_truncated_cifar10_archive_is_named(archive):
    path = archive / files.CIFAR10_FILE
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"binary\.tar\.gz .* has MD5 .*download_cifar10"):
        files.read_cifar10(archive, "train", everything)


def test_jpeg_files_are_decoded_in_the_order_asked(tmp_path):
    write_npz(tmp_path)
    images, labels = files.read_jpeg_copy(tmp_path, "train", lambda size: np.array([1, 0]))
    assert labels.tolist() == [5, 0]
    # JPEG at quality 95 moves a flat colour by at most 2 of 255.
    np.testing.assert_allclose(images[0], 128 / 255, atol=2 / 255)
    np.testing.assert_allclose(images[1, 0], 1, atol=2 / 255)
    np.testing.assert_allclose(images[1, 1:], 0, atol=2 / 255)


def test_only_the_jpeg_files_asked_for_are_decoded(tmp_path):
    write_npz(tmp_path, (RED, b"not a picture", RED))
    assert len(files.read_jpeg_copy(tmp_path, "train", lambda size: np.array([0, 2]))[0]) == 2
    with pytest.raises(ValueError, match=r"cifar10_jpeg\.npz is corrupt: image 1 of 'train'"):
        files.read_jpeg_copy(tmp_path, "train", everything)


@pytest.mark.parametrize(
    ("contents", "changes", "message"),
    [
        ((RED, GREY[:-300], RED), {}, "corrupt: image 1"),
        ((RED, jpeg((0, 0, 0), (31, 32)), RED), {}, "image 1 .* 31 x 32 pixels"),
        ((RED, GREY), {}, "inconsistent"),
        ((RED, GREY, RED), {"train_labels": np.array([0, 5, 10])}, "inconsistent"),
        ((RED, GREY, RED), {"train_bytes": np.zeros(9, np.uint8)}, "inconsistent"),
        ((RED, GREY, RED), {"train_bytes": np.array([{}])}, "cannot be read .*pickle"),
    ],
    ids=["half a JPEG", "size", "offsets", "labels", "bytes", "pickle"],
)
def test_a_wrong_jpeg_copy_is_explained(tmp_path, contents, changes, message):
    write_npz(tmp_path, contents, **changes)
    with pytest.raises(ValueError, match=message):
        files.read_jpeg_copy(tmp_path, "train", everything)


@pytest.mark.parametrize(
    "spoil",
    [lambda b: b[:-50], lambda b: b"", lambda b: b"text", lambda b: b.replace(RED, RED[::-1])],
    ids=["truncated", "empty", "text", "a wrong byte inside"],
)
def test_a_spoilt_npz_is_named(tmp_path, spoil):
    path = write_npz(tmp_path) / files.JPEG_FILE
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=r"cifar10_jpeg\.npz cannot be read .*train_bytes"):
        files.read_jpeg_copy(tmp_path, "train", everything)


def test_an_npz_of_something_else_is_named(tmp_path):
    np.savez(tmp_path / files.JPEG_FILE, x=np.zeros(3))
    with pytest.raises(ValueError, match=r"cifar10_jpeg\.npz cannot be read .*train_labels"):
        files.read_jpeg_copy(tmp_path, "train", everything)


def test_a_missing_package_comes_with_the_command():
    with pytest.raises(ImportError, match=r"needs no_such_one, .*'isometry\[experiments\]'"):
        files.import_extra("no_such_one.part", needed_by="This")


def test_a_gzip_file_that_unpacks_without_end_is_refused(fashion, monkeypatch):
    monkeypatch.setattr(files, "_UNPACKED", 1 << 20)
    (fashion / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(1 << 24)))
    with pytest.raises(ValueError, match=r"unpacks to more than 1,048,576 bytes; expected a file"):
        files.read_fashion(fashion, "train", everything)


def test_a_tar_archive_that_unpacks_without_end_is_refused(archive, monkeypatch):
    monkeypatch.setattr(files, "_UNPACKED", 20_000)
    with pytest.raises(ValueError, match=r"unpacks to more than 20,000 bytes; expected CIFAR-10"):
        files.read_cifar10(archive, "train", everything)


def test_an_array_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_UNPACKED", 10_000)
    write_npz(tmp_path, train_labels=np.zeros(20_000, np.uint8))
    with pytest.raises(ValueError, match=r"train_labels unpacks to 20,\d+ bytes, more than 10,000"):
        files.read_jpeg_copy(tmp_path, "train", everything)


@pytest.mark.parametrize("shape", ["(9999999999999,)", "(99999999, 99999999, 99999)"])
def test_an_array_that_only_claims_to_be_large_is_refused(tmp_path, shape):
    write_npz(tmp_path)
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    header = header + " " * (-(len(header) + 11) % 64) + "\n"
    lie = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    whole = tmp_path / files.JPEG_FILE
    with zipfile.ZipFile(whole) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(whole, "w") as new:
        for name, content in (contents | {"train_labels.npy": lie}).items():
            new.writestr(name, content)
    with pytest.raises(ValueError, match=r"train_labels unpacks to 9[\d,]+ bytes, more than"):
        files.read_jpeg_copy(tmp_path, "train", everything)


def test_an_image_that_only_claims_to_be_large_is_not_decoded(tmp_path):
    large = bytearray(GREY)
    frame = large.index(b"\xff\xc0") + 5
    large[frame : frame + 4] = b"\x40\x00\x10\x00"  # 16,384 x 4,096 pixels
    write_npz(tmp_path, (RED, bytes(large), RED))
    with pytest.raises(ValueError, match=r"image 1 .* has 4096 x 16384 pixels; expected 32 x 32"):
        files.read_jpeg_copy(tmp_path, "train", everything)
