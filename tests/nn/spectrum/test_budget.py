import pytest

from cases_matrices import PRODUCT, operator
from isometry.nn.spectrum.budget import estimate_seconds, probes_for


@pytest.mark.parametrize(("size", "probes"), [(400, 8), (4000, 6), (12_000, 2), (10**6, 2)])
def test_the_number_of_probes_follows_the_size(size, probes):
    assert probes_for(size, None) == probes


def test_the_time_is_estimated_from_one_product_each_way():
    J = operator(PRODUCT)
    assert 0 < estimate_seconds(J) < 60
    assert J.products + J.T.products == 1  # J.T is a new operator, with a count of its own
