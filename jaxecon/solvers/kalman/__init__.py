"""Linear Gaussian state-space models: filter, smoother, EM, canonical form; batched, no LAPACK."""

from jaxecon.solvers.kalman.canonical import canonical_form, change_coordinates
from jaxecon.solvers.kalman.em import EMSolution, expectation_maximisation
from jaxecon.solvers.kalman.filtering import (
    Filtered,
    Smoothed,
    filter_step,
    kalman_filter,
    kalman_smoother,
    predict_step,
)
from jaxecon.solvers.kalman.model import (
    LinearGaussian,
    check_covariance,
    check_finite,
    check_model,
    check_stable,
    spectral_radius,
    stationary_covariance,
)
from jaxecon.solvers.kalman.moments import Prior, weak_prior
from jaxecon.solvers.kalman.parallel import parallel_filter, parallel_smoother

__all__ = [
    "EMSolution",
    "Filtered",
    "LinearGaussian",
    "Prior",
    "Smoothed",
    "canonical_form",
    "change_coordinates",
    "check_covariance",
    "check_finite",
    "check_model",
    "check_stable",
    "expectation_maximisation",
    "filter_step",
    "kalman_filter",
    "kalman_smoother",
    "parallel_filter",
    "parallel_smoother",
    "predict_step",
    "spectral_radius",
    "stationary_covariance",
    "weak_prior",
]
