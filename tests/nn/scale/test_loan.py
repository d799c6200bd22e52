import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from isometry.nn.scale.loan import gathered, lent
from isometry.nn.scale.scale import measure_scale


class Counting(nn.Linear):
    def __init__(self):
        super().__init__(3, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.last = torch.rand(3)
        return super().forward(x)


def test_the_model_and_the_generators_are_put_back():
    model = Counting()
    gradient = torch.ones_like(model.weight)
    model.weight.grad = gradient
    before = torch.get_rng_state()
    with lent([model]):
        assert not model.weight.requires_grad
        model(torch.ones(1, 3))
        model.weight.grad = None
    assert model.calls == 0
    assert model.weight.requires_grad
    assert model.weight.grad is gradient
    assert not hasattr(model, "last")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Dropout(0.1), r"dropout in train mode in layer '1'.*model.eval"),
        (nn.BatchNorm1d(3), r"statistics of the batch in layer '1'.*model.eval"),
    ],
)
def test_layers_in_train_mode_are_refused(layer, message):
    model = nn.Sequential(nn.Linear(3, 3), layer)
    with pytest.raises(ValueError, match=message), lent([model]):
        pass
    with lent([model.eval()]):
        pass


def test_an_ordinary_layer_has_nothing_to_gather():
    layer = nn.Linear(3, 3)
    with gathered(layer, [layer]):
        assert layer.weight.requires_grad


@pytest.mark.parametrize("units", [["0", "1", ""], ["0.1", "0", "1", ""], [""], ["0.1", ""]])
def test_a_layer_inside_a_unit_has_the_numbers_of_the_whole_model(tmp_path, units):
    class Added(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Sequential(nn.LayerNorm(6), Added(nn.Linear(6, 6))) for _ in "ab"))
    x, options = torch.randn(3, 6), {"blocks": ["0.1", "1.1"]}
    expected = measure_scale(model, x, **options).to_dict()
    distributed.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,), mesh_dim_names=("dp",))
        for name in units:
            fully_shard(model.get_submodule(name), mesh=mesh)
        assert measure_scale(model, x, mesh=mesh, **options).to_dict() == expected
        assert all(type(p).__name__ == "DTensor" for p in model.parameters())
    finally:
        distributed.destroy_process_group()
