"""The package's own exception and warning types: three in all, everything else is built-in."""


class ConvergenceError(RuntimeError):
    """A numerical routine did not reach its accuracy; the message says what to change."""


class AccuracyWarning(UserWarning):
    """A result is less accurate than the documentation promises; the message says by how much."""


class TheoryWarning(UserWarning):
    """A formula is used outside the regime in which it is known to hold."""
