// What an activation does to correlations: its Hermite shares, (61) and (62) of docs/theory.md.

import { NEAR, panelRule } from "./gaussian.js";

// Averages of psi(u) = phi(scale u + shift) - mean, u ~ N(0, 1), and its Hermite coefficients.
export function expand(act, scale, shift = 0, orders = 8) {
  const points = act.points.map((x) => (x - shift) / scale);
  const { z, weights } = panelRule(points, NEAR);
  const [phi, dphi] = act.evaluate(z.map((u) => scale * u + shift));
  const sum = (f) => z.reduce((total, u, i) => total + weights[i] * f(i, u), 0);
  const mean = sum((i) => phi[i]);
  const energy = sum((i) => (phi[i] - mean) ** 2);
  const coefficients = [];
  let before = new Float64Array(z.length).fill(1);
  let now = Float64Array.from(z);
  for (let k = 1; k <= orders; k++) {
    const hermite = now;
    coefficients.push(sum((i) => (phi[i] - mean) * hermite[i]));
    const last = before;
    before = now;
    now = z.map((u, i) => (u * hermite[i] - Math.sqrt(k) * last[i]) / Math.sqrt(k + 1));
  }
  return {
    mean,
    energy,
    slopeSquare: sum((i) => (scale * dphi[i]) ** 2),
    fourthMoment: sum((i) => (phi[i] - mean) ** 4) / energy ** 2,
    coefficients,
    shares: coefficients.map((a) => (a * a) / energy),
  };
}
