"""Tables of laws: every row goes through the conformance suite."""

import numpy as np

from isometry.theory.laws import FiniteDepthLaw, ProductLaw, SingularValueLaw, UniversalLaw

RELU_3 = FiniteDepthLaw(d=np.full((3, 2), [0.0, 1 / 3]), weights=np.array([0.5, 0.5]))
GINIBRE_5 = FiniteDepthLaw.ginibre(np.full(5, 0.2))
MARCHENKO_PASTUR = FiniteDepthLaw.ginibre(np.ones(1), skip=0.0)
HALF_DEAD = FiniteDepthLaw(d=np.array([[0.0, 1.0]]), weights=np.array([0.5, 0.5]), skip=0.0)
CRITICAL = FiniteDepthLaw.ginibre(np.ones(1))
SHRUNK = FiniteDepthLaw.ginibre(np.full(20, 0.02), skip=0.9)
PRODUCT = ProductLaw([(([0.6, 1.0, 1.6], [0.3, 0.4, 0.3]), 6)])

LAWS = {
    "c=1e-8": UniversalLaw(1e-8),
    "c=0.25": UniversalLaw(0.25),
    "c=1, scaled": UniversalLaw(1.0, 3.7),
    "c=12": UniversalLaw(12.0),
    "c=50": UniversalLaw(50.0),
    "s at c=1": UniversalLaw(1.0).singular_values(),
    "five Ginibre layers": GINIBRE_5,
    "three ReLU layers": RELU_3,
    "a skip of 0.9": SHRUNK,
    "Marchenko-Pastur": MARCHENKO_PASTUR,
    "Marchenko-Pastur with an atom": HALF_DEAD,
    "critical at lam = 0": CRITICAL,
    "product of six factors": PRODUCT,
}

POINTS = {
    "universal": UniversalLaw(0.0, 2.0),
    "finite": FiniteDepthLaw(d=np.zeros((3, 1)), weights=np.ones(1), skip=0.5),
    "s": SingularValueLaw(UniversalLaw(0, 4)),
}

EDGES = {
    0.001: (0.914433828305, 1.093572841518),
    0.25: (0.236183276371, 4.234000033225),
    1: (0.047405894357, 21.094423247747),
    4: (7.53025734242e-4, 1327.97586394),
    12: (9.04837688892e-8, 11051705.8725),
}
