import itertools

import pytest
import torch

from isometry.nn.scale.probes import signs

COUNT = 2**18


def test_a_part_is_drawn_as_the_whole_has_it():
    whole = signs((7, 1, 0, 2), (3, 5, 200))
    for axis, start, stop in itertools.chain(
        [(0, 1, 3), (1, 0, 1), (1, 4, 5)], [(2, a, b) for a, b in ((0, 64), (63, 65), (130, 200))]
    ):
        offset = [0, 0, 0]
        offset[axis] = start
        expected = whole.narrow(axis, start, stop - start)
        part = signs((7, 1, 0, 2), expected.shape, offset=offset, whole=whole.shape)
        assert torch.equal(part, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_types_share_the_signs(dtype):
    expected = signs((0, 0, 0, 0), (4, 70))
    assert set(expected.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(signs((0, 0, 0, 0), (4, 70), dtype=dtype).float(), expected)


def test_a_scalar_and_an_empty_part_are_drawn():
    assert signs((0,), ()).shape == (1,)
    assert signs((0,), (2, 0), whole=(2, 10)).shape == (2, 0)


# Five standard errors of a mean of 2^18 products of signs.
@pytest.mark.parametrize("other", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)])
def test_probes_of_other_keys_are_independent(other):
    first, second = (signs(key, (2**10, 2**8)) for key in ((0, 0, 0, 0), other))
    assert abs(float((first * second).mean())) < 5 / COUNT**0.5


def test_entries_of_a_probe_are_independent():
    z = signs((3, 2, 1, 0), (2**10, 2**8))
    assert abs(float(z.mean())) < 5 / COUNT**0.5
    for shift in ((0, 1), (1, 0), (1, 1), (0, 64), (8, 0)):
        product = z * z.roll(shift, (0, 1))
        assert abs(float(product.mean())) < 5 / COUNT**0.5
    # the twin: what repeats every 64 columns is noticed
    copy = z[:, :64].repeat(1, 4)
    assert float((copy * copy.roll(64, 1)).mean()) > 0.9


def test_the_generators_stay_where_they_are():
    before = torch.get_rng_state()
    signs((0, 0, 0, 0), (10, 10))
    assert torch.equal(torch.get_rng_state(), before)
