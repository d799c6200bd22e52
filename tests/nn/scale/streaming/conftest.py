import gc

import pytest


@pytest.fixture(scope="module", autouse=True)
def collected():
    """Leave out what earlier tests keep: a stream collects behind every layer."""
    gc.collect()
    gc.freeze()
