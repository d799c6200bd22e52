"""The mathematics: activation -> Gaussian moments -> signal propagation -> c -> spectral law."""
