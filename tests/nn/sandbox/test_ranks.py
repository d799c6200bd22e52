import torch

from isometry.nn.sandbox.ranks import Ranks, _digest


def test_one_process_has_nobody_to_agree_with():
    ranks = Ranks()
    assert not ranks
    assert ranks.agree(True, torch.device("cpu"))
    assert not ranks.agree(False, torch.device("cpu"))
    ranks.check_point(torch.ones(2), torch.zeros(2))


def test_a_digest_tells_sizes_norms_and_orders_apart():
    x = torch.arange(4.0)
    others = (x[:3], 2 * x, x.flip(0), x + 1)
    assert torch.equal(_digest(x), _digest(x.clone()))
    assert not any(torch.allclose(_digest(x), _digest(other)) for other in others)
