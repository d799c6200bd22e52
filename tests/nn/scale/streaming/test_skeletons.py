import torch
from torch import nn

from cases_families import HEADS, family
from isometry.nn.scale.streaming.skeletons import skeleton


def test_constants_are_computed_and_draws_are_not():
    class Rotary(nn.Linear):
        def __init__(self):
            super().__init__(3, 3)
            self.register_buffer("frequencies", 1.0 / 10 ** torch.arange(3))
            self.gain = nn.Parameter(torch.ones(3))
            self.drawn = nn.Parameter(torch.randn(3, generator=torch.Generator()))

    with skeleton():
        made = Rotary()
    assert made.weight.is_meta
    assert made.drawn.is_meta
    assert torch.equal(made.gain, torch.ones(3))
    assert torch.equal(made.frequencies, Rotary().frequencies)


def test_a_transformer_keeps_its_rotation():
    import transformers

    whole, _ = family("Qwen3")
    with skeleton():
        made = transformers.Qwen3Model(transformers.Qwen3Config(**HEADS))
    assert torch.equal(made.rotary_emb.inv_freq, whole.rotary_emb.inv_freq)
    assert all(p.is_meta for name, p in made.named_parameters() if "norm" not in name)
    assert bool((made.norm.weight == 1).all())


def test_nothing_is_changed_outside():
    with skeleton():
        pass
    assert not torch.empty(2).is_meta
