"""Any call of a public name of the theory ends in finite numbers or in one sentence.

Arguments are drawn from all of float64's range, from what is no number, and from wrong types. What
may be infinite is listed; a warning of NumPy's that leaves the package is a failure. The calls are
made in a process of their own (``python cases_calls.py any 0 1000``), as a user's are: the test
run's type checks would answer the wrong ones first.
"""

import decimal
import fractions
import math
import sys
import warnings

import numpy as np

import isometry as iso
from isometry.errors import AccuracyWarning, TheoryWarning
from isometry.theory.ensembles import residual_product, squared_singular_values

ODD = [
    *(None, "1", "relu", b"1", True, 1j, math.nan, math.inf, -math.inf, 10**400, -(10**400)),
    *([], [1.0, 2.0], [[1, 2], [3]], {}, {"a": 1}, {1.0}, object(), np.ones(2), np.ones((2, 2))),
    *(np.float32(0.5), np.float16(6e4), np.int8(3), np.longdouble("1e4000"), np.bool_(True)),
    *(fractions.Fraction(1, 3), decimal.Decimal("1e400"), np.array(["a"]), np.array([None])),
    *(np.datetime64("2020-01-01"), np.ma.masked, np.ones(2) * 1j, lambda: 1, type, "x" * 5000),
]
EDGES = [
    *(0.0, -0.0, 1.0, 0.5, 1e-16, 1 - 1e-16, 1 + 2.3e-16, 5e-324, 1e-320, 2.3e-308, 1e-300),
    *(1e-163, 1e-162, 1e-154, 1e-40, 1e-8, 350.0, 351.0, 709.0, 710.0, 1e5, 1e16, 1e154, 1e155),
    *(1e200, 1e300, 1.7e308),
]
NAMES = list(iso.activation_names())
INFINITE = {"logpdf", "log_support", "log_icdf", "log_mean", "log_variance", "support"}
INFINITE |= {"condition_number", "compare", "spectrum"}
REFUSALS = (TypeError, ValueError, NotImplementedError, OverflowError, iso.ConvergenceError)


class Draw:
    """Arguments: mostly numbers of all sizes, sometimes what no caller should pass."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def one_of(self, items):
        return items[int(self.rng.integers(len(items)))]

    def chance(self, p):
        return self.rng.random() < p

    def number(self, odd=0.03):
        if self.chance(odd):
            return self.one_of(ODD)
        if self.chance(0.3):
            return self.one_of(EDGES) * self.one_of([1.0, 1.0, 1.0, -1.0])
        span = self.one_of([1.0, 3.0, 20.0, 300.0])
        return float(10 ** self.rng.uniform(-span, min(span, 5.0 if span < 300 else 300.0)))

    def ordinary(self):
        return float(self.rng.uniform(0.05, 3.0)) if self.chance(0.8) else self.number()

    def numbers(self, odd=0.05):
        if self.chance(odd):
            return self.one_of(ODD)
        count = int(self.rng.integers(1, 5))
        return [self.number(0.002) for _ in range(count)] if self.chance(0.5) else self.number(odd)

    def points(self, law):
        """Places where a law is worth asking: at its edges, its quantiles, anywhere."""
        if self.chance(0.5):
            return self.numbers()
        log = float(law.log_icdf(self.one_of([0.0, 1e-12, 0.2, 0.5, 0.9, 1.0])))
        return math.exp(log) * self.one_of([1.0, 1 + 1e-15, 1 - 1e-9]) if log < 709 else 1e308

    def activation(self):
        name = self.one_of(NAMES)
        if self.chance(0.75):
            return name
        if self.chance(0.2):
            return self.one_of(ODD)
        return f"{name}({', '.join(str(self.number(0)) for _ in range(self.rng.integers(1, 3)))})"

    def spec(self):
        return iso.ResNetSpec(
            self.activation(),
            self.one_of([1, 2, 3, 7, 20]) if self.chance(0.95) else self.one_of(ODD),
            sigma_w=self.ordinary(),
            sigma_b=self.ordinary() if self.chance(0.5) else 0.0,
            skip=self.one_of([1.0, 0.9, -1.0, 0.0]) if self.chance(0.7) else self.number(),
        )

    def spectrum(self):
        values = np.abs(self.rng.lognormal(0, self.one_of([0.01, 1.0, 100.0]), 6))
        values[self.rng.random(6) < 0.2] = self.one_of([0.0, 1e-300, 5e-324, 1e300])
        weights = self.rng.dirichlet(np.ones(6)) if self.chance(0.3) else None
        return iso.Spectrum(values, weights, dimension=int(self.rng.integers(0, 50)))


# What is slow to make is made once for all calls.
FINITE = [
    iso.FiniteDepthLaw.ginibre([1.0] * 3, skip=0),
    iso.FiniteDepthLaw.ginibre([0.2] * 5),
    iso.FiniteDepthLaw.ginibre([1e-4] * 20, skip=0.01),
    iso.FiniteDepthLaw.ginibre([30.0] * 60, skip=3.0),
    iso.FiniteDepthLaw([[0.0, 2.0]] * 2, [0.5, 0.5], 0),
    iso.FiniteDepthLaw([[0.0]], [1.0], 0.5),
    iso.FiniteDepthLaw(np.zeros((400, 1)), [1.0], 1e-3),
]


def law(draw):
    if draw.chance(0.35):
        made = draw.one_of(FINITE)
    else:
        made = iso.UniversalLaw(draw.ordinary(), draw.number(0.01) if draw.chance(0.4) else 1.0)
    return made.singular_values() if draw.chance(0.25) else made


def ask_law(draw):
    asked = law(draw)
    method = draw.one_of(["pdf", "logpdf", "cdf", "ccdf", "icdf", "log_icdf", "sample", "interval"])
    if method == "sample":
        shape = draw.one_of([(), 3, (2, 2), 0, -1, 1.5, "a", (2, None), [2], np.int64(2), None])
        return method, asked.sample(shape, rng=draw.one_of([None, draw.rng, 3, np.random]))
    if method in ("icdf", "log_icdf", "interval"):
        p = draw.rng.random() if draw.chance(0.6) else draw.numbers()
        p = p if draw.chance(0.8) or method == "interval" else [0.0, 1e-300, 0.5, 1 - 1e-16, 1.0]
        return method, getattr(asked, method)(p)
    return method, getattr(asked, method)(draw.points(asked))


def sum_up_law(draw):
    asked = law(draw)
    name = draw.one_of(
        [
            "support",
            "log_support",
            "atoms",
            "mean",
            "variance",
            "std",
            "median",
            "log_mean",
            "log_variance",
            "condition_number",
        ]
    )
    return name, getattr(asked, name)()


def moment(draw):
    order = draw.number() if draw.chance(0.7) else int(draw.rng.integers(-6, 7))
    method = draw.one_of(["formula", "quadrature"]) if draw.chance(0.95) else draw.one_of(ODD)
    return "moment", law(draw).moment(order, method=method)


def transform(draw):
    asked, method = law(draw), draw.one_of(["quadrature", "formula"])
    if draw.chance(0.5):
        w = -draw.rng.random() if draw.chance(0.7) else draw.number()
        return "s_transform", asked.s_transform(w, method=method)
    z = draw.number()
    if isinstance(z, float) and draw.chance(0.7):
        z = complex(z, float(draw.rng.uniform(0.05, 3.0)) if draw.chance(0.5) else 1e-3 * z)
    return "cauchy", asked.cauchy_transform(z, method=method)


def gaussian(draw):
    if draw.chance(0.9):
        found = iso.gaussian_moments(draw.activation(), draw.number())
        return "moments", [found.mean, found.square, found.slope, found.slope_square]
    f = draw.one_of([np.square, np.tanh, np.exp, "relu", None, lambda h: "a", lambda h: h * 1j])
    points = draw.one_of([(), (0.0,), None, 3.0, "ab", [math.nan], [math.inf], [[1.0]]])
    return "mean", iso.gaussian_mean(f, draw.number(), breakpoints=points)


def value(draw):
    return "phi", iso.activation(draw.activation())(draw.numbers())


def network(draw):
    spec = draw.spec() if draw.chance(0.9) else draw.one_of(ODD)
    moments = {"m1": draw.one_of([0.0, 0.5, draw.number()]), "m2": draw.ordinary()}
    found = draw.one_of([iso.propagate, iso.effective_cumulant, iso.jacobian_law])(spec, **moments)
    if isinstance(found, iso.Signal):
        return "signal", [found.q, found.m1, found.m2, found.chi, found.c]
    return "c", [found.c, found.scale] if isinstance(found, iso.UniversalLaw) else found


def outliers(draw):
    return "outliers", iso.predict_outliers(draw.spec(), m2=draw.ordinary())


def design(draw):
    kind = draw.one_of(["sigma_w", "gain", "c"])
    if kind == "c":
        return kind, iso.cumulant_from_condition_number(draw.number())
    if kind == "gain":
        return kind, iso.gain(draw.activation(), q=draw.number())
    c = draw.ordinary()
    return kind, iso.solve_sigma_w(draw.activation(), depth=draw.one_of([1, 3]), c=c)


def comparison(draw):
    found = iso.compare(draw.spectrum(), law(draw) if draw.chance(0.97) else draw.one_of(ODD))
    finite = [found.ks, found.ks_all, found.vanishing, found.resolution, *found.measured_edges]
    return "distances", [*finite, found.outlier_lam]


def spectrum(draw):
    if draw.chance(0.3):
        return "from_matrix", iso.Spectrum.from_matrix(draw.numbers()).values
    one = draw.spectrum()
    name = draw.one_of(["cdf", "icdf", "condition_number", "singular_values"])
    if name in ("cdf", "icdf"):
        return name, getattr(one, name)(draw.numbers())
    return "condition_number", getattr(one, name)()


def matrix(draw):
    if draw.chance(0.5):
        return "squares", squared_singular_values(draw.numbers())
    entries = draw.one_of(["gaussian", "orthogonal", "student", "x", None, []])
    sizes = draw.one_of([1, 3, 5, 0, 2.5, None]), draw.one_of([1, 4, -1, "a"])
    c, rng = draw.ordinary(), draw.one_of([draw.rng, draw.rng, 3])
    return "matrix", residual_product(*sizes, c=c, skip=draw.ordinary(), entries=entries, rng=rng)


def finite_law(draw):
    shape = (int(draw.rng.integers(1, 4)), int(draw.rng.integers(1, 3)))
    d = draw.rng.uniform(0, 1, shape) * draw.one_of([1.0, draw.number(0)])
    weights = np.full(shape[1], 1 / shape[1])
    made = iso.FiniteDepthLaw(d, weights, draw.one_of([0.0, 1.0, 0.5, draw.number(0)]))
    return "cdf", [made.cdf(made.support()[0]), made.mean(), made.cdf(draw.ordinary())]


CALLS = {
    ask_law: 40, sum_up_law: 14, moment: 10, transform: 6, gaussian: 8, network: 10, design: 3,
    comparison: 4, spectrum: 3, matrix: 2, outliers: 1, value: 2,
}  # fmt: skip


def flaw(name, answer):
    """Return what is wrong with an answer, or nothing."""
    for value in answer if isinstance(answer, (list, tuple)) else [answer]:
        array = np.asarray(value)
        if array.dtype.kind not in "fciu":
            return f"{name} answers {value!r}"
        if np.isnan(array).any() or (name not in INFINITE and not np.isfinite(array).all()):
            return f"{name} answers {value!r}"
    return ""


def complaint(error):
    """Return what is wrong with an error, or nothing."""
    text = str(error)
    if not isinstance(error, REFUSALS) or type(error).__module__ not in (
        "builtins",
        "isometry.errors",
    ):
        return f"{type(error).__name__}: {text[:200]}"
    named = (
        "`" in text or isinstance(error, (iso.ConvergenceError, OverflowError)) or "The " in text
    )
    return "" if named and "\n" not in text and len(text) < 420 else text[:200]


def faults(call, seed):
    draw = Draw(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", AccuracyWarning)
        warnings.simplefilter("ignore", TheoryWarning)
        try:
            return flaw(*call(draw))
        except Exception as error:  # whatever it is, it is judged
            return complaint(error)


def found_faults(calls, seeds):
    kinds = [call for call, share in calls.items() for _ in range(share)]
    found = {}
    for seed in seeds:
        call = kinds[seed % len(kinds)]
        said = faults(call, seed)
        if said:
            found.setdefault(f"{call.__name__}: {said}", seed)
    return found


if __name__ == "__main__":
    which, first, last = sys.argv[1:]
    calls = CALLS if which == "any" else {finite_law: 1}
    sys.stdout.write(str(found_faults(calls, range(int(first), int(last)))))
