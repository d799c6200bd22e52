import subprocess
import sys

import numpy as np
import pytest

from isometry.data import data
from isometry.data import formats as files


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    monkeypatch.delenv("ISOMETRY_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sources = {k: data.dataclasses.replace(s, places=()) for k, s in data._SOURCES.items()}
    monkeypatch.setattr(data, "_SOURCES", sources)


@pytest.mark.parametrize(("split", "size"), [("train", 1437), ("test", 360)])
def test_digits_are_embedded(split, size):
    digits = data.load_images("digits", split=split)
    assert len(digits) == size
    assert digits.images.shape == (size, 1, 8, 8)
    assert digits.images.dtype == np.float32
    assert (digits.images.min(), digits.images.max()) == (0, 1)
    assert digits.labels.dtype == np.int64
    assert set(digits.labels) == set(range(10))
    assert digits.classes[3] == "3"


def test_the_seed_orders_a_split_and_never_mixes_two():
    def rows(**options):
        return {image.tobytes() for image in data.load_images("digits", **options).images}

    one, again, other = (data.load_images("digits", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.images, again.images)
    assert (one.labels != other.labels).any()
    assert rows(seed=1) == rows(seed=2)
    assert not rows(seed=1) & rows(seed=2, split="test")


def test_limit_keeps_the_first_of_the_shuffled():
    few, all_of_them = data.load_images("digits", limit=5), data.load_images("digits")
    np.testing.assert_array_equal(few.images, all_of_them.images[:5])


def test_loading_leaves_the_global_generator_alone():
    before = np.random.get_state(legacy=False)  # noqa: NPY002
    data.load_images("digits")
    np.testing.assert_equal(np.random.get_state(legacy=False), before)  # noqa: NPY002


def test_an_image_set_prints_its_label_and_not_its_pixels():
    digits = data.load_images("digits", limit=4)
    assert "label='digits'" in repr(digits)
    assert "array" not in repr(digits)
    assert set(digits.to_dict()) == {"schema", "name", "label", "split", "source", "classes"}


def test_the_jpeg_copy_is_labelled_as_one():
    assert data._SOURCES["cifar10_jpeg"].label == "CIFAR-10 (JPEG copy)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "cifar-10"}, "`name` is 'cifar-10'; .*Did you mean 'cifar10'"),
        ({"split": "validation"}, "`split` is 'validation'; expected 'train'"),
        ({"seed": -1}, "`seed` is -1"),
        ({"limit": 0}, "`limit` is 0"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        data.load_images(**options)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("cifar10", r"download_cifar10\(\)"),
        ("cifar10_jpeg", "Copy it there"),
        ("fashion_mnist", "dataset-fashion-mnist"),
    ],
)
def test_a_set_that_is_nowhere_says_where_it_was_looked_for(name, advice, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}.*cache.*{advice}"):
        data.load_images(name, data_dir=tmp_path)


@pytest.mark.parametrize("ask", [data.available, lambda at: data.load_images(data_dir=at)])
def test_a_folder_that_does_not_exist_is_not_passed_over(ask, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`data_dir` is '.*slip', which is not a folder"):
        ask(tmp_path / "slip")


def test_missing_extra_is_an_error_only_when_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"'digits' needs sklearn.*'isometry\[experiments\]'"):
        data.load_images("digits")


def test_importing_data_loads_no_optional_package():
    code = (
        "import sys, isometry.data; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'sklearn', 'PIL', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def place(folder, name):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")
    return folder


def test_files_are_looked_for_in_the_argument_the_variable_and_the_cache(tmp_path, monkeypatch):
    assert data.available() == ["digits"]
    place(tmp_path / "argument", files.JPEG_FILE)
    assert data.available(tmp_path / "argument") == ["cifar10_jpeg", "digits"]
    monkeypatch.setenv("ISOMETRY_DATA", str(tmp_path / "variable"))
    place(tmp_path / "variable", "t10k-labels-idx1-ubyte.gz")
    assert data.available() == ["fashion_mnist", "digits"]
    (tmp_path / "cache").mkdir()
    place(data.cache_dir(), files.CIFAR10_FILE)
    assert data.available(tmp_path / "argument") == list(data._SOURCES)
    assert data.best_available() == "cifar10"


def test_a_set_without_its_package_is_not_available(tmp_path, monkeypatch):
    place(tmp_path / "here", files.JPEG_FILE)
    monkeypatch.setattr(data.importlib.util, "find_spec", lambda name: None)
    assert data.available(tmp_path / "here") == []
    assert data.best_available() == "digits"


def test_the_cache_is_under_the_home_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.cache_dir() == tmp_path / ".cache" / "isometry"


def test_the_download_goes_to_the_first_folder_given(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        data, "fetch", lambda url, path, **options: calls.append((url, path)) or path
    )
    data.download_cifar10(tmp_path)
    data.download_cifar10(url="http://mirror.invalid/x")
    assert calls[0] == (data.CIFAR10_URL, tmp_path / files.CIFAR10_FILE)
    assert calls[1] == ("http://mirror.invalid/x", data.cache_dir() / files.CIFAR10_FILE)


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_standardised_images_have_mean_0_and_mean_square_1(kind):
    images = np.random.default_rng(0).integers(256, size=(5, 3, 8, 8)).astype(kind)
    out = data.standardise(images)
    assert out.dtype == (np.float32 if kind == np.float32 else np.float64)
    # The rounding of 192 entries of order 1 in the output's precision.
    tolerance = 20 * np.finfo(out.dtype).eps
    flat = out.reshape(5, -1).astype(np.float64)
    np.testing.assert_allclose(flat.mean(axis=1), 0, atol=tolerance)
    np.testing.assert_allclose((flat**2).mean(axis=1), 1, atol=tolerance)


@pytest.mark.parametrize("bad", [0.1, np.nan, np.inf])
def test_an_image_that_cannot_be_standardised_is_named(bad):
    images = np.random.default_rng(0).normal(size=(4, 1, 3, 3))
    images[2] = bad
    with pytest.raises(ValueError, match="`images` has no finite, positive variance at index 2"):
        data.standardise(images)


@pytest.mark.parametrize("width", [2, 60, 64, 256, 500])
@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (3, 32, 30)])
def test_an_embedded_image_has_the_width_asked_and_mean_square_1(width, shape):
    x = data.embed(np.random.default_rng(0).random(shape, dtype=np.float32), width)
    assert x.shape == (width,)
    assert x.dtype == np.float64
    assert np.mean(x) == pytest.approx(0, abs=1e-14)
    assert np.mean(x**2) == pytest.approx(1, abs=1e-14)


def test_an_image_of_the_right_size_is_only_standardised():
    image = np.random.default_rng(0).random((8, 8))
    np.testing.assert_allclose(
        data.embed(image, 64), (image.ravel() - image.mean()) / image.std(), rtol=1e-12
    )


def test_resampling_keeps_a_linear_ramp_linear():
    x = data.embed(np.tile(np.arange(8.0), (8, 1)), 256).reshape(16, 16)
    np.testing.assert_allclose(x, x[:1].repeat(16, axis=0), atol=1e-12)
    # Bilinear away from the border, where the last pixel is held for half a pixel.
    np.testing.assert_allclose(np.diff(x[0, 1:-1], n=2), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((8, 8), {"width": 65, "upsample": False}, "8 x 8 = 64 .* at least 65"),
        ((64,), {"width": 64}, r"`image` has shape \(64,\)"),
        ((1, 3, 8, 8), {"width": 64}, r"`image` has shape \(1, 3, 8, 8\)"),
        ((0, 8), {"width": 64}, r"`image` has shape \(0, 8\)"),
        ((8, 8), {"width": 1}, "`width` is 1"),
    ],
)
def test_an_image_that_does_not_fit_is_explained(shape, options, message):
    with pytest.raises(ValueError, match=message):
        data.embed(np.ones(shape), **options)


@pytest.mark.parametrize(("bad", "message"), [(np.nan, "NaN"), (0.0, "variance")])
def test_an_image_without_content_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        data.embed(np.full((8, 8), bad), 64)
