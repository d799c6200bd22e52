import dataclasses
import math

import numpy as np
import pytest

from isometry.nn.blocks.traces import BlockTraces


def test_the_standard_errors_are_the_jackknifes_of_every_probe_left_out():
    samples = np.random.default_rng(0).normal([[0.2], [0.5], [0.1]], 0.3, (3, 6))
    trace = BlockTraces("block", 0, 10, 1.0, samples)
    for key, found in trace.standard_error.items():
        left = [
            getattr(dataclasses.replace(trace, samples=np.delete(samples, i, axis=1)), key)
            for i in range(6)
        ]
        assert found == pytest.approx(math.sqrt(5 * np.var(left)), rel=1e-9)
