"""Every closed list of words that a parameter takes; each word has one meaning everywhere.

``method`` is how a number is found, ``route`` how a Jacobian is multiplied, ``scheme`` how weights
are drawn. The command line offers the same lists.
"""

from typing import Literal, TypeAlias

Evaluation: TypeAlias = Literal["formula", "quadrature"]
"""How a law computes a number: by its own formula, or by integration of its density."""

Auto: TypeAlias = Literal["auto"]
"""A count that follows the size of what is measured."""

SpectrumMethod: TypeAlias = Literal["dense", "lanczos"]
"""How a spectrum is found: all singular values, or a quadrature from products."""

PlanMethod: TypeAlias = Literal["theory", "data"]
"""How a plan's numbers are found: from the activation, or from the measured traces."""

RouteName: TypeAlias = Literal["tape", "autograd"]
"""How products with a Jacobian are made."""

BatchNorm: TypeAlias = Literal["eval", "batch"]
"""Whose statistics batch normalisation uses: the running ones, or those of the input."""

Rotated: TypeAlias = Literal["channels", "all"]
"""What a rotated twin rotates between blocks: the channels alone, or the whole space."""

Scheme: TypeAlias = Literal["normal", "orthogonal", "delta_orthogonal"]
"""How weights are drawn."""

Entries: TypeAlias = Literal["gaussian", "rademacher", "uniform", "student", "orthogonal"]
"""How the entries of a random matrix are drawn."""

Optimiser: TypeAlias = Literal["sgd", "adam"]
"""How steps depend on gradients: in proportion, or divided by their size."""

Padding: TypeAlias = Literal["circular", "zeros"]
"""What a convolution sees beyond the border."""

Profile: TypeAlias = Literal["smoke", "quick", "full"]
"""How large a study is: a minute, a quarter of an hour, and the one that the claims are made of."""

ExecutorName: TypeAlias = Literal["serial", "process", "dask", "ray", "submitit"]
"""Where runs are done."""

Monitored: TypeAlias = Literal["model", "blocks"]
"""What a monitor measures: the whole model's spectrum, or every block by itself."""
