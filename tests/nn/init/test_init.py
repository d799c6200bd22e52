import math

import pytest
import torch
from torch import nn

from cases_models import pixels, tokens
from cases_modules import Parallel, Residual, mlp, shared, stack
from isometry import nn as inn
from isometry.nn.blocks.traces import block_traces
from isometry.nn.init.init import apply_, plan, residual_
from isometry.nn.networks.resnet import ConvResNet, ResNet
from isometry.theory.activations.lookup import activation_names
from isometry.theory.propagation import ResNetSpec


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def points(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


def measured(model, x, *, seed=77, probes=12, **options):
    # A skip that is a matrix has no c, and no part in a plan.
    blocks = [b for b in inn.residual_blocks(model, x, **options) if not b.matrix]
    return [t.c for t in block_traces(blocks, num_probes=probes, generator=seeded(seed))]


def perceptron(width=256, depth=6, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return stack(lambda: Residual(mlp(width, 2 * width)), depth)


def own(act="gelu", width=256, depth=10, **options):
    return ResNet(ResNetSpec(act, depth=depth, sigma_b=0.2, **options), width, generator=seeded())


def snapshot(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


NETS = {
    "perceptron": (perceptron, (16, 256)),
    "tanh": (lambda: own("tanh"), (16, 256)),
    "relu with a skip": (lambda: own("relu", skip=0.9), (16, 256)),
    "gelu": (lambda: own("gelu"), (16, 256)),
    "circular": (
        lambda: ConvResNet(ResNetSpec("gelu", depth=8, sigma_b=0.2), 32, generator=seeded()),
        (4, 32, 6, 6),
    ),
    "zero padding": (
        lambda: ConvResNet(
            ResNetSpec("tanh", depth=8, sigma_b=0.2), 32, generator=seeded(), padding_mode="zeros"
        ),
        (4, 32, 6, 6),
    ),
}


@pytest.mark.parametrize("c", [0.25, 1.0])
@pytest.mark.parametrize("name", NETS)
def test_another_sample_and_other_probes_find_the_wanted_c(name, c):
    build, shape = NETS[name]
    model = residual_(build(), points(*shape), c=c, generator=seeded(1))
    # the bound of 3 % that is promised at width 256 and at 32 channels
    assert sum(measured(model, points(*shape, seed=5))) == pytest.approx(c, rel=0.03)


def test_the_check_of_c_can_fail():
    model = residual_(perceptron(), points(16, 256), c=1.1, generator=seeded(1))
    assert sum(measured(model, points(16, 256, seed=5))) != pytest.approx(1.0, rel=0.03)


ACTIVATIONS = [name for name in activation_names() if name not in ("sign", "prelu")]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")
def test_every_activation_gets_the_same_c():
    x, found = points(32, 256), {}
    for name in ACTIVATIONS:
        net = residual_(own(name, depth=12), x, c=1.0, generator=seeded(1))
        rows = [net.layer_cumulants(sample).sum() for sample in points(24, 256, seed=5)]
        found[name] = float(torch.stack(rows).mean())
    # max / min of 1.05 over all of them, as promised
    assert max(found.values()) / min(found.values()) < 1.05, found


def test_the_theory_route_is_taken_for_the_papers_network_only():
    x = points(8, 64)
    assert plan(own(width=64), x, generator=seeded()).method == "theory"
    assert plan(own(width=64), x, method="data", generator=seeded()).method == "data"
    assert plan(own(width=64), x, shares=range(1, 11), generator=seeded()).method == "data"
    assert plan(perceptron(64, 2), x, generator=seeded()).method == "data"


def test_the_theory_route_keeps_specification_and_weights_together():
    net = residual_(own("tanh", width=128), points(32, 128), c=2.0, generator=seeded())
    weights = torch.cat([linear.weight.detach().flatten() for linear in net.linear_maps()])
    # five standard errors of a sample variance
    error = 5 * math.sqrt(2 / weights.numel())
    assert float(weights.var()) == pytest.approx(net.spec.sigma_w**2 / (128 * 10), rel=error)
    assert net.spec.sigma_w > 1.4


def test_an_orthogonal_draw_reaches_the_same_c():
    net = own("tanh", width=128)
    residual_(net, points(32, 128), scheme="orthogonal", generator=seeded())
    W = net.layers[3].linear.weight.detach()
    torch.testing.assert_close(W @ W.T, float(W.square().mean()) * 128 * torch.eye(128))
    assert sum(measured(net, points(32, 128, seed=5))) == pytest.approx(1.0, rel=0.03)


@pytest.mark.parametrize("build", [lambda: own(width=64), lambda: perceptron(64, 3)])
def test_a_plan_touches_nothing_and_applying_twice_is_once(build):
    model, x, state = build(), points(8, 64), torch.get_rng_state()
    before, parameters = snapshot(model), list(model.parameters())
    attributes = [sorted(vars(module)) for module in model.modules()]
    made = plan(model, x, generator=seeded())
    assert same(snapshot(model), before)
    assert apply_(model, made) is model
    once = snapshot(model)
    assert not same(once, before)
    assert same(snapshot(apply_(model, made)), once)
    assert all(
        p is q and p.requires_grad for p, q in zip(model.parameters(), parameters, strict=True)
    )
    assert [sorted(vars(module)) for module in model.modules()] == attributes
    assert list(once) == list(before)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_same_generator_gives_the_same_plan():
    made = [plan(perceptron(64, 3), points(8, 64), generator=seeded(s)) for s in (4, 4, 5)]
    factors = [[block.factor for block in one.blocks] for one in made]
    assert factors[0] == factors[1] != factors[2]


def test_only_the_end_of_each_branch_is_scaled():
    model = perceptron(64, 3)
    before = snapshot(model)
    made = plan(model, points(8, 64), generator=seeded())
    after = snapshot(apply_(model, made))
    assert sorted(made.changes) == [f"{i}.body.2.weight" for i in range(3)]
    for row in made.blocks:
        (name,) = row.tensors
        torch.testing.assert_close(after.pop(name), row.factor * before.pop(name))
    assert same(after, before)


def test_shares_spread_c_over_the_blocks():
    model, x = perceptron(128, 3), points(16, 128)
    residual_(model, x, c=0.6, shares=[1, 2, 3], generator=seeded())
    # one block of 2^15 entries: 2 % probe noise and 2 % accepted residual
    assert measured(model, x) == pytest.approx([0.1, 0.2, 0.3], rel=0.04)


def test_a_condition_number_is_a_c():
    made = plan(own(width=64), points(8, 64), condition_number=21.094423247747, generator=seeded())
    assert made.c == pytest.approx(1.0)


def test_depth_is_not_counted_twice():
    x, models = points(16, 64), [perceptron(64, 4), perceptron(64, 4)]
    with torch.no_grad():
        for block in models[1]:
            block.body[2].weight.div_(math.sqrt(8))
    plans = [plan(model, x, generator=seeded()) for model in models]
    factors = [[block.factor for block in made.blocks] for made in plans]
    ratio = [b / a for a, b in zip(*factors, strict=True)]
    assert ratio == pytest.approx([math.sqrt(8)] * 4, rel=0.02)


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_a_compiled_model_is_initialised_like_the_one_inside():
    plain, inner = perceptron(32, 2), perceptron(32, 2)
    x = points(16, 32)
    residual_(plain, x, generator=seeded())
    compiled = torch.compile(inner)
    assert residual_(compiled, x, generator=seeded()) is compiled
    assert same(snapshot(inner), snapshot(plain))


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_compiled_layers_are_named_like_plain_ones():
    plain, wrapped = own(width=32, depth=2), own(width=32, depth=2)
    for layer in wrapped.layers:
        layer.linear = torch.compile(layer.linear, backend="eager")
    made, other = (plan(net, points(16, 32), generator=seeded()) for net in (plain, wrapped))
    assert list(other.changes) == list(made.changes)
    assert [block.tensors for block in other.blocks] == [block.tensors for block in made.blocks]


def test_a_function_initialises_the_module_that_it_calls():
    model, x = perceptron(64, 3), points(16, 64)
    residual_(lambda x: 2 * model(x), x, c=0.5, generator=seeded())
    assert sum(measured(model, x)) == pytest.approx(0.5, rel=0.04)


def test_a_network_without_values_is_drawn():
    net = ResNet(ResNetSpec("gelu", depth=4, sigma_b=0.2), 64, device="meta").to_empty(device="cpu")
    for parameter in net.parameters():
        parameter.detach().fill_(float("nan"))
    made = plan(net, points(16, 64), generator=seeded())
    assert made.c_before is None
    fresh = apply_(own(width=64, depth=4), made)
    assert same(snapshot(apply_(net, made)), snapshot(fresh))


def test_bfloat16_keeps_its_type_and_gets_c():
    model, x = perceptron(128, 4).bfloat16(), points(32, 128).bfloat16()
    residual_(model, x, generator=seeded())
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    # rounding of bfloat16 weights and products, 2^-8 each, on top of the 3 %
    assert sum(measured(model.float(), x.float())) == pytest.approx(1.0, rel=0.05)


def test_frozen_parameters_stay_frozen_and_are_written():
    model = perceptron(64, 2).requires_grad_(False)
    before = snapshot(model)
    residual_(model, points(16, 64), generator=seeded())
    assert not any(p.requires_grad for p in model.parameters())
    assert not same(snapshot(model), before)


def test_the_plan_prints_its_table():
    made = plan(perceptron(64, 2), points(16, 64), generator=seeded())
    text = str(made)
    for word in ("block", "c now", "c after", "factor", "1.body.2.weight", "last linear map"):
        assert word in text
    assert repr(made).startswith("InitPlan(data: c ")
    record = made.to_dict()
    assert record["parameters"] == ["0.body.2.weight", "1.body.2.weight"]
    assert record["residual"] <= 0.02
    assert "<table>" in made._repr_html_()


GPT = {"n_embd": 128, "n_head": 4, "n_layer": 2, "n_positions": 16}
BERT = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4}
BERT |= {"num_hidden_layers": 2}
VIT = BERT | {"image_size": 32, "patch_size": 4}
CONVNEXT = {"hidden_sizes": [32, 64], "depths": [2, 2], "num_stages": 2}
RESNET = {"embedding_size": 32, "hidden_sizes": [32, 64], "depths": [2, 2]}
TRANSFORMERS = {
    "gpt2": (tokens("GPT2Model", "GPT2", **GPT), (16, 16, 128), {}),
    "llama": (
        tokens("LlamaModel", "Llama", **BERT, num_key_value_heads=2), (8, 32, 128), {}
    ),
    "vit": (pixels("ViTModel", "ViT", **VIT), (16, 3, 32, 32), {}),
    "convnext": (pixels("ConvNextModel", "ConvNext", **CONVNEXT), (2, 3, 64, 64), {"redraw": True}),
    "resnet": (
        pixels("ResNetModel", "ResNet", layer_type="basic", **RESNET), (4, 3, 64, 64),
        {"batch_norm": "batch"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["gpt2", *(pytest.param(n, marks=pytest.mark.slow) for n in list(TRANSFORMERS)[1:])]
)
def test_a_transformers_model_gets_c_on_another_sample(name):
    build, shape, options = TRANSFORMERS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
    residual_(model, points(*shape), generator=seeded(), **options)
    options.pop("redraw", None)
    found = sum(measured(model, points(*shape, seed=5), probes=8, **options))
    # 5 % are promised for these families
    assert found == pytest.approx(1.0, rel=0.05)


def test_tied_weights_are_scaled_once():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = shared()
    x = points(64, 8)
    made = plan(model, x, c=0.3, generator=seeded())
    assert list(made.changes) == ["0.body.2.weight"]
    assert len({block.factor for block in made.blocks}) == 1
    assert sum(measured(apply_(model, made), x)) == pytest.approx(0.3, rel=0.03)


def test_parallel_branches_are_scaled_together():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = stack(lambda: Parallel(64), 2)
    made = plan(model, points(16, 64), generator=seeded())
    assert made.blocks[0].tensors == ("0.left.2.weight", "0.right.2.weight")
    assert sum(measured(apply_(model, made), points(16, 64))) == pytest.approx(1.0, rel=0.04)


def test_weight_normalisation_is_scaled_by_its_magnitude():
    norm = nn.utils.parametrizations.weight_norm
    model = stack(lambda: Residual(norm(nn.Linear(64, 64))), 2)
    made = plan(model, points(16, 64), generator=seeded())
    assert made.blocks[1].tensors == ("1.body.parametrizations.weight.original0",)
    assert sum(measured(apply_(model, made), points(16, 64))) == pytest.approx(1.0, rel=0.04)
