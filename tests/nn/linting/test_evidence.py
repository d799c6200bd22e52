import torch

from cases_lint import decoder, tokens
from isometry.nn.linting.evidence import Evidence, has_values
from isometry.nn.roles.follow import followed


def test_every_tensor_is_there_once_and_fused_ones_in_parts():
    model = decoder()
    evidence = Evidence(followed(model, tokens()))
    assert {p.parameter for p in evidence.parts} == {
        *dict(model.named_parameters()),
        *dict(model.named_buffers()),
    }
    assert len(evidence.whole) == len(list(model.parameters()))
    rows = [p.span for p in evidence.parts if p.parameter == "layers.0.attention.qkv.weight"]
    assert rows == [(0, 64), (64, 128), (128, 192)]


def test_tensors_without_values_have_no_numbers():
    assert not has_values(torch.empty(3, device="meta"))
    assert not has_values(torch.arange(3))
    assert not has_values(torch.empty(0))


def test_progress_counts_the_entries_that_are_read():
    model, told = decoder(), []
    evidence = Evidence(followed(model, tokens()), progress=lambda *at: told.append(at))
    assert evidence.summaries.keys() >= {"layers.0.attention.qkv.weight[0:64]"}
    sizes = sum(p.numel() for p in model.parameters())
    done, total = zip(*told, strict=True)
    assert set(total) == {done[-1]}
    assert sizes <= done[-1] <= sizes + sum(b.numel() for b in model.buffers())
    assert list(done) == sorted(set(done))
