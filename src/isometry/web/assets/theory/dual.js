// What an activation does to correlations: its Hermite shares and its dual, (61) and (62) of
// docs/theory.md.

import { NEAR, panelRule } from "./gaussian.js";
import { gaussLegendre } from "./special.js";

const FEW = 256;
const MANY = 1024; // orders of what bends sharply
const ENOUGH = 1e-10; // of the energy beyond FEW orders, below which no more are asked for
// |he_k| is below exp(u^2 / 4), so that exp(-10^2 / 4) bounds what lies further out, whatever the
// order; 20 nodes follow the 16 radians of He_k that a panel of width 16 / sqrt(k) has.
const GRIDS = { [FEW]: gridOf(1), [MANY]: gridOf(0.5) };

function gridOf(width) {
  const half = Math.ceil(10 / width);
  return Array.from({ length: 2 * half + 1 }, (_, k) => (k - half) * width);
}

// Averages of psi(u) = phi(scale u + shift) - mean, u ~ N(0, 1), and its Hermite coefficients.
export function expand(act, scale, shift = 0, orders = 8, grid = NEAR) {
  const points = act.points.map((x) => (x - shift) / scale);
  const { z, weights } = panelRule(points, grid);
  const [phi, dphi] = act.evaluate(z.map((u) => scale * u + shift));
  const size = z.length;
  let mean = 0;
  for (let i = 0; i < size; i++) mean += weights[i] * phi[i];
  let [energy, fourth, slopeSquare] = [0, 0, 0];
  const weighted = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    const psi = phi[i] - mean;
    energy += weights[i] * psi * psi;
    fourth += weights[i] * psi ** 4;
    slopeSquare += weights[i] * (scale * dphi[i]) ** 2;
    weighted[i] = weights[i] * psi;
  }
  const coefficients = hermite(z, weighted, orders);
  return {
    mean,
    energy,
    slopeSquare,
    fourthMoment: fourth / energy ** 2,
    coefficients,
    shares: Array.from(coefficients, (a) => (a * a) / energy),
  };
}

// sum_i weighted[i] He_k(z[i]) / sqrt(k!), k = 1 to orders
function hermite(z, weighted, orders) {
  const found = new Float64Array(orders);
  const before = new Float64Array(z.length).fill(1);
  const now = Float64Array.from(z);
  for (let k = 1; k <= orders; k++) {
    const back = Math.sqrt(k);
    const over = 1 / Math.sqrt(k + 1);
    let total = 0;
    for (let i = 0; i < z.length; i++) {
      const here = now[i];
      total += weighted[i] * here;
      now[i] = (z[i] * here - back * before[i]) * over;
      before[i] = here;
    }
    found[k - 1] = total;
  }
  return found;
}

// The dual kappa(rho) = E psi(u) psi(v) of correlated u and v: { kappa, and what expand gives }.
export function dualActivation(act, scale, shift = 0) {
  const few = expand(act, scale, shift, FEW, GRIDS[FEW]);
  const missing = (found) => found.energy - found.coefficients.reduce((sum, a) => sum + a * a, 0);
  const smooth = !(missing(few) > ENOUGH * few.energy);
  const found = smooth ? few : expand(act, scale, shift, MANY, GRIDS[MANY]);
  const powers = found.coefficients.map((a) => a * a);
  const rest = smooth ? () => 0 : tailOf(act, scale, shift, found, powers);
  const kappa = (rho) => {
    let sum = 0;
    for (let k = powers.length - 1; k >= 0; k--) sum = (sum + powers[k]) * rho;
    return sum + rest(rho);
  };
  return { ...found, kappa };
}

// The orders beyond the last: a power law k^-p from there on, of the energy that even and odd ones
// lack at rho = 1 and -1, with p from the slope kappa'(1) (a jump's p is 3/2: its slope is infinite).
function tailOf(act, scale, shift, { mean, energy, slopeSquare }, powers) {
  const size = powers.length;
  const opposite = atMinusOne(act, scale, shift, mean);
  let [left, leftSlope, leftSigned] = [energy, slopeSquare, opposite];
  powers.forEach((power, i) => {
    left -= power;
    leftSlope -= (i + 1) * power;
    leftSigned -= i % 2 ? power : -power;
  });
  const even = Math.max((left + leftSigned) / 2, 0);
  const odd = Math.max((left - leftSigned) / 2, 0);
  const ratio = leftSlope / (left * size);
  const power = act.jumps.length || !(ratio > 1) ? 1.5 : Math.min((2 * ratio - 1) / (ratio - 1), 8);
  const { orders, shares } = powerLaw(size + 0.5, power);
  return (rho) => {
    const log = Math.log(Math.abs(rho));
    let sum = 0;
    for (let i = 0; i < orders.length; i++) sum += shares[i] * Math.exp(orders[i] * log);
    return (even + (rho < 0 ? -odd : odd)) * sum;
  };
}

const { nodes: NODES, weights: WEIGHTS } = gaussLegendre(20);

// Orders that stand for all beyond the first, and their parts of the sum of k^-power: panels in log k.
function powerLaw(first, power) {
  const orders = [];
  const shares = [];
  for (let panel = 0; panel < 12; panel++) {
    NODES.forEach((node, i) => {
      const log = 2 * (panel + node);
      orders.push(first * Math.exp(log));
      shares.push(2 * WEIGHTS[i] * Math.exp((1 - power) * log));
    });
  }
  const total = shares.reduce((sum, x) => sum + x, 0);
  return { orders, shares: shares.map((x) => x / total) };
}

// kappa(-1) = E psi(u) psi(-u)
function atMinusOne(act, scale, shift, mean) {
  const points = act.points.flatMap((x) => [(x - shift) / scale, (shift - x) / scale]);
  const { z, weights } = panelRule(points, NEAR);
  const [right] = act.evaluate(z.map((u) => scale * u + shift));
  const [left] = act.evaluate(z.map((u) => shift - scale * u));
  return z.reduce((sum, _, i) => sum + weights[i] * (right[i] - mean) * (left[i] - mean), 0);
}
