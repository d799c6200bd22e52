// The named activations: value, derivative almost everywhere, kinks and jumps, as in Python.
//
// Names, parameters and defaults are those of torch.nn.functional. `length` is the scale of the
// features in h; it grades the panels of the quadrature.

import { erf, erfc, expit, softplus } from "./special.js";

function rectifier(negative) {
  if (negative === 1) return linear();
  const power = (1 + negative * negative) / 2;
  return {
    phi: (h) => (h > 0 ? h : negative * h),
    dphi: (h) => (h > 0 ? 1 : negative),
    kinks: [0],
    closed: (q) => {
      const mean = (1 - negative) * Math.sqrt(q / (2 * Math.PI));
      return [mean, power * q, (1 + negative) / 2, power, mean];
    },
  };
}

function linear() {
  return { phi: (h) => h, dphi: () => 1, odd: true, closed: (q) => [0, q, 1, 1, 0] };
}

function between(low, high) {
  need(low < high, "min_val", low, `a number below max_val = ${high}`);
  return {
    phi: (h) => Math.min(Math.max(h, low), high),
    dphi: (h) => (h > low && h < high ? 1 : 0),
    kinks: [low, high],
    odd: low === -high,
  };
}

function exponential(scale, height, length) {
  const ratio = (scale * height) / length;
  return {
    phi: (h) => (h > 0 ? scale * h : scale * height * Math.expm1(h / length)),
    dphi: (h) => (h > 0 ? scale : ratio * Math.exp(h / length)),
    kinks: [0],
    length,
  };
}

function gelu(approximate) {
  if (approximate === "tanh") return geluTanh();
  return {
    phi: (h) => h * normal(h),
    dphi: (h) => normal(h) + (h * Math.exp((-h * h) / 2)) / Math.sqrt(2 * Math.PI),
  };
}

const normal = (h) => erfc(-h / Math.SQRT2) / 2;
const GELU_TANH = 2 * Math.sqrt(2 / Math.PI);

function geluTanh() {
  const inner = (h) => GELU_TANH * h * (1 + 0.044715 * h * h);
  return {
    phi: (h) => h * expit(inner(h)),
    dphi: (h) => {
      const s = expit(inner(h));
      return s + h * GELU_TANH * (1 + 3 * 0.044715 * h * h) * s * expit(-inner(h));
    },
  };
}

// T = tanh(softplus(h)) and 1 - T^2, both to full relative accuracy
function tanhSoftplus(h) {
  const e = Math.exp(-Math.abs(h));
  const top = h > 0 ? 1 + 2 * e : e * (e + 2);
  const rest = h > 0 ? 2 * e * e : 2;
  const bottom = top + rest;
  return [top / bottom, (rest * (top + bottom)) / bottom ** 2];
}

function mish() {
  return {
    phi: (h) => h * tanhSoftplus(h)[0],
    dphi: (h) => {
      const [value, sech] = tanhSoftplus(h);
      return value + h * sech * expit(h);
    },
  };
}

function softplusOf(beta, threshold) {
  need(beta > 0, "beta", beta, "a number above 0");
  const at = threshold / beta;
  return {
    phi: (h) => (beta * h > threshold ? h : softplus(beta * h) / beta),
    dphi: (h) => (beta * h > threshold ? 1 : expit(beta * h)),
    kinks: [at],
    length: 1 / beta,
  };
}

function tanhshrink(h) {
  if (Math.abs(h) >= 1) return h - Math.tanh(h);
  let fraction = 0; // Lambert's continued fraction of tanh: near 0 the difference would cancel
  for (let odd = 21; odd > 1; odd -= 2) fraction = (h * h) / (odd + fraction);
  return h * (fraction / (1 + fraction));
}

function hardshrink(lambd) {
  need(lambd >= 0, "lambd", lambd, "a number of at least 0");
  const ends = lambd > 0 ? [-lambd, lambd] : [];
  return {
    phi: (h) => (Math.abs(h) > lambd ? h : 0),
    dphi: (h) => (Math.abs(h) > lambd ? 1 : 0),
    kinks: ends,
    jumps: ends,
    odd: true,
  };
}

function softshrink(lambd) {
  need(lambd >= 0, "lambd", lambd, "a number of at least 0");
  return {
    phi: (h) => Math.sign(h) * Math.max(Math.abs(h) - lambd, 0),
    dphi: (h) => (Math.abs(h) > lambd ? 1 : 0),
    kinks: lambd > 0 ? [-lambd, lambd] : [],
    odd: true,
  };
}

function threshold(at, value) {
  return {
    phi: (h) => (h > at ? h : value),
    dphi: (h) => (h > at ? 1 : 0),
    kinks: [at],
    jumps: value === at ? [] : [at],
  };
}

function sine() {
  return {
    phi: Math.sin,
    dphi: Math.cos,
    odd: true,
    closed: (q) => [0, -Math.expm1(-2 * q) / 2, Math.exp(-q / 2), (1 + Math.exp(-2 * q)) / 2, 0],
  };
}

const SELU = [1.0507009873554804934193349852946, 1.6732632423543772848170429916717];

// name -> [parameters by name with their defaults, maker]
export const NAMED = {
  celu: [{ alpha: 1 }, (alpha) => (need(alpha > 0, "alpha", alpha, "a number above 0"), exponential(1, alpha, alpha))],
  elu: [{ alpha: 1 }, (alpha) => exponential(1, alpha, 1)],
  erf: [{}, () => ({ phi: erf, dphi: (h) => (2 / Math.sqrt(Math.PI)) * Math.exp(-h * h), odd: true })],
  gelu: [{ approximate: ["none", "tanh"] }, gelu],
  hardshrink: [{ lambd: 0.5 }, hardshrink],
  hardsigmoid: [{}, () => ({ phi: (h) => Math.min(Math.max(h / 6 + 0.5, 0), 1), dphi: (h) => (Math.abs(h) < 3 ? 1 / 6 : 0), kinks: [-3, 3] })],
  hardswish: [{}, () => ({ phi: (h) => h * Math.min(Math.max((h + 3) / 6, 0), 1), dphi: (h) => (h >= 3 ? 1 : h > -3 ? (2 * h + 3) / 6 : 0), kinks: [-3, 3] })],
  hardtanh: [{ min_val: -1, max_val: 1 }, between],
  leaky_relu: [{ negative_slope: 0.01 }, rectifier],
  linear: [{}, linear],
  logsigmoid: [{}, () => ({ phi: (h) => -softplus(-h), dphi: (h) => expit(-h) })],
  mish: [{}, mish],
  prelu: [{ weight: 0.25 }, rectifier],
  relu: [{}, () => rectifier(0)],
  relu6: [{}, () => between(0, 6)],
  rrelu: [{ lower: 1 / 8, upper: 1 / 3 }, (lower, upper) => (need(lower <= upper, "lower", lower, `a number of at most upper = ${upper}`), rectifier((lower + upper) / 2))],
  selu: [{}, () => exponential(SELU[0], SELU[1], 1)],
  sigmoid: [{}, () => ({ phi: expit, dphi: (h) => expit(h) * expit(-h) })],
  sign: [{}, () => ({ phi: Math.sign, dphi: () => 0, kinks: [0], jumps: [0], odd: true, closed: () => [0, 1, 0, 0, 0] })],
  silu: [{}, () => ({ phi: (h) => h * expit(h), dphi: (h) => expit(h) * (1 + h * expit(-h)) })],
  sin: [{}, sine],
  softplus: [{ beta: 1, threshold: 20 }, softplusOf],
  softshrink: [{ lambd: 0.5 }, softshrink],
  softsign: [{}, () => ({ phi: (h) => h / (1 + Math.abs(h)), dphi: (h) => (1 / (1 + Math.abs(h))) ** 2, kinks: [0], odd: true })],
  tanh: [{}, () => ({ phi: Math.tanh, dphi: (h) => 1 / Math.cosh(h) ** 2, odd: true })],
  tanhshrink: [{}, () => ({ phi: tanhshrink, dphi: (h) => Math.tanh(h) ** 2, odd: true })],
  threshold: [{ threshold: 0, value: 0 }, threshold],
};

const GRADES = [1, 2, 4, 8, ...Array.from({ length: 40 }, (_, k) => 4 ** (k + 2))];
export const LADDER = [...GRADES.map((x) => -x).reverse(), 0, ...GRADES];

// Make a named activation; parameters that are not given have torch's defaults.
export function namedActivation(name, parameters = {}) {
  if (!Object.hasOwn(NAMED, name)) {
    throw new RangeError(`The activation is "${name}"; expected one of the list, or a formula.`);
  }
  const [defaults, make] = NAMED[name];
  const values = Object.entries(defaults).map(([key, usual]) => {
    const given = parameters[key] ?? (Array.isArray(usual) ? usual[0] : usual);
    if (Array.isArray(usual)) need(usual.includes(given), key, given, `one of ${usual.join(", ")}`);
    else need(Number.isFinite(given), key, given, "a finite number");
    return given;
  });
  const made = make(...values);
  const length = made.length ?? 1;
  return {
    name,
    kinks: [],
    jumps: [],
    odd: false,
    ...made,
    points: [...new Set([...(made.kinks ?? []), ...LADDER.map((x) => x * length)])].sort((a, b) => a - b),
    evaluate: (h) => [h.map(made.phi), h.map(made.dphi)],
  };
}

function need(holds, name, value, expected) {
  if (!holds) throw new RangeError(`${name} is ${value}; expected ${expected}.`);
}
