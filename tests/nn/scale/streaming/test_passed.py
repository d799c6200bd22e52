import json
from dataclasses import replace

import pytest
import torch

from cases_streaming import passed
from isometry.nn.scale.streaming.passed import packed, renamed, unpacked


def test_a_pass_comes_back_bit_by_bit():
    one = passed()
    record, tensors = packed(one)
    other = unpacked(json.loads(json.dumps(record)), tensors)
    assert torch.equal(other.output, one.output)
    for a, b in zip(other.blocks, one.blocks, strict=True):
        assert torch.equal(a.products, b.products)
        assert torch.equal(a.squares, b.squares)
        assert (a.name, a.skip, a.entries) == (b.name, b.skip, b.entries)
    for key in ("name", "sizes", "parts", "summaries", "orthogonal", "findings"):
        assert getattr(other, key) == getattr(one, key)
    assert any(part.span is not None for part in other.parts)


@pytest.mark.parametrize(
    "output", [(torch.ones(2), None, 3), [torch.ones(1), (torch.zeros(2),)], torch.ones(3)]
)
def test_outputs_keep_their_structure(output):
    record, tensors = packed(replace(passed(), output=output))
    back = unpacked(json.loads(json.dumps(record)), tensors).output
    assert str(back) == str(output)


def test_outputs_that_cannot_be_kept_are_refused():
    with pytest.raises(NotImplementedError, match=r"layer 'h\.0' that returns a object"):
        packed(replace(passed(), output=object()))


def test_a_part_takes_the_model_s_name():
    part = renamed(passed().parts[0], "encoder.3.ln_1.weight")
    assert (part.parameter, part.kind) == ("encoder.3.ln_1.weight", "encoder.*.ln_1.weight")
    assert part.stack == "encoder."
