"""How a residual network's input-output Jacobian stretches signals: theory, without torch.

From an activation to the spectrum: ``activation -> Gaussian moments -> signal propagation -> c ->
spectral law``.  Models, measurements and initialisation live in ``isometry.nn``, which needs torch.
"""

# Activations and their Gaussian moments
from isometry.errors import AccuracyWarning, ConvergenceError, TheoryWarning
from isometry.theory.activations.lookup import Activation, activation, activation_names

# Distances between a measured spectrum and a law
from isometry.theory.comparison import Comparison, compare

# From a network to its law, and back from a wish to sigma_w
from isometry.theory.design import cumulant_from_condition_number, gain, solve_sigma_w

# What an activation does to correlations, and where it does what another one does
from isometry.theory.dual import DualActivation, dual_activation

# What chance does at finite width
from isometry.theory.finite_width import WidthBands, width_bands
from isometry.theory.gaussian import GaussianMoments, gaussian_mean, gaussian_moments

# How alike outputs are, and how one step on one input moves another's
from isometry.theory.kernels import NetworkKernels, network_kernels

# Laws of lam = s^2
from isometry.theory.laws import FiniteDepthLaw, ProductLaw, UniversalLaw

# What the spectrum will be, and which singular values leave the bulk
from isometry.theory.prediction import finite_depth_law, jacobian_law, predict_outliers

# Signal propagation
from isometry.theory.propagation import ResNetSpec, Signal, effective_cumulant, propagate

# Measured spectra
from isometry.theory.spectra_comparison import SpectraComparison, compare_spectra
from isometry.theory.spectrum import Spectrum
from isometry.theory.working_point import WorkingPoint, working_point
from isometry_command import __version__

__all__ = [
    "AccuracyWarning",
    "Activation",
    "Comparison",
    "ConvergenceError",
    "DualActivation",
    "FiniteDepthLaw",
    "GaussianMoments",
    "NetworkKernels",
    "ProductLaw",
    "ResNetSpec",
    "Signal",
    "SpectraComparison",
    "Spectrum",
    "TheoryWarning",
    "UniversalLaw",
    "WidthBands",
    "WorkingPoint",
    "__version__",
    "activation",
    "activation_names",
    "compare",
    "compare_spectra",
    "cumulant_from_condition_number",
    "dual_activation",
    "effective_cumulant",
    "finite_depth_law",
    "gain",
    "gaussian_mean",
    "gaussian_moments",
    "jacobian_law",
    "network_kernels",
    "predict_outliers",
    "propagate",
    "solve_sigma_w",
    "width_bands",
    "working_point",
]
