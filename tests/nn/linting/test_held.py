import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from cases_ranks import together
from cases_shards import pretending
from isometry.nn.linting.held import Held, held, held_of
from isometry.nn.roles.parts import Part
from isometry.nn.roles.uses import WeightMap

UNSEEN = ("growth", "bias-size")
"""Rules that need the sizes of what flows, which a pass over whole shapes does not show."""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    if not torch.distributed.is_available():
        pytest.skip("torch without distributed")
    return together("lint_numbers_worker.py", 4, tmp_path_factory.mktemp("ranks"))


def said(found):
    return sorted(
        [f for f in found["findings"] if f[1] not in UNSEEN], key=lambda f: (f[0] or "", *f[1:])
    )


def compare(found, whole):
    assert found["numbers"].keys() == whole["numbers"].keys()
    for name, numbers in found["numbers"].items():
        # Norms are float32 sums of up to 12,288 squares: 1.2e-6 was seen.
        assert numbers == pytest.approx(whole["numbers"][name], rel=1e-5, abs=1e-8, nan_ok=True)
    assert said(found) == said(whole)


@pytest.mark.parametrize("mesh", ["fsdp", "tp", "fsdp over tp"])
def test_a_model_full_of_faults_has_its_numbers_and_findings_on_every_mesh(ranks, mesh):
    whole = ranks[0]["faulty, whole"]
    rules = {f[1] for f in whole["findings"]}
    assert rules >= {
        "value", "symmetry", "zero", "duplicate-rows", "duplicate-columns", "copies", "dtype",
        "norm-gain", "buffer", "role-scale",
    }  # fmt: skip
    for rank in ranks:
        compare(rank[f"faulty, {mesh}"], whole)


def test_a_fresh_draw_is_one_on_shards_too(ranks):
    whole = ranks[0]["fresh, whole"]
    assert sum(f[1] == "fresh" for f in whole["findings"]) >= 36
    for rank in ranks:
        compare(rank["fresh, fsdp over tp"], whole)


def test_sixteen_bits_are_looked_at_as_well(ranks):
    whole = ranks[0]["bfloat16, whole"]
    assert len(whole["numbers"]) > 40
    for rank in ranks:
        compare(rank["bfloat16, fsdp"], whole)


def test_experts_that_lie_on_several_ranks_are_held_to_one_another(ranks):
    whole = ranks[0]["banks, whole"]
    assert {("1.up[2]", "experts"), ("0.up", "duplicate-rows")} <= {
        (f[0], f[1]) for f in whole["findings"]
    }
    for rank in ranks:
        compare(rank["banks, copies of shards"], whole)


def test_no_process_ever_holds_a_tensor_that_is_sharded(ranks):
    for rank in ranks:
        seen = rank["seen"]
        assert 0 < seen["largest"] <= seen["own"] < 600 * 600 / 3
        assert set(seen["on shards"]) <= {"aten.detach.default", "aten.alias.default"}
        assert rank["gathered"]["largest"] >= 600 * 600


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_a_map_is_a_matrix_however_it_is_stored():
    weight = drawn(4, 3, 5)
    own = held(weight, WeightMap(3, 5, (0, 2, 1), 1))
    assert own.shape == (20, 3)
    assert torch.equal(own.local, weight.transpose(1, 2).reshape(20, 3))
    assert own.groups == ()
    assert held(drawn(7)).shape == (1, 7)
    assert held(torch.tensor(2.0)).shape == (1, 1)


def test_a_part_of_a_map_stored_either_way_is_its_rows():
    weight = torch.arange(12.0).reshape(4, 3)
    part = Part("w", "reader", (2, 3), "w", (2, 4), map=WeightMap(3, 4, (0, 1)))
    assert torch.equal(held_of(part, weight).local, weight[2:])
    swapped = Part("w", "reader", (2, 3), "w", (2, 4), map=WeightMap(3, 4, (1, 0)))
    assert torch.equal(held_of(swapped, weight.T.contiguous()).local, weight[2:])


def test_a_part_of_a_bank_is_taken_from_every_expert():
    bank = torch.arange(24.0).reshape(2, 4, 3)
    part = Part("w", "gate", (2, 3), "w", (0, 2), map=WeightMap(3, 4, (0, 1, 2), 1))
    assert torch.equal(held_of(part, bank).local, bank[:, :2].reshape(4, 3))


def test_an_axis_that_several_maps_share_is_gathered_where_it_is_cut_and_only_there():
    with pretending(1, 2):
        mesh = init_device_mesh("cpu", (2,))
        for axis, kept in ((0, 1), (1, 0)):
            cut = DTensor.from_local(torch.ones(2 + 2 * axis, 4 - 2 * axis), mesh, [Shard(axis)])
            own = held(cut, WeightMap(2, 4, (0, 1)))
            assert own.shape == (8, 2)
            assert len(own.groups) == kept


def test_entries_and_rows_are_found_by_their_number():
    matrix = drawn(6, 4)
    own = held(matrix)
    assert torch.equal(own.take(torch.tensor([0, 5, 23])), matrix.flatten()[[0, 5, 23]])
    assert torch.equal(own.transposed.take_rows([1, 3]), matrix.T[[1, 3]])
    assert torch.equal(own.part(1, 3, 3).local, matrix[[1, 2, 4, 5]])


def test_digests_tell_rows_apart_by_value_and_place_and_take_both_zeros_for_one():
    matrix = drawn(4, 9)
    matrix[1] = matrix[0]
    matrix[2] = matrix[0].flip(0)
    matrix[3] = matrix[0]
    matrix[3, 4] = torch.nextafter(matrix[3, 4], torch.tensor(9.0))
    digests = held(matrix).digests(torch.arange(4))
    assert digests[0] == digests[1]
    assert len(set(digests.tolist())) == 3
    zeros = torch.tensor([[0.0, 1.0], [-0.0, 1.0]])
    assert len(set(held(zeros).digests(torch.arange(2)).tolist())) == 1


def test_a_digest_is_the_sum_over_the_parts_of_the_columns():
    matrix = drawn(5, 8)
    rows = torch.arange(5)
    parts = [
        Held(matrix[:, part], (5, 8), None, torch.arange(8)[part]).digests(rows)
        for part in (slice(0, 3), slice(3, 8))
    ]
    assert torch.equal(parts[0] + parts[1], held(matrix).digests(rows))
