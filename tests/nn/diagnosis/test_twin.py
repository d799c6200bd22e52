import numpy as np
import pytest
import torch
from torch import nn

from cases_models import transformers_model
from cases_modules import FromEmbeddings, Residual, mlp, stack, strided_stages
from isometry.nn.blocks.blocks import residual_stream
from isometry.nn.blocks.operator import SegmentOperator
from isometry.nn.diagnosis.diagnosis import diagnose
from isometry.nn.diagnosis.twin import twin, twin_of
from isometry.nn.jacobian.jacobian import JacobianOperator
from isometry.nn.networks.resnet import ResNet
from isometry.nn.spectrum.spectrum import singular_spectrum
from isometry.theory.comparison import compare
from isometry.theory.laws.product import ProductLaw
from isometry.theory.propagation import ResNetSpec

HEADS = {"hidden_size": 48, "intermediate_size": 192, "num_attention_heads": 4}
TOKENS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "vocab_size": 50}
TOKENS |= {"initializer_range": 0.08}  # what a neuron of a model 768 wide sees at 0.02
GPT2 = transformers_model(
    FromEmbeddings, "GPT2Model", "GPT2", n_embd=48, n_head=4, n_layer=6, n_positions=16, **TOKENS
)
LLAMA = transformers_model(
    FromEmbeddings, "LlamaModel", "Llama", num_hidden_layers=6, num_key_value_heads=2, **HEADS,
    **TOKENS,
)  # fmt: skip


class Streams(nn.Module):
    """Four streams, mixed by a drawn doubly stochastic matrix; one branch reads and writes all."""

    def __init__(self, width):
        super().__init__()
        self.logits = nn.Parameter(torch.randn(4, 4) + 4 * torch.eye(4))
        self.body = nn.Sequential(nn.LayerNorm(width), mlp(width, 4 * width))

    def forward(self, X):
        M = torch.softmax(self.logits, -1)
        for _ in range(8):
            M = M / M.sum(0, keepdim=True)
            M = M / M.sum(1, keepdim=True)
        return torch.einsum("mn,nbtd->mbtd", M, X) + self.body(X.mean(0))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def built(build, shape):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().double().eval(), torch.randn(shape, dtype=torch.float64)


def lam(operator):
    return singular_spectrum(operator, "dense").values


def ks(one, other):
    """Return the largest difference of two distribution functions."""
    points = np.concatenate([one, other])
    levels = [np.searchsorted(np.sort(v), points, side="right") / len(v) for v in (one, other)]
    return np.abs(levels[0] - levels[1]).max()


def compared(model, x, rotations=4):
    """Return KS to a twin, and the mean largest s of several over the model's own."""
    stream = residual_stream(model, x)
    own = lam(SegmentOperator(stream.trunk))
    twins = [lam(twin_of(stream, "channels", seeded(seed))) for seed in range(rotations)]
    largest = np.mean([values[-1] ** 0.5 for values in twins])
    return ks(own, twins[0]), largest / own[-1] ** 0.5


def test_the_twin_is_the_product_of_the_blocks_and_rotations():
    model, x = built(lambda: stack(lambda: Residual(mlp(6, 9)), 3), (2, 6))
    found = twin(model, x, generator=seeded())
    expected = torch.eye(12, dtype=torch.float64)
    for rotation, block in zip([None, *found._rotations], model, strict=True):
        if rotation is not None:
            expected = torch.block_diag(rotation.map.matrix, rotation.map.matrix) @ expected
        expected = torch.func.jacrev(block)(x).reshape(12, 12) @ expected
        x = block(x).detach()
    # float64 rounding of a dozen products of order one
    eye = torch.eye(12, dtype=torch.float64)
    for dense in (found.to_dense(), found @ eye, (found.T @ eye).T):
        torch.testing.assert_close(dense, expected, rtol=0, atol=1e-13)
    assert found.axes == (1, 1)


@pytest.mark.parametrize("build", [GPT2, LLAMA], ids=["GPT-2", "Llama"])
def test_tokens_do_not_tell_the_twin_from_the_model(build):
    """KS 0.016 and 0.010, a fraction of 6/N plus what six layers and 48 channels leave."""
    distance, largest = compared(*built(build, (1, 16, 48)))
    assert distance <= 0.02
    # one twin scatters by 2 to 5 %
    assert largest == pytest.approx(1.0, abs=0.1)


def test_rotating_all_entries_does_where_tokens_matter():
    """The largest s of the model is that of a direction which all tokens share."""
    model, x = built(GPT2, (1, 16, 48))
    own = lam(JacobianOperator(model, x))[-1] ** 0.5
    full = lam(twin(model, x, rotate="all", generator=seeded()))[-1] ** 0.5
    assert full < 0.9 * own


@pytest.mark.parametrize(("act", "act_last"), [(torch.tanh, False), (torch.relu, True)])
def test_strided_stages_have_a_twin_of_their_widths(act, act_last):
    """KS 0.013 and 0.044: after ReLU all blocks share a mean direction, which rotations turn."""
    model, x = built(lambda: strided_stages(act, act_last=act_last), (1, 24, 8, 8))
    stream = residual_stream(model, x)
    found = twin_of(stream, "channels", seeded())
    widths = {s.source_shape[1] for s in stream.chain[1:]}
    assert (set(found.axes), widths) == ({1}, {24, 48, 96})
    distance, largest = compared(model, x, rotations=2)
    assert distance <= (0.05 if act_last else 0.02)
    assert largest == pytest.approx(0.8 if act_last else 1.0, abs=0.1)


def test_streams_that_are_mixed_have_a_twin_and_no_product_law():
    """The mixings act alike on all channels: they are no more free of each other than tokens."""
    model, x = built(lambda: stack(lambda: Streams(24), 8), (4, 1, 4, 24))
    distance, largest = compared(model, x)
    assert distance < 12 / 384  # each within 6/N of what both tend to
    assert largest == pytest.approx(1.0, abs=0.05)
    stream = residual_stream(model, x)
    own = singular_spectrum(SegmentOperator(stream.trunk), "dense")
    factors = [
        singular_spectrum(SegmentOperator(segment), "dense").values for segment in stream.chain
    ]
    rules = [np.quantile(values, (np.arange(48) + 0.5) / 48) for values in factors]
    free = ProductLaw([(rule, np.full(48, 1 / 48)) for rule in rules])
    assert compare(own, free).ks > 0.1
    assert ks(own.values, lam(twin(model, x, rotate="all", generator=seeded()))) > 0.1


def test_copied_layers_are_not_free_and_drawn_ones_are():
    def encoder(redraw):
        layer = nn.TransformerEncoderLayer(32, 4, 64, norm_first=True, batch_first=True)
        model = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        for parameter in model.parameters() if redraw else ():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        return model

    drawn, _ = compared(*built(lambda: encoder(True), (1, 8, 32)))
    copied, _ = compared(*built(lambda: encoder(False), (1, 8, 32)))
    assert drawn < 6 / 256
    assert copied > 0.1


def test_shared_weights_are_not_free():
    def model(shared):
        blocks = [
            Residual(nn.Sequential(nn.Linear(64, 64), nn.Tanh()), gain=0.4) for _ in range(20)
        ]
        return nn.Sequential(*(blocks[:1] * 20 if shared else blocks))

    free, _ = compared(*built(lambda: model(False), (1, 64)))
    shared, _ = compared(*built(lambda: model(True), (1, 64)))
    assert free < 6 / 64
    assert shared > 0.2


def test_training_makes_the_blocks_know_each_other():
    net = ResNet(ResNetSpec("tanh", depth=12), 48, generator=seeded())
    x, y = (
        torch.randn(256, 48, generator=seeded(1)),
        torch.randint(0, 4, (256,), generator=seeded()),
    )
    start, _ = compared(net, x[:1])
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x)[:, :4], y).backward()
        optimiser.step()
    trained, _ = compared(net, x[:1])
    assert start < 6 / 48
    assert trained > 2 * start


def test_one_block_is_its_own_twin():
    model, x = built(lambda: Residual(mlp(6, 9)), (1, 6))
    torch.testing.assert_close(twin(model, x).to_dense(), JacobianOperator(model, x).to_dense())


def test_torch_manual_seed_decides_and_one_draw_is_all_that_moves():
    model, x = built(lambda: stack(lambda: Residual(mlp(6, 9)), 3), (1, 6))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        one = twin(model, x).to_dense()
        after = torch.rand(())
        torch.manual_seed(5)
        torch.testing.assert_close(twin(model, x).to_dense(), one, rtol=0, atol=0)
        torch.manual_seed(5)
        torch.randint(2**62, ())
        assert after == torch.rand(())
        assert not torch.equal(twin(model, x).to_dense(), one)
    other = twin(model, x, generator=seeded(1)).to_dense()
    torch.testing.assert_close(twin(model, x, generator=seeded(1)).to_dense(), other)


def test_a_wrong_word_and_an_unclear_axis_are_refused_with_the_remedy():
    class Attention(nn.Module):
        def forward(self, x):
            return x + torch.softmax(x @ x.mT, -1) @ x

    model, x = built(lambda: stack(Attention), (1, 5, 6))
    with pytest.raises(ValueError, match="`rotate` is 'rows'; expected 'channels' or 'all'"):
        twin(model, x, rotate="rows")
    with pytest.raises(ValueError, match=r"is not clear.*`rotate='all'`"):
        twin(model, x)
    assert twin(model, x, rotate="all").axes == (None, None)


def test_progress_goes_on_from_the_model_to_its_twin():
    told = []
    net = ResNet(ResNetSpec(activation="tanh", depth=3), 24, generator=seeded())
    x = torch.randn(1, 24, generator=seeded(1))
    diagnose(
        net, x, method="lanczos", num_matvecs=5, twin=True, generator=seeded(),
        progress=lambda done, total: told.append(done / total),
    )  # fmt: skip
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0.1, 1.0)
