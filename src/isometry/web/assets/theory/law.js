// The universal law of lam = s^2; numbers in brackets are those of docs/theory.md, section 2.
//
// Everything is a function of kappa in (0, 1]: theta = theta_max kappa (2 - kappa), from the edges
// to lam = scale, so that nothing cancels.

import { bracketedRoot } from "./special.js";

const SEMICIRCLE = 1e-30; // below it the law of log lam over its width is the semicircle
const LARGEST_C = 1e5;

export class UniversalLaw {
  // scale may be given by its logarithm, which a deep network with a skip needs
  constructor(c, logScale = 0) {
    if (!(c >= 0 && c <= LARGEST_C)) {
      throw new RangeError(
        `c is ${shortNumber(c)}; expected a number from 0 to 100000. Lower sigma_w: no signal ` +
          "survives such a network.",
      );
    }
    this.c = c;
    this.logScale = logScale;
    this.width = halfWidth(c);
    this.solved = Math.max(c, SEMICIRCLE);
    this.solvedWidth = halfWidth(this.solved);
    const solved = this.solved;
    this.top = bracketedRoot(
      (x) => x * Math.sin(x / 2) - solved * Math.cos(x / 2),
      0,
      Math.PI,
    ); // (8)
  }

  logSupport() {
    return [this.logScale - this.width, this.logScale + this.width];
  }

  support() {
    return this.logSupport().map(Math.exp);
  }

  conditionNumber() {
    return Math.exp(this.width);
  }

  mean() {
    return Math.exp(this.logScale + this.c); // (20)
  }

  variance() {
    return 2 * this.c * Math.exp(2 * (this.logScale + this.c));
  }

  logVariance() {
    return 2 * this.c + (this.c * this.c) / 3;
  }

  // The density of log lam.
  logDensity(logLam) {
    const kappa = this.kappaAt(logLam);
    return kappa > 0 ? this.densityAt(kappa) : 0;
  }

  // The density of lam.
  pdf(lam) {
    return lam > 0 ? this.logDensity(Math.log(lam)) / lam : 0;
  }

  // The density of s = sqrt(lam).
  singularPdf(s) {
    return s > 0 ? (2 * this.logDensity(2 * Math.log(s))) / s : 0;
  }

  cdf(logLam) {
    const away = logLam - this.logScale;
    if (this.c === 0) return away < 0 ? 0 : 1;
    const kappa = this.kappaAt(logLam);
    const outer = kappa > 0 ? this.massBeyond(kappa) : 0;
    return away < 0 ? outer : 1 - outer;
  }

  // The logarithm of the quantile.
  logQuantile(p) {
    if (this.c === 0 || p === 0.5) return this.logScale;
    const outer = Math.min(p, 1 - p);
    const sign = p < 0.5 ? -1 : 1;
    if (outer <= 0) return this.logScale + sign * this.width;
    const kappa = bracketedRoot((x) => this.massBeyond(x) - outer, 0, 1, 1e-14);
    return this.logScale + sign * this.distanceAt(kappa);
  }

  // The curve for a picture: log lam and its density, dense at the edges.
  curve(points = 160) {
    const logLam = [];
    const density = [];
    for (let i = 0; i <= 2 * points; i++) {
      const kappa = 1 - Math.abs(i / points - 1);
      logLam.push(this.logScale + Math.sign(i - points) * (kappa > 0 ? this.distanceAt(kappa) : this.width));
      density.push(kappa > 0 ? this.densityAt(kappa) : 0);
    }
    return { logLam, density };
  }

  densityAt(kappa) {
    const theta = this.top * kappa * (2 - kappa);
    return (theta / (2 * Math.PI * this.solved)) * (this.solvedWidth / this.width); // (9)
  }

  // |log lam| at unit scale
  distanceAt(kappa) {
    const { v } = this.turn(kappa);
    return this.width * (1 - v * v);
  }

  // The mass beyond, in closed form (18a).
  massBeyond(kappa) {
    if (kappa <= 0) return 0;
    const { theta, eta } = this.turn(kappa);
    const whole = Math.atan2(theta, eta - this.solved) - theta / 2 - (theta * eta) / (2 * this.solved);
    return Math.min(Math.max(whole / Math.PI, 0), 0.5);
  }

  kappaAt(logLam) {
    if (this.c === 0) return 0;
    const v = Math.sqrt(Math.max(1 - Math.abs(logLam - this.logScale) / this.width, 0));
    if (v === 0) return 0;
    let low = 0;
    let high = 1;
    let kappa = v;
    for (let turn = 0; turn < 60; turn++) {
      const at = this.turn(kappa);
      if (at.v > v) high = kappa;
      else low = kappa;
      const next = kappa - (at.v - v) / at.slope;
      const moved = next > low && next <= high ? next : (low + high) / 2;
      if (Math.abs(moved - kappa) <= 1e-15 * moved) return moved;
      kappa = moved;
    }
    return kappa;
  }

  // theta, eta, v = sqrt(1 - |log lam| / log lam_+) and dv/dkappa
  turn(kappa) {
    const c = this.solved;
    const top = this.top;
    const theta = top * kappa * (2 - kappa);
    const rest = top * (1 - kappa) ** 2;
    const inner =
      Math.tan(top / 2) +
      (theta * sinc(rest / 2)) / (2 * Math.cos(top / 2) * Math.cos(theta / 2)); // (11)
    const slant = Math.sqrt(top * inner * (c + theta / Math.tan(theta / 2)));
    const eta = slant * (1 - kappa); // (12)
    const lessCot = (2 * Math.sin(theta / 2) ** 2 - oneMinusSinc(theta)) / sinc(theta); // (13)
    const r = Math.sqrt(c * (c + 2));
    const lost = 2 * c * lessCot + theta * theta; // (14)
    const b = eta * sinc(theta);
    const squares = lost + eta * eta * oneMinusSinc(theta) * (1 + sinc(theta));
    const toEdge =
      lost / (r + eta) +
      Math.asinh(squares / (r * Math.sqrt(1 + b * b) + b * Math.sqrt(1 + r * r))); // (15)
    const v = Math.sqrt(toEdge / this.solvedWidth);
    const speed = (c * lessCot + theta * theta) ** 2 + (theta * eta) ** 2;
    return { theta, eta, v, slope: (speed * top) / (c * theta * slant * v * this.solvedWidth) }; // (16)
  }
}

// log lam_+ at unit scale (10)
export function halfWidth(c) {
  const r = Math.sqrt(c * (c + 2));
  return r + Math.asinh(r);
}

// The c of a condition number: (10) inverted through r.
export function cumulantFromConditionNumber(kappa) {
  if (!(kappa >= 1 && Number.isFinite(kappa))) {
    throw new RangeError(
      `The condition number is ${shortNumber(kappa)}; expected a finite number of at least 1.`,
    );
  }
  const logKappa = Math.log(kappa);
  let r = logKappa / 2;
  for (let turn = 0; turn < 20; turn++) {
    r += (logKappa - r - Math.asinh(r)) / (1 + 1 / Math.sqrt(1 + r * r));
  }
  return (r * r) / (1 + Math.sqrt(1 + r * r));
}

// A number for a person: four digits.
export function shortNumber(x) {
  if (typeof x !== "number" || Number.isNaN(x)) return "no number";
  if (!Number.isFinite(x)) return x > 0 ? "infinite" : "minus infinite";
  const size = Math.abs(x);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return x.toExponential(3).replace("e+", "e");
  return String(Number(x.toPrecision(4)));
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(x) / x;
}

// 1 - sin(x) / x with full relative accuracy
function oneMinusSinc(x) {
  if (x >= 1) return 1 - sinc(x);
  let series = 0;
  for (let k = 9; k > 0; k--) series = ((x * x) / (2 * k * (2 * k + 1))) * (1 - series);
  return series;
}
