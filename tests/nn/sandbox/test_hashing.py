import torch

from isometry.nn.sandbox.hashing import mixed, signed


# The sequence of SplittableRandom seeded with 1234567 is the finaliser of multiples of its gamma.
def test_the_hash_is_splitmix64():
    gamma = 0x9E3779B97F4A7C15
    states = [(1234567 + n * gamma) % 2**64 for n in (1, 2, 3)]
    found = [int(z) % 2**64 for z in mixed(torch.tensor([signed(s) for s in states]))]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_an_integer_keeps_its_bits():
    assert [signed(n) for n in (5, 2**63 - 1, 2**63, 2**64 - 1)] == [5, 2**63 - 1, -(2**63), -1]
