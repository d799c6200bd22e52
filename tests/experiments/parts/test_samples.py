import numpy as np
import pytest
import torch

from isometry.data import embed
from isometry.experiments.parts.samples import images, planes, vectors


def test_vectors_are_embedded_images_and_read_once():
    x, y = vectors("digits", 20, 50)
    found = images("digits", 20)
    assert x.shape == (20, 50)
    np.testing.assert_array_equal(x[7].numpy(), embed(found.images[7], 50))
    assert y.tolist() == found.labels.tolist()
    assert vectors("digits", 20, 50)[0] is x


@pytest.mark.parametrize(("channels", "side"), [(3, 8), (5, 4), (2, 12)])
def test_planes_have_mean_zero_and_mean_square_one(channels, side):
    x, y = planes("digits", 10, channels, side)
    assert x.shape == (10, channels, side, side)
    assert len(y) == 10
    torch.testing.assert_close(x.mean((1, 2, 3)), torch.zeros(10, dtype=x.dtype))
    torch.testing.assert_close(x.square().mean((1, 2, 3)), torch.ones(10, dtype=x.dtype))


def test_a_grey_image_is_lifted_to_multiples_of_itself():
    x, _ = planes("digits", 3, 4, 8)
    assert np.linalg.matrix_rank(x[0].reshape(4, -1).numpy(), tol=1e-6) <= 2  # and a constant
