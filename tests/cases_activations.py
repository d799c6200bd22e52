"""The named activations and their averages once more, in mpmath: the oracle of the tests."""

import functools
import itertools

from mpmath import mp, mpf
from mpmath.calculus.quadrature import GaussLegendre


def _where(kink, below, above):
    return lambda h: above(h) if h > kink else below(h)


def _odd(f):
    return lambda h: f(h) if h > 0 else -f(-h)


def _even(f):
    return lambda h: f(abs(h))


def _sigmoid(h):
    return 1 / (1 + mp.exp(-h)) if h > 0 else mp.exp(h) / (1 + mp.exp(h))


def _softplus(h):
    return mp.log1p(mp.exp(-abs(h))) + max(h, mpf(0))


def _leaky(a):
    a = mpf(a)
    return _where(0, lambda h: a * h, lambda h: h), _where(0, lambda h: a, lambda h: mpf(1)), [0]


def _elu(scale, height, length):
    s, a, b = mpf(scale), mpf(height), mpf(length)
    return (
        _where(0, lambda h: s * a * mp.expm1(h / b), lambda h: s * h),
        _where(0, lambda h: s * a / b * mp.exp(h / b), lambda h: s),
        [0],
    )


def _clip(low, high):
    return (
        lambda h: min(max(h, mpf(low)), mpf(high)),
        lambda h: mpf(low < h < high),
        [low, high],
    )


def _gelu_tanh():
    k, a = mp.sqrt(2 / mp.pi), mpf(0.044715)

    def u(h):
        return 2 * k * (h + a * h**3)

    def slope(h):
        s = _sigmoid(u(h))
        return s + h * 2 * k * (1 + 3 * a * h**2) * s * _sigmoid(-u(h))

    return lambda h: h * _sigmoid(u(h)), slope, []


def _mish():
    def slope(h):
        t = mp.tanh(_softplus(h))
        return t + h * mp.sech(_softplus(h)) ** 2 * _sigmoid(h)

    return lambda h: h * mp.tanh(_softplus(h)), slope, []


def _softplus_beta(beta, limit):
    kink = mpf(limit) / mpf(beta)
    return (
        _where(kink, lambda h: _softplus(beta * h) / beta, lambda h: h),
        _where(kink, lambda h: _sigmoid(beta * h), lambda h: mpf(1)),
        [kink],
    )


def _hardswish():
    def value(h):
        return h * min(max((h + 3) / 6, mpf(0)), mpf(1))

    return value, lambda h: mpf(h > 3) if abs(h) > 3 else (2 * h + 3) / 6, [-3, 3]


def _tanhshrink(h):
    with mp.workdps(60):
        return h - mp.tanh(h)


def table():
    """Return text for `activation` -> (phi, dphi, kinks)."""
    selu = (1.0507009873554804934193349852946, 1.6732632423543772848170429916717, 1)
    return {
        "linear": (lambda h: h, lambda h: mpf(1), []),
        "relu": _leaky(0),
        "leaky_relu(0.1)": _leaky(0.1),
        "prelu(-0.5)": _leaky(-0.5),
        "rrelu(0.125, 0.25)": _leaky(0.1875),
        "relu6": _clip(0, 6),
        "hardtanh": _clip(-1, 1),
        "hardtanh(-0.25, 2)": _clip(-0.25, 2),
        "hardsigmoid": (
            lambda h: min(max(h / 6 + mpf(1) / 2, mpf(0)), mpf(1)),
            lambda h: mpf(abs(h) < 3) / 6,
            [-3, 3],
        ),
        "hardswish": _hardswish(),
        "elu": _elu(1, 1, 1),
        "elu(alpha=0.5)": _elu(1, 0.5, 1),
        "celu(2)": _elu(1, 2, 2),
        "selu": _elu(*selu),
        "gelu": (
            lambda h: h * mp.erfc(-h / mp.sqrt(2)) / 2,
            lambda h: mp.erfc(-h / mp.sqrt(2)) / 2 + h * mp.npdf(h),
            [],
        ),
        "gelu(approximate='tanh')": _gelu_tanh(),
        "silu": (
            lambda h: h * _sigmoid(h),
            lambda h: _sigmoid(h) * (1 + h * _sigmoid(-h)),
            [],
        ),
        "mish": _mish(),
        "sigmoid": (_sigmoid, lambda h: _sigmoid(h) * _sigmoid(-h), []),
        "logsigmoid": (lambda h: -_softplus(-h), lambda h: _sigmoid(-h), []),
        "softplus": _softplus_beta(1, 20),
        "softplus(beta=8, threshold=20)": _softplus_beta(8, 20),
        "tanh": (mp.tanh, lambda h: mp.sech(h) ** 2, []),
        "tanhshrink": (_tanhshrink, lambda h: mp.tanh(h) ** 2, []),
        "softsign": (lambda h: h / (1 + abs(h)), lambda h: 1 / (1 + abs(h)) ** 2, [0]),
        "softshrink": (
            _odd(lambda h: max(h - mpf(0.5), mpf(0))),
            _even(lambda h: mpf(h > 0.5)),
            [-0.5, 0.5],
        ),
        "hardshrink": (
            _odd(lambda h: h if h > 0.5 else mpf(0)),
            _even(lambda h: mpf(h > 0.5)),
            [-0.5, 0.5],
        ),
        "threshold(0.3, -1)": (
            _where(mpf(0.3), lambda h: mpf(-1), lambda h: h),
            _where(mpf(0.3), lambda h: mpf(0), lambda h: mpf(1)),
            [0.3],
        ),
        "erf": (mp.erf, lambda h: 2 / mp.sqrt(mp.pi) * mp.exp(-h * h), []),
        "sin": (mp.sin, mp.cos, []),
        "sign": (mp.sign, lambda h: mpf(0), [0]),
    }


def averages(phi, dphi, kinks, q):
    """Return E phi, E phi^2, E phi', E phi'^2, by 48-point Gauss-Legendre panels in 30 digits."""
    with mp.workdps(30):
        q = mpf(q)
        sigma = mp.sqrt(q)
        ladder = [mpf(2) ** k for k in range(-1, 60) if mpf(2) ** k < 2 * sigma]
        points = {mpf(0), *map(mpf, kinks), *(s * x for s in (1, -1) for x in ladder)}
        points |= {sigma * z for z in range(-14, 15, 2)}
        ends = sorted(x for x in points if abs(x) <= 14 * sigma)
        totals = [mpf(0)] * 4
        for a, b in itertools.pairwise(ends):
            for x, w in _nodes():
                h = (a + b) / 2 + (b - a) / 2 * x
                weight = w * (b - a) / 2 * mp.npdf(h, 0, sigma)
                value, slope = phi(h), dphi(h)
                row = (value, value * value, slope, slope * slope)
                totals = [t + weight * r for t, r in zip(totals, row, strict=True)]
        return tuple(totals)


def sine_averages(q):
    """Return the averages of the sine in closed form."""
    q = mpf(q)
    return mpf(0), -mp.expm1(-2 * q) / 2, mp.exp(-q / 2), (1 + mp.exp(-2 * q)) / 2


@functools.cache
def _nodes():
    return GaussLegendre(mp).calc_nodes(5, 120)
