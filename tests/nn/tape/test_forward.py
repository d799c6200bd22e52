import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from cases_models import MODELS, make
from cases_tape import FUNCTIONS, GENERIC, IMAGE, Net
from isometry.nn.tape.forward import adjoint_gap, evaluate, follow, record_tape, settled
from isometry.nn.tape.observer import NotRecordable

PARTLY_GENERIC = {"wide output padding", "grid sample", "glu", "largest", "index add"}
UNTOUCHED = ["buffers", "batch norm of the batch", "instance norm", "encoder layer", "LSTM"]


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def built(name):
    make, shape = FUNCTIONS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        f = make()
    return (f.double() if isinstance(f, nn.Module) else f), normal(*shape)


def reference(f, x, v, u):
    def g(x):
        return f(x.clone())

    with sdpa_kernel(SDPBackend.MATH):
        _, forward = torch.autograd.functional.jvp(g, x, v)
        _, backward = torch.autograd.functional.vjp(g, x, u)
    return forward, backward


@pytest.mark.parametrize("name", FUNCTIONS)
def test_products_agree_with_autograd(name):
    f, x = built(name)
    tape = record_tape(f, x)
    v, u = normal(3, *x.shape, seed=1), normal(3, *tape.target.shape, seed=2)
    # float64 rounding over a few dozen operations; one case passes through single precision
    tolerance = 1e-5 if "single" in name else 1e-11
    jvp, vjp = tape.jvp(v), tape.vjp(u)
    assert jvp.shape == (3, *tape.target.shape)
    assert vjp.shape == (3, *x.shape)
    for i in range(3):
        forward, backward = reference(f, x, v[i], u[i])
        assert torch.allclose(jvp[i], forward, rtol=tolerance, atol=tolerance)
        assert torch.allclose(vjp[i], backward, rtol=tolerance, atol=tolerance)
    assert torch.allclose(tape.jvp(v[:1]), jvp[:1], rtol=tolerance, atol=tolerance)
    assert bool(tape.summary()["generic"]) == (name in GENERIC or name in PARTLY_GENERIC)


@pytest.mark.parametrize("name", ["through views", "encoder layer", "LSTM", "index put"])
def test_products_agree_with_finite_differences(name):
    f, x = built(name)
    v, step = normal(1, *x.shape, seed=1), 1e-6
    with torch.no_grad():
        difference = (f(x + step * v[0]) - f(x - step * v[0])) / (2 * step)
    # central differences: step^2 = 1e-12 and rounding eps/step = 2e-10, with some room
    assert torch.allclose(record_tape(f, x).jvp(v)[0], difference, atol=1e-7)


@pytest.mark.parametrize("name", UNTOUCHED)
def test_model_and_random_state_are_untouched(name):
    f, x = built(name)
    state = {k: v.clone() for k, v in f.state_dict().items()} if isinstance(f, nn.Module) else {}
    before, kept = torch.random.get_rng_state(), x.clone()
    tape = record_tape(f, x)
    tape.vjp(torch.ones(1, *tape.target.shape, dtype=tape.target.dtype))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(x, kept)
    for key, value in state.items():
        assert torch.equal(f.state_dict()[key], value)
    for parameter in f.parameters() if isinstance(f, nn.Module) else ():
        assert parameter.requires_grad
        assert parameter.grad is None


def test_tangents_are_not_written_to():
    for name in ("residual convolutions", "identity", "view", "relu_", "sums", "steps and flips"):
        f, x = built(name)
        tape = record_tape(f, x)
        v = normal(2, *x.shape)
        kept = v.clone()
        tape.jvp(v).add_(1)
        assert torch.equal(v, kept)


def test_layouts_of_the_input_agree():
    net, x = Net(4, 3).double(), normal(*IMAGE)
    v = normal(2, *IMAGE, seed=1)
    tape = record_tape(net, x)
    last = record_tape(net, x.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(tape.jvp(v), last.jvp(v), atol=1e-12)
    assert torch.allclose(tape.vjp(v), last.vjp(v), atol=1e-12)


def test_single_precision_keeps_its_accuracy():
    net, x = Net(4, 6), normal(*IMAGE, dtype=torch.float32)
    v = normal(2, *IMAGE, seed=1, dtype=torch.float32)
    single, double = (
        record_tape(net, x).jvp(v),
        record_tape(net.double(), x.double()).jvp(v.double()),
    )
    # float32 rounding 6e-8 over 6 blocks of 36-term sums
    assert torch.allclose(single.double(), double, atol=2e-5)


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, u):
        return u


class _Honest(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, u):
        return u * ctx.saved_tensors[0].cos()


def test_honest_custom_function_is_recorded():
    x = normal(3, 4)
    assert torch.allclose(record_tape(_Honest.apply, x).jvp(x[None])[0], x * x.cos())


def without_gradient(x):
    with torch.no_grad():
        h = x.sin()
    return x + h


REFUSED = {
    "custom backward": (_Straight.apply, "differs from that of the recorded"),
    "no_grad block": (without_gradient, "no_grad block"),
    "random numbers": (lambda x: x + torch.rand(4), "draws random numbers"),
    "dropout": (nn.Dropout(), "draws random numbers"),
    "complex values": (lambda x: torch.fft.rfft(x).abs(), "complex"),
    "integers": (lambda x: x.argmax(), "not one real tensor"),
    "two outputs": (lambda x: (x, x), "tuple, not one real tensor"),
    "writes to a list": (lambda x: (h := x.sin(), torch._foreach_mul_([h], 2))[0], "not followed"),
    "lost operand": (lambda x: (h := x.sin(), y := h * h, h.add_(1), y)[-1], "autograd cannot"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_exact_route_is_refused(name):
    f, message = REFUSED[name]
    before = torch.random.get_rng_state()
    with pytest.raises(NotRecordable, match=message):
        record_tape(f, normal(3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_refusal_survives_a_model_that_swallows_errors():
    def f(x):
        try:
            return torch.rand(4) + x
        except RuntimeError:
            return x

    with pytest.raises(NotRecordable, match="random"):
        record_tape(f, normal(3, 4))


def test_stale_weights_are_refused():
    net, x = nn.Linear(4, 4).double(), normal(3, 4)
    tape = record_tape(net, x)
    with torch.no_grad():
        net.weight.mul_(2)
    with pytest.raises(RuntimeError, match="written to after"):
        tape.jvp(x[None])


def test_constant_function_has_a_zero_jacobian():
    tape = record_tape(lambda x: torch.ones(2, dtype=x.dtype), normal(3, 4))
    assert torch.equal(tape.jvp(normal(2, 3, 4)), torch.zeros(2, 2, dtype=torch.float64))
    assert torch.equal(tape.vjp(normal(5, 2)), torch.zeros(5, 3, 4, dtype=torch.float64))


def test_checkpointed_modules_are_recorded():
    net, x = nn.Sequential(nn.Linear(4, 4), nn.Tanh()).double(), normal(3, 4)
    tape = record_tape(lambda x: checkpoint(net, x, use_reentrant=False), x)
    assert torch.allclose(tape.jvp(x[None]), record_tape(net, x).jvp(x[None]))


def test_memory_is_one_derivative_per_activation():
    summary = record_tape(Net(4, 3), normal(*IMAGE, dtype=torch.float32)).summary()
    kernels = 3 * 4 * 4 * 9
    assert summary["bytes"] == 4 * (3 * 2 * 4 * 4 * 4 + kernels)
    assert summary["ops"] == 12


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_whole_models_are_replayed_without_autograd(name):
    pytest.importorskip("transformers")
    case = MODELS[name]
    f, x = make(case.build, case.shape)
    f, x = f.double(), x.double()
    tape = record_tape(f, x)
    v, u = normal(*x.shape, seed=1), normal(*tape.target.shape, seed=2)
    forward, backward = reference(f, x, v, u)
    tolerance = 1e-5  # some models normalise in single precision whatever their own
    assert torch.allclose(tape.jvp(v[None])[0], forward, rtol=tolerance, atol=tolerance)
    assert torch.allclose(tape.vjp(u[None])[0], backward, rtol=tolerance, atol=tolerance)
    assert tape.summary()["generic"] == {}


def test_a_followed_pass_knows_whether_a_path_leads_to_the_output():
    assert follow(lambda x: x.sin(), torch.ones(3)).connected is True
    assert (
        follow(lambda x: x.detach() + torch.ones(3, requires_grad=True), torch.ones(3)).connected
        is False
    )
    assert evaluate(lambda x: x.sin(), torch.ones(3)).connected is None


def test_a_wrong_transpose_meets_j_v_with_all_its_size():
    # with random pairs alone a J v of the right size in another direction differs by 1 / sqrt(N)
    x = torch.linspace(-1.0, 1.0, 4000, dtype=torch.float64)
    v, y = torch.randn(2, 1, 4000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turned = y * v.norm() / y.norm()
    u = torch.randn(1, 4000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert adjoint_gap(v, turned, u, u) < 0.1  # J is the identity, and J v is not
    assert adjoint_gap(v, turned, turned, turned) > 0.9
    recorded = settled(follow(lambda x: x * 1.0, x))
    assert recorded.gap < 1e-14
