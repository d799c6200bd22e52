import pytest
import torch

from isometry.nn.diagnosis import rotations
from isometry.nn.diagnosis.rotations import Haar, Mixed, Rotation

FLOAT64 = {"dtype": torch.float64, "device": torch.device("cpu")}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", [Haar, Mixed])
@pytest.mark.parametrize("size", [1, 2, 7, 48])
def test_a_map_is_orthogonal_and_its_transpose_is_its_inverse(kind, size):
    Q = kind.drawn(size, seeded()).like(**FLOAT64)
    eye = torch.eye(size, dtype=torch.float64)
    torch.testing.assert_close(Q.apply(eye) @ Q.apply(eye).T, eye, rtol=0, atol=1e-13)
    torch.testing.assert_close(Q.apply_transposed(Q.apply(eye)), eye, rtol=0, atol=1e-13)
    torch.testing.assert_close(Q.apply(eye).T, Q.apply_transposed(eye), rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", [Haar, Mixed])
def test_a_map_spreads_a_unit_vector_and_forgets_a_matrix(kind):
    """The entries of a column are like N(0, 1/n); tau(A Q B Qᵀ) is tau(A) tau(B)."""
    size = 512
    Q = kind.drawn(size, seeded()).like(**FLOAT64)
    column = Q.apply(torch.eye(1, size, dtype=torch.float64))[0] * size**0.5
    assert float((column**4).mean()) == pytest.approx(3.0, abs=5 * (96 / size) ** 0.5)
    half = torch.zeros(size, dtype=torch.float64)
    half[: size // 2] = 1.0
    shared = (Q.apply(torch.diag(half)) * half).square().sum() / size
    # Weingarten: the standard deviation of tau is below 1/n; without the map it would be 1/2
    assert float(shared) == pytest.approx(0.25, abs=5 / size)


def test_haar_has_no_preferred_sign():
    traces = [float(Haar.drawn(4, seeded(s)).matrix.trace()) for s in range(400)]
    # of a Haar matrix the trace has mean 0 and variance 1; uncorrected Q of QR has mean -1.6
    assert abs(sum(traces) / 400) < 5 / 400**0.5


def test_the_same_map_acts_at_every_token():
    Q = Rotation.drawn((2, 5, 6), 2, seeded(), **FLOAT64)
    v = torch.randn(3, 2, 5, 6, generator=seeded(1), dtype=torch.float64)
    rotated = Q.apply(v)
    torch.testing.assert_close(rotated, torch.einsum("ij,...j->...i", Q.map.matrix, v))
    torch.testing.assert_close(Q.apply(rotated, transposed=True), v)
    image = Rotation.drawn((2, 5, 6), 1, seeded(), **FLOAT64)
    torch.testing.assert_close(image.apply(v), torch.einsum("ij,kbjx->kbix", image.map.matrix, v))


def test_all_entries_are_rotated_together():
    Q = Rotation.drawn((2, 3), None, seeded(), **FLOAT64)
    v = torch.randn(4, 2, 3, generator=seeded(1), dtype=torch.float64)
    assert Q.map.matrix.shape == (6, 6)
    torch.testing.assert_close(Q.apply(v).flatten(1), v.flatten(1) @ Q.map.matrix.T)


def test_many_channels_take_the_fast_map(monkeypatch):
    monkeypatch.setattr(rotations, "LARGEST_DENSE", 5)
    assert isinstance(Rotation.drawn((2, 5), 1, seeded(), **FLOAT64).map, Haar)
    assert isinstance(Rotation.drawn((2, 6), 1, seeded(), **FLOAT64).map, Mixed)
