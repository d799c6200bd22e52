"""Everything about torch.nn models: Jacobian products, spectra, residual blocks, initialisation."""
