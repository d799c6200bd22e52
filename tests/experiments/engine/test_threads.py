import threadpoolctl
import torch

from isometry.experiments.engine.threads import one_thread


def blas_threads():
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info()}


def test_a_block_has_one_thread_and_leaves_the_number_as_it_was():
    before, pools = torch.get_num_threads(), blas_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
            assert blas_threads() == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert blas_threads() == pools


def test_threadpoolctl_is_asked_for(monkeypatch):
    import sys

    import pytest

    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with (
        pytest.raises(ImportError, match=r"runs need threadpoolctl; run `pip install"),
        one_thread(),
    ):
        pass
