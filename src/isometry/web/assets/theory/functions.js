// The functions that a formula may use: value and partial derivatives, kinks, and NumPy's name.

import { NAMED, namedActivation } from "./activations.js";
import { erf, expit } from "./special.js";

const PLAIN = {
  abs: { dual: (u) => [Math.abs(u), Math.sign(u)], kinks: [0], python: "np.abs" },
  cos: { dual: (u) => [Math.cos(u), -Math.sin(u)], python: "np.cos" },
  cosh: { dual: (u) => [Math.cosh(u), Math.sinh(u)], python: "np.cosh" },
  erf: { dual: (u) => [erf(u), (2 / Math.sqrt(Math.PI)) * Math.exp(-u * u)], python: "special.erf" },
  exp: { dual: (u) => [Math.exp(u), Math.exp(u)], python: "np.exp" },
  log: { dual: (u) => [Math.log(u), 1 / u], python: "np.log" },
  log1p: { dual: (u) => [Math.log1p(u), 1 / (1 + u)], python: "np.log1p" },
  atan: { dual: (u) => [Math.atan(u), 1 / (1 + u * u)], python: "np.arctan" },
  asinh: { dual: (u) => [Math.asinh(u), 1 / Math.hypot(1, u)], python: "np.arcsinh" },
  max: { dual: (u, v) => (u > v ? [u, 1, 0] : [v, 0, 1]), arguments: 2, kinks: [0], python: "np.maximum" },
  min: { dual: (u, v) => (u < v ? [u, 1, 0] : [v, 0, 1]), arguments: 2, kinks: [0], python: "np.minimum" },
  relu: { dual: (u) => (u > 0 ? [u, 1] : [0, 0]), kinks: [0], python: 'iso.activation("relu")' },
  sigmoid: { dual: (u) => [expit(u), expit(u) * expit(-u)], python: "special.expit" },
  sign: { dual: (u) => [Math.sign(u), 0], kinks: [0], jumps: true, python: "np.sign" },
  sin: { dual: (u) => [Math.sin(u), Math.cos(u)], python: "np.sin" },
  sinh: { dual: (u) => [Math.sinh(u), Math.cosh(u)], python: "np.sinh" },
  sqrt: { dual: (u) => [Math.sqrt(u), 0.5 / Math.sqrt(u)], python: "np.sqrt" },
  tanh: { dual: (u) => [Math.tanh(u), 1 / Math.cosh(u) ** 2], python: "np.tanh" },
};

// A named activation with its defaults, as a function of the grammar.
function fromName(name) {
  const act = namedActivation(name);
  return {
    dual: (u) => [act.phi(u), act.dphi(u)],
    kinks: act.kinks.length ? act.kinks : undefined,
    jumps: act.jumps.length > 0,
    python: `iso.activation("${name}")`,
  };
}

const NAMES = Object.keys(NAMED).filter((name) => !Object.hasOwn(PLAIN, name));

export const FUNCTIONS = { ...PLAIN, ...Object.fromEntries(NAMES.map((name) => [name, fromName(name)])) };
