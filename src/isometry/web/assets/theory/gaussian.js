// Averages of an activation over h ~ N(0, q), and a table of them in log q for deep networks.
//
// Gauss-Legendre panels in z = h / sqrt(q), split at the kinks and graded from the feature scale of
// the activation to the width of the Gaussian, as in Python's gaussian.py and moment_table.py.

import { gaussLegendre, OverflowError } from "./special.js";

const { nodes: NODES, weights: WEIGHTS } = gaussLegendre(20);
export const NEAR = Array.from({ length: 15 }, (_, k) => 2 * k - 14);
export const WIDE = Array.from({ length: 77 }, (_, k) => k - 38);
const TINY = 2.2e-308;

// Nodes in z and Gaussian weights on the panels of a grid that is split at the points.
export function panelRule(points, grid) {
  const last = grid[grid.length - 1];
  const all = [...grid, ...points.filter((x) => x > grid[0] && x < last)].sort((a, b) => a - b);
  const ends = all.filter((x, i) => i === 0 || x > all[i - 1]);
  const size = NODES.length;
  const z = new Float64Array((ends.length - 1) * size);
  const weights = new Float64Array(z.length);
  for (let i = 0; i + 1 < ends.length; i++) {
    const width = ends[i + 1] - ends[i];
    for (let j = 0; j < size; j++) {
      const x = ends[i] + width * NODES[j];
      z[i * size + j] = x;
      weights[i * size + j] = ((width * WEIGHTS[j]) / Math.sqrt(2 * Math.PI)) * Math.exp((-x * x) / 2);
    }
  }
  return { z, weights };
}

// E phi, E phi^2, E phi', E phi'^2 and E phi' h over h ~ N(0, q); q is a variance.
export function gaussianMoments(act, q) {
  if (q === 0) return atZero(act);
  if (act.closed) return act.closed(q);
  const sigma = Math.sqrt(q);
  const points = act.points.map((x) => x / sigma);
  const { sums, tail } = integrate(act, sigma, points, NEAR);
  const all = tail ? integrate(act, sigma, points, WIDE).sums : sums;
  if (!all.every(Number.isFinite)) {
    throw new RangeError(
      `${act.name} is not finite under a Gaussian of variance ${q.toPrecision(3)}; expected finite ` +
        "averages. Lower sigma_w or choose another formula.",
    );
  }
  return all;
}

function integrate(act, sigma, points, grid) {
  const { z, weights } = panelRule(points, grid);
  const h = z.map((x) => sigma * x);
  const [phi, dphi] = act.evaluate(h);
  const sums = [0, 0, 0, 0, 0];
  let ends = 0;
  for (let i = 0; i < z.length; i++) {
    const weight = weights[i];
    sums[0] += weight * phi[i];
    sums[1] += weight * phi[i] * phi[i];
    sums[2] += weight * dphi[i];
    sums[3] += weight * dphi[i] * dphi[i];
    sums[4] += weight * dphi[i] * h[i];
    if (i < NODES.length || i >= z.length - NODES.length) ends += weight * (phi[i] ** 2 + dphi[i] ** 2);
  }
  if (act.odd) sums[0] = sums[4] = 0;
  return { sums, tail: !(ends < 1e-17 * Math.min(sums[1], sums[3])) };
}

function atZero(act) {
  const [[value, left, right], [, before, after]] = act.evaluate(Float64Array.of(0, -TINY, TINY));
  if (![value, left, right].every(Number.isFinite)) {
    throw new RangeError(`${act.name} is not finite at h = 0; expected a finite value.`);
  }
  return [value, value * value, (before + after) / 2, (before * before + after * after) / 2, 0];
}

const WIDTH = Math.log(16); // of a panel in log q: (25) of docs/theory.md
const ORDER = 20;
const ANGLES = Array.from({ length: ORDER }, (_, k) => (Math.PI * (k + 0.5)) / ORDER);
const LARGEST_Q = 1e60; // each factor of 16 is a panel to build: beyond, a page would stand still
const CHECKS = [-0.97, -0.2, 0.65, 0.98];

const TABLES = new WeakMap();

// The averages as a function of q, from Chebyshev panels in log q that are built when asked for.
export function momentTable(act) {
  if (act.closed) return (q) => gaussianMoments(act, q);
  if (!TABLES.has(act)) TABLES.set(act, newTable(act));
  return TABLES.get(act);
}

function newTable(act) {
  const panels = new Map();
  const panel = (halvings, index) => {
    const key = `${halvings},${index}`;
    if (!panels.has(key)) panels.set(key, buildPanel(act, WIDTH / 2 ** halvings, index));
    return panels.get(key);
  };
  return (q) => {
    if (q === 0) return gaussianMoments(act, q);
    if (q > LARGEST_Q) {
      throw new OverflowError(
        `The signal of ${act.name} exceeds 1e60 here; expected less. Lower sigma_w, the skip or the depth, or ask Python.`,
      );
    }
    for (let halvings = 0; halvings < 3; halvings++) {
      const place = (Math.log(q) / WIDTH) * 2 ** halvings;
      const found = panel(halvings, Math.floor(place));
      if (found) return found(2 * (place - Math.floor(place)) - 1);
    }
    return gaussianMoments(act, q);
  };
}

function buildPanel(act, width, index) {
  const at = (u) => gaussianMoments(act, Math.exp((index + (1 + u) / 2) * width));
  let nodes;
  let checks;
  try {
    nodes = ANGLES.map((angle) => at(Math.cos(angle)));
    checks = CHECKS.map(at);
  } catch {
    return null; // each average is then asked for alone, and says itself what is wrong
  }
  const fits = nodes[0].map((_, k) => fitAverage(nodes.map((row) => row[k]), checks, k));
  return fits.every(Boolean) ? (u) => fits.map((fit) => fit(u)) : null;
}

// One average by the logarithm of its size, which keeps small ones to their last digits, or plainly.
function fitAverage(values, checks, k) {
  const sign = values[0] < 0 ? -1 : 1;
  const plain = chebyshev(values);
  const routes = [plain];
  if (values.every((x) => x * sign > 0)) {
    const logs = chebyshev(values.map((x) => Math.log(x * sign)));
    routes.unshift((u) => sign * Math.exp(logs(u)));
  }
  const scale = (row) => [Math.sqrt(row[1]), row[1], Math.sqrt(row[3]), row[3], Math.sqrt(row[1]) + Math.sqrt(row[3])][k];
  return routes.find((route) =>
    CHECKS.every((u, i) => Math.abs(route(u) - checks[i][k]) <= 1e-10 * (Math.abs(checks[i][k]) + (route === plain ? scale(checks[i]) : 0))),
  );
}

function chebyshev(values) {
  const coefficients = ANGLES.map((_, k) =>
    values.reduce((sum, value, j) => sum + value * Math.cos(k * ANGLES[j]), 0) * ((k ? 2 : 1) / ORDER),
  );
  return (u) => {
    let [ahead, now] = [0, 0];
    for (let k = ORDER - 1; k > 0; k--) [ahead, now] = [now, 2 * u * now - ahead + coefficients[k]];
    return u * now - ahead + coefficients[0];
  };
}
