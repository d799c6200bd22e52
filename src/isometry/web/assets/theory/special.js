// Special functions, Gauss-Legendre nodes and a bracketed root: what the theory needs of numerics.

// erf by its series of positive terms, erfc by the continued fraction beyond: 1e-15 relative.
export function erf(x) {
  const size = Math.abs(x);
  if (size > 2.5) return Math.sign(x) * (1 - erfcFraction(size));
  let term = size;
  let total = size;
  for (let n = 1; term > 1e-17 * total; n++) {
    term *= (2 * size * size) / (2 * n + 1);
    total += term;
  }
  return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * Math.exp(-size * size) * total;
}

export function erfc(x) {
  if (x > 2.5) return erfcFraction(x);
  return 1 - erf(x);
}

function erfcFraction(x) {
  if (x > 27) return 0;
  const steps = Math.ceil(12 + 200 / (x * x));
  let fraction = 0;
  for (let k = steps; k > 0; k--) fraction = k / 2 / (x + fraction);
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + fraction);
}

export function expit(x) {
  if (x >= 0) return 1 / (1 + Math.exp(-x));
  const e = Math.exp(x);
  return e / (1 + e);
}

// log(1 + e^x) without overflow
export function softplus(x) {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

// Nodes and weights of Gauss-Legendre quadrature on [0, 1].
export function gaussLegendre(n) {
  const nodes = new Float64Array(n);
  const weights = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    let x = -Math.cos((Math.PI * (i + 0.75)) / (n + 0.5));
    let slope = 0;
    for (let turn = 0; turn < 8; turn++) {
      let before = 1;
      let now = x;
      for (let k = 2; k <= n; k++) {
        [before, now] = [now, ((2 * k - 1) * x * now - (k - 1) * before) / k];
      }
      slope = (n * (x * now - before)) / (x * x - 1);
      x -= now / slope;
    }
    nodes[i] = (1 + x) / 2;
    weights[i] = 1 / ((1 - x * x) * slope * slope);
  }
  return { nodes, weights };
}

// A root of f between low and high, where it has opposite signs: false position (Illinois), with a
// halving wherever three steps have not halved the bracket.
export function bracketedRoot(f, low, high, tolerance = 1e-15) {
  let [a, b, fa, fb] = [low, high, f(low), f(high)];
  if (fa === 0) return a;
  if (fb === 0) return b;
  let before = 8 * Math.abs(b - a);
  for (let turn = 0; turn < 300; turn++) {
    const width = Math.abs(b - a);
    if (width <= tolerance * Math.max(Math.abs(a), Math.abs(b))) break;
    const slow = turn % 3 === 2 && width > before / 2;
    if (turn % 3 === 2) before = width;
    let x = slow ? (a + b) / 2 : (a * fb - b * fa) / (fb - fa);
    if (!(x > Math.min(a, b) && x < Math.max(a, b))) x = (a + b) / 2;
    if (x === a || x === b) break;
    const fx = f(x);
    if (fx === 0) return x;
    if (fx > 0 === fb > 0) {
      [b, fb, fa] = [x, fx, slow ? fa : fa / 2];
    } else {
      [a, fa, fb] = [x, fx, slow ? fb : fb / 2];
    }
  }
  return Math.abs(fa) < Math.abs(fb) ? a : b;
}

// What leaves the range of numbers that the page follows.
export class OverflowError extends Error {}
