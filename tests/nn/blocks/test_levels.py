from isometry.nn.blocks.levels import FAR, NEAR, heavy_blocks


def test_near_is_nearer_than_far():
    assert 0 < NEAR < FAR


def test_a_block_that_carries_more_than_its_part_is_named():
    shares = {f"b{i}": 0.05 for i in range(10)} | {"odd": 0.5}
    (said,) = heavy_blocks(shares)
    assert "`odd` alone carries 50% of c" in said
    assert heavy_blocks({f"b{i}": 0.1 for i in range(10)}) == []
