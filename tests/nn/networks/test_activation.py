import numpy as np
import pytest
import torch

from cases_activations import table
from isometry.nn.networks.activation import WRITTEN_OUT, Activation, torch_phi
from isometry.theory.activations.catalogue import NAMED, Definition
from isometry.theory.activations.lookup import activation
from isometry.theory.working_point import working_point


def test_an_activation_at_its_point_is_the_point():
    point = working_point("tanh", like="relu")
    u = torch.linspace(-3, 3, 50, dtype=torch.float64)
    np.testing.assert_allclose(Activation(point)(u).numpy(), point(u.numpy()), atol=1e-14)
    np.testing.assert_allclose(torch_phi(point.psi())(u).numpy(), point(u.numpy()), atol=1e-14)


def test_it_has_no_mean_at_unit_input_and_an_exchanged_point_has():
    point = working_point("tanh", like="relu")
    u = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    act = Activation(point)
    # five standard errors of 200,000 samples
    assert abs(float(act(u).mean())) < 5 * point.energy**0.5 / 200_000**0.5
    act.scale, act.shift = -act.shift, -act.scale
    assert abs(float(act(u).mean())) > 0.05


def test_a_torch_callable_is_taken_and_a_numpy_one_refused():
    point = working_point(torch.nn.functional.silu, like="relu")
    assert "silu" in repr(Activation(point))
    with pytest.raises(NotImplementedError, match="torch cannot differentiate"):
        Activation(working_point(lambda h: h / (1 + np.exp(-h)), shares=(0.8, 0.17)))


def test_what_is_no_point_is_refused():
    with pytest.raises(TypeError, match="working_point"):
        Activation("relu")  # pyright: ignore[reportArgumentType]


def test_a_parameter_of_the_name_travels():
    x = torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(
        torch_phi(activation("leaky_relu(0.3)"))(x), torch.tensor([-0.3, 1.0])
    )


@pytest.mark.filterwarnings("ignore::isometry.errors.TheoryWarning")  # of jumps
@pytest.mark.parametrize("text", table())
def test_the_theory_and_torch_compute_the_same_function(text):
    act, h = activation(text), np.linspace(-7.013, 7.021, 401)
    found = torch_phi(act)(torch.tensor(h)).numpy()
    np.testing.assert_allclose(found, act(h), rtol=1e-12, atol=1e-14)


def test_a_parameter_of_what_torch_has_not_travels_too(monkeypatch):
    monkeypatch.setitem(
        NAMED, "bent", lambda slope=0.5: Definition(lambda h: slope * h, np.ones_like)
    )
    monkeypatch.setitem(WRITTEN_OUT, "bent", lambda h, slope: slope * h)
    assert torch_phi(activation("bent(3)"))(torch.ones(1)) == 3.0
    assert torch_phi(activation("bent"))(torch.ones(1)) == 0.5
