import subprocess
import sys

import scipy.special

from isometry.theory.special import special


def loaded(code):
    """Whether a fresh process has loaded scipy.special after the code."""
    end = "\nimport sys; print('scipy.special' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code + end], capture_output=True, text=True, check=True
    )
    return done.stdout.split()[-1] == "True"


def test_special_functions_are_those_of_scipy():
    assert special() is scipy.special


def test_laws_and_closed_forms_without_them_load_no_special_functions():
    assert not loaded(
        "import isometry; law = isometry.UniversalLaw(2.0); law.icdf(0.3); law.mean()"
    )
    assert not loaded("import isometry; isometry.gaussian_moments('relu', 1.0)")
    assert loaded("import isometry; isometry.gaussian_moments('elu', 1.0)")
