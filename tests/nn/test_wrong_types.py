"""Wrong arguments end in one sentence that names the argument, wherever they are given."""

import numpy as np
import pytest
import torch

from isometry import nn as inn
from isometry.theory.propagation import ResNetSpec

NET, X = torch.nn.Linear(3, 3), torch.zeros(1, 3)
J = inn.JacobianOperator(NET, X)
RNG = np.random.default_rng(0)
WRONG = {
    "matrix, nothing": (lambda: inn.matrix_spectrum(None), "`J` is a NoneType"),
    "matrix, an array": (lambda: inn.matrix_spectrum(np.eye(3)), "`J` is a ndarray"),
    "matrix, one axis": (lambda: inn.matrix_spectrum(torch.ones(3)), "`J` has shape (3,)"),
    "matrix, three": (lambda: inn.matrix_spectrum(torch.ones(2, 2, 2)), "`J` has shape (2, 2, 2)"),
    "matrix, empty": (lambda: inn.matrix_spectrum(torch.ones(0, 3)), "`J` has shape (0, 3)"),
    "matrix, integers": (lambda: inn.matrix_spectrum(torch.eye(2).long()), "`J` has dtype"),
    "matrix, complex": (lambda: inn.matrix_spectrum(torch.eye(2) + 0j), "`J` has dtype"),
    "matrix, too large": (
        lambda: inn.matrix_spectrum(torch.full((2, 2), 1e300, dtype=torch.double)),
        "`J` has an entry of size 1e+300",
    ),
    "spectrum, nothing": (lambda: inn.singular_spectrum(None), "`J` is a NoneType"),
    "spectrum, a module": (lambda: inn.singular_spectrum(NET), "`JacobianOperator(model, x)`"),
    "spectrum, a list": (lambda: inn.singular_spectrum(J, method=[]), "`method` is []"),
    "spectrum, numpy": (
        lambda: inn.singular_spectrum(J, method="lanczos", generator=RNG),
        "`generator` is a Generator",
    ),
    "largest, numpy": (
        lambda: inn.largest_singular_values(J, generator=RNG),
        "expected a torch.Generator",
    ),
    "smallest, a module": (lambda: inn.smallest_singular_values(NET), "`J` is a Linear"),
    "seconds, nothing": (lambda: inn.estimate_seconds(None), "`J` is a NoneType"),
    "blocks, nothing": (lambda: inn.residual_blocks(None, X), "`model` is a NoneType"),
    "blocks, a number": (lambda: inn.residual_blocks(NET, X, blocks=3), "`blocks` is a int"),
    "blocks, one name": (lambda: inn.residual_blocks(NET, X, blocks="0"), "`blocks` is a str"),
    "blocks, one module": (lambda: inn.diagnose(NET, X, blocks=NET), "`blocks` is a Linear"),
    "traces, a number": (lambda: inn.block_traces(3), "`blocks` is 'int'"),
    "traces, of numbers": (lambda: inn.block_traces([3]), "`blocks` is 'list'"),
    "law, of numbers": (lambda: inn.measured_law([3]), "`traces` is 'list'"),
    "diagnose, no count": (lambda: inn.diagnose(NET, X, num_probes="8"), "`num_probes` is '8'"),
    "diagnose, None": (lambda: inn.diagnose(NET, X, num_probes=None), "`num_probes` is None"),
    "diagnose, no products": (lambda: inn.diagnose(NET, X, num_matvecs=[]), "`num_matvecs` is "),
    "block_spectra, None": (
        lambda: inn.block_spectra(inn.residual_blocks(lambda x: x + x.tanh(), X), num_probes=None),
        "`num_probes` is None",
    ),
    "plan, numpy": (lambda: inn.plan(NET, X, generator=RNG), "`generator` is a Generator"),
    "apply, nothing": (lambda: inn.apply_(NET, None), "`plan` is a NoneType"),
    "network, a name": (lambda: inn.ResNet("relu", width=4), "`spec` is a str"),
    "network, half a unit": (lambda: inn.ResNet(ResNetSpec(), width=1.5), "`width` is 1.5"),
    "convolutions, a name": (lambda: inn.ConvResNet("relu", 4), "`spec` is a str"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_one_sentence_with_its_name(case):
    call, message = WRONG[case]
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_largest_numbers_that_have_squares_are_measured():
    values = inn.matrix_spectrum(torch.eye(2, dtype=torch.double) * 1e150).values
    np.testing.assert_allclose(values, 1e300)
