import pytest
import torch
from torch import nn
from torch.nn import functional

from cases_lint import decoder, tokens
from isometry.nn.linting.lint import lint
from isometry.nn.roles.follow import evaluating, followed, outermost


def test_nothing_of_the_model_or_the_process_changes():
    model = nn.Sequential(decoder(), nn.Dropout(0.5), nn.BatchNorm1d(12))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    followed(model, tokens())
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_function_is_followed_into_the_modules_it_calls():
    model = decoder()
    found = followed(lambda x: model(x).sum(), tokens())
    assert found.roots == (model,)
    assert "layers.0.up.weight" in found.parameters


def test_several_inputs_and_a_dictionary_are_passed_on():
    model = nn.Bilinear(4, 4, 3)
    pair = torch.ones(2, 4), torch.ones(2, 4)
    for x in (pair, {"input1": pair[0], "input2": pair[1]}):
        nodes = followed(model, x).graph.nodes
        assert [node.op for node in nodes[:2]] == ["input", "input"]
        assert {source for node in nodes for _, source in node.inputs} >= {0, 1}


def test_a_model_on_the_meta_device_shows_its_roles():
    with torch.device("meta"):
        model = decoder.__globals__["Decoder"]()
    found = followed(model, tokens())
    assert len(found.graph.additions) == 12


def test_without_an_input_there_are_names_only():
    found = followed(decoder(), None)
    assert found.graph is None
    assert found.remark == "no input was given"
    with pytest.raises(TypeError, match="or an input to see which modules a function calls"):
        followed(lambda x: x, None)
    with pytest.raises(TypeError, match="expected a module or a function"):
        followed(3, tokens())


def test_gradients_that_do_not_arrive_are_told():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    nn.init.zeros_(model[1].weight)
    found = followed(model, torch.ones(1, 4))
    assert found.without_gradient(["0.weight"]) == {"0.weight"}
    assert found.without_gradient(["1.weight"]) == set()


def test_what_a_gradient_reaches_moves_and_lets_it_through():
    """A zero head is trained first, then the zero map before it; two in one product never are."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    for layer in model[1:]:
        nn.init.zeros_(layer.weight)
    names = ["1.weight", "2.weight"]
    assert followed(model, torch.ones(1, 4)).without_gradient(names) == set()
    nn.init.zeros_(model[1].bias)
    assert followed(model, torch.ones(1, 4)).without_gradient(names) == set(names)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(3):
        optimiser.zero_grad()
        (model(torch.ones(1, 4)) - 1).square().sum().backward()
        optimiser.step()
    assert all(not bool(model[i].weight.any()) for i in (1, 2))


def test_modes_are_put_back_and_inner_modules_left_out():
    model = nn.Sequential(nn.Dropout())
    with evaluating([model]):
        assert not model[0].training
    assert model[0].training
    assert outermost([model[0], model]) == [model]


class EnergyGradient(nn.Module):
    """A field that is the gradient of an energy, as interatomic potentials are."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x):
        with torch.enable_grad():
            z = x if x.requires_grad else x.detach().requires_grad_()
            return torch.autograd.grad(self.energy(z).sum(), z, create_graph=True)[0]


class Plain(EnergyGradient):
    """The same without a care for where gradients are off."""

    def forward(self, x):
        return torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0]


@pytest.mark.parametrize("kind", [EnergyGradient, Plain])
def test_a_model_that_differentiates_inside_its_forward_is_linted_by_what_is_seen(kind):
    model = kind()
    report = lint(model, torch.randn(2, 4))
    assert not report.worst("warning")
    assert not any(p.grad is not None for p in model.parameters())
    called = lint(lambda x: model(x.requires_grad_()), torch.randn(2, 4))
    assert not called.worst("warning")


class Standardised(nn.Conv2d):
    """A convolution that normalises its weight by the function that normalises batches."""

    def forward(self, x):
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = functional.batch_norm(flat, None, None, training=True, momentum=0.0)
        return functional.conv2d(x, weight.reshape_as(self.weight), self.bias, padding="same")


@pytest.mark.parametrize("norm", [nn.Identity(), nn.BatchNorm2d(4, track_running_stats=False)])
def test_a_norm_that_keeps_no_statistics_takes_those_of_its_call(norm):
    torch.manual_seed(0)
    model = nn.Sequential(Standardised(4, 4, 3), norm, nn.ReLU(), Standardised(4, 4, 3))
    found = followed(model, torch.randn(2, 4, 5, 5))
    assert {"0.weight", "3.weight"} <= set(found.maps)
    nn.init.zeros_(model[3].weight)
    assert found.without_gradient(["0.weight"]) == {"0.weight"}
