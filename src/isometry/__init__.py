"""How a residual network's input-output Jacobian stretches signals: theory, without torch."""
