import pytest
import torch

from cases_operators import Case, finite_difference_jacobian, random_block, relative
from isometry.errors import AccuracyWarning
from isometry.nn.jacobian.jacobian import JacobianOperator

transformers = pytest.importorskip("transformers", reason="needs the [hf] extra")


def gpt2():
    config = transformers.GPT2Config(
        n_embd=8,
        n_layer=2,
        n_head=2,
        vocab_size=11,
        n_positions=8,
        use_cache=False,
        bos_token_id=1,
        eos_token_id=2,
    )
    return transformers.GPT2Model(config), "inputs_embeds", (1, 3, 8)


def llama():
    config = transformers.LlamaConfig(
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=11,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        use_cache=False,
    )
    return transformers.LlamaModel(config), "inputs_embeds", (1, 3, 8)


def vit():
    config = transformers.ViTConfig(
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=4,
        patch_size=2,
        num_channels=2,
    )
    return transformers.ViTModel(config, add_pooling_layer=False), "pixel_values", (1, 2, 4, 4)


def build(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, argument, shape = make()
    model = model.double().eval()
    x = random_block(1, torch.Size(shape).numel()).reshape(shape)
    return model, (lambda x: model(**{argument: x}).last_hidden_state), x


@pytest.mark.parametrize("make", [gpt2, vit])
def test_transformers_match_finite_differences(make):
    _, f, x = build(make)
    expected = finite_difference_jacobian(Case(f, x, reference=f))
    V, U = random_block(expected.shape[1], 2), random_block(expected.shape[0], 2)
    for route in ("tape", "autograd"):
        J = JacobianOperator(f, x, route=route)
        # h^2 |f'''| grows through two layer norms per block: seen below 5e-9.
        assert relative(J.to_dense() - expected, expected) < 1e-7
        assert relative(J @ V - expected @ V, expected @ V) < 1e-7
        assert relative(J.T @ U - expected.T @ U, expected.T @ U) < 1e-7


def test_norms_that_compute_in_float32_are_reported():
    _, f, x = build(llama)
    with pytest.warns(AccuracyWarning, match="a lower precision inside `f`."):
        J = JacobianOperator(f, x)
    expected = torch.autograd.functional.jacobian(f, x).reshape(J.shape)
    assert relative(J.to_dense() - expected, expected) < 1e-6  # float32 inside: 1e-7


def test_of_an_output_record_the_first_tensor_is_meant_or_the_one_that_is_named():
    model, f, x = build(vit)
    for output in (None, "last_hidden_state"):
        J = JacobianOperator(model, x, output=output)
        torch.testing.assert_close(J.output, f(x).detach())


def test_train_mode_dropout_is_named():
    model, f, x = build(gpt2)
    model.train()
    with pytest.raises(ValueError, match=r"train mode in layer 'drop' \(p = 0.1\)"):
        JacobianOperator(f, x)
    assert model.training
