// The signal in every layer and the c that it makes: (21) to (24) of docs/theory.md, (64) for
// `centre`, `signs` and `unit`; and the smallest sigma_w of a wanted c.

import { gaussianMoments, momentTable } from "./gaussian.js";
import { shortNumber } from "./law.js";
import { bracketedRoot, OverflowError } from "./special.js";

const LARGEST_DEPTH = 20000;

// spec: { activation, depth, sigmaW, sigmaB, skip, m1, m2, centre, signs, unit }
export function propagate(spec, averages = averagesOf(spec)) {
  const { depth, sigmaW, sigmaB, skip } = spec;
  checkSpec(spec);
  const signal = { q: [], m1: [], m2: [], chi: [], cross: [] };
  let { m1, m2 } = spec;
  for (let layer = 1; layer <= depth; layer++) {
    const q = ((sigmaW * sigmaW) / depth) * m2 + sigmaB * sigmaB; // (21)
    refuseOverflow(q, layer, spec);
    let [mean, square, , slopeSquare, cross] = averages(q);
    if (spec.centre) square -= mean * mean;
    if (spec.centre || spec.signs) mean = 0;
    m2 = skip * skip * m2 + 2 * skip * m1 * mean + square; // (23)
    m1 = skip * m1 + mean; // (22)
    m2 = Math.max(m2, m1 * m1);
    const chi = sigmaW * sigmaW * slopeSquare; // (24)
    refuseOverflow(m2 + chi, layer, spec);
    signal.q.push(q);
    signal.m1.push(m1);
    signal.m2.push(m2);
    signal.chi.push(chi);
    signal.cross.push(spec.signs ? 0 : cross);
  }
  return { ...signal, c: signal.chi.reduce((sum, x) => sum + x, 0) / depth };
}

// A lower bound of the largest singular value: the length of J^T f / |f|, which is the slope of |f|
// at the input and lies in the plane of x and the direction of equal entries. Central differences.
export function steepestGrowth(spec, averages = averagesOf(spec)) {
  const { m1, m2 } = spec;
  const size = (a, b) => Math.sqrt(propagate({ ...spec, m1: a, m2: b }, averages).m2[spec.depth - 1]);
  const step = 1e-4 * Math.sqrt(m2);
  const alongMean = (size(m1 + step, m2 + step * (2 * m1 + step)) - size(m1 - step, m2 - step * (2 * m1 - step))) / (2 * step);
  const alongInput = (size(m1 * 1.0001, m2 * 1.0001 ** 2) - size(m1 * 0.9999, m2 * 0.9999 ** 2)) / (2e-4 * Math.sqrt(m2));
  // the two directions, of unit length, have the angle whose cosine is m1 / sqrt(m2)
  const cos = m1 / Math.sqrt(m2);
  const sine = 1 - cos * cos;
  if (!(sine > 1e-6)) return Math.abs(alongInput);
  return Math.sqrt((alongMean ** 2 + alongInput ** 2 - 2 * cos * alongMean * alongInput) / sine);
}

// The averages that the layers see, as a function of q.
export function averagesOf(spec) {
  if (!spec.unit) return momentTable(spec.activation);
  const [mean, square, slope, slopeSquare, cross] = gaussianMoments(spec.activation, 1);
  return (q) => [Math.sqrt(q) * mean, q * square, slope, slopeSquare, Math.sqrt(q) * cross];
}

// The smallest sigma_w whose c is the target, found by a scan from below.
export function solveSigmaW(spec, target) {
  if (!(target >= 0 && Number.isFinite(target))) {
    throw new RangeError(`The target c is ${shortNumber(target)}; expected a finite number of at least 0.`);
  }
  if (target === 0) return 0;
  const averages = averagesOf(spec);
  const cumulant = (sigmaW) => {
    try {
      return propagate({ ...spec, sigmaW }, averages).c;
    } catch (error) {
      if (error instanceof OverflowError) return Infinity;
      throw error;
    }
  };
  const [low, high] = bracket(cumulant, target, spec);
  const miss = (t) => Math.log(Math.max(cumulant(Math.exp(t)), 1e-320) / target);
  // shifted by 1, since the bracket is relative and log sigma_w may be 0
  const shift = 1 - Math.log(low);
  return Math.exp(bracketedRoot((t) => miss(t - shift), 1, Math.log(high) + shift, 1e-13) - shift);
}

function bracket(cumulant, target, spec) {
  let low = below(target, spec);
  let last = cumulant(low);
  for (; last >= target && low > 1e-150; last = cumulant(low)) low /= 4;
  let most = last;
  while (low < 1e12) {
    // c grows at least like sigma_w^2 while the signal does: a far scan would meet huge signals
    const high = low * Math.min(Math.max(1.1 * Math.sqrt(target / last), 1.05), 2);
    const reached = cumulant(high);
    if (reached === Infinity) return beforeOverflow(cumulant, target, low, high);
    if (reached >= target) return [low, high];
    most = Math.max(most, reached);
    [low, last] = [high, reached];
  }
  throw outOfReach(target, most, "no sigma_w gives more");
}

// c <= sigma_w^2 sup phi'^2, looked at within 4 (1 + sigma_b) and on every piece of phi
function below(target, spec) {
  const { kinks } = spec.activation;
  const probes = kinks.slice(1).map((x, i) => (x + kinks[i]) / 2);
  for (let k = 0; k < 200; k++) {
    const reach = (1 + spec.sigmaB) * 1e-6 * (4e6) ** (k / 199);
    probes.push(-reach, reach);
  }
  const [, slopes] = spec.activation.evaluate(Float64Array.from(probes));
  const steepest = slopes.reduce((most, x) => (Number.isFinite(x) ? Math.max(most, x * x) : most), 0);
  if (steepest === 0) throw outOfReach(target, 0, "the slope is 0 almost everywhere");
  return 0.95 * Math.sqrt(target / steepest);
}

function beforeOverflow(cumulant, target, start, end) {
  let [low, high] = [start, end];
  for (let turn = 0; turn < 40; turn++) {
    const middle = Math.sqrt(low * high);
    const reached = cumulant(middle);
    if (reached === Infinity) high = middle;
    else if (reached >= target) return [low, middle];
    else low = middle;
  }
  throw outOfReach(target, cumulant(low), "beyond it the signal overflows");
}

function outOfReach(target, most, reason) {
  return new RangeError(
    `The target c is ${shortNumber(target)}; expected a value in [0, ${shortNumber(most)}], the range ` +
      `that can be reached: ${reason}. Lower c or change the activation, the bias or the depth.`,
  );
}

function refuseOverflow(value, layer, spec) {
  if (Number.isFinite(value)) return;
  throw new OverflowError(
    `The signal overflows in layer ${layer} of ${spec.depth}; expected a finite signal. Lower ` +
      `sigma_w = ${shortNumber(spec.sigmaW)}, skip = ${shortNumber(spec.skip)} or the depth.`,
  );
}

function checkSpec(spec) {
  const { depth, sigmaW, sigmaB, skip, m1, m2 } = spec;
  if (!Number.isInteger(depth) || depth < 1 || depth > LARGEST_DEPTH) {
    throw new RangeError(`The depth is ${shortNumber(depth)}; expected an integer from 1 to ${LARGEST_DEPTH}.`);
  }
  for (const [name, value] of [["sigma_w", sigmaW], ["sigma_b", sigmaB]]) {
    if (!(value >= 0 && Number.isFinite(value))) {
      throw new RangeError(`${name} is ${shortNumber(value)}; expected a finite number of at least 0, a standard deviation.`);
    }
  }
  if (!Number.isFinite(skip)) {
    throw new RangeError(`The skip is ${shortNumber(skip)}; expected a finite number.`);
  }
  if (!(m2 >= m1 * m1 * (1 - 1e-9))) {
    throw new RangeError(`m2 is ${shortNumber(m2)}; expected a mean square of at least m1^2 = ${shortNumber(m1 * m1)}.`);
  }
}
