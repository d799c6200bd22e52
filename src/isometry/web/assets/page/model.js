// From the controls to every number and sentence that the page shows.

import {
  cumulantFromConditionNumber,
  dualActivation,
  namedActivation,
  propagate,
  shortNumber,
  solveSigmaW,
  steepestGrowth,
  typedActivation,
  UniversalLaw,
} from "../theory.js";
import { FORMULA } from "./state.js";

const CACHE = new Map(); // activations keep their tables of averages

// What an activation is told apart by.
export function keyOf(state) {
  return state.activation === FORMULA ? `= ${state.formula}` : JSON.stringify([state.activation, state.parameters]);
}

export function activationOf(state) {
  const key = keyOf(state);
  if (!CACHE.has(key)) {
    if (CACHE.size > 40) CACHE.clear();
    CACHE.set(key, state.activation === FORMULA ? typedActivation(state.formula) : namedActivation(state.activation, state.parameters));
  }
  return CACHE.get(key);
}

export function titleOf(state) {
  if (state.activation === FORMULA) return state.formula.trim();
  const given = Object.entries(state.parameters).map(([key, value]) => `${key}=${value}`);
  return state.activation + (given.length ? `(${given.join(", ")})` : "");
}

// Return what the page shows of a state; wrong input throws an error with a sentence.
export function compute(state) {
  const activation = activationOf(state);
  if (!(Number.isInteger(state.width) && state.width >= 1)) {
    throw new RangeError(`The width is ${shortNumber(state.width)}; expected an integer of at least 1.`);
  }
  if (state.skip === 0) {
    throw new RangeError(
      "The skip is 0; expected a residual network, since the universal law describes small steps from the identity.",
    );
  }
  const spec = { ...state, activation, sigmaW: 0 };
  const target = targetOf(state);
  spec.sigmaW = target === null ? state.amount : solveSigmaW(spec, target);
  const signal = propagate(spec);
  const law = new UniversalLaw(signal.c / state.skip ** 2, 2 * state.depth * Math.log(Math.abs(state.skip)));
  const middle = state.unit ? 1 : Math.sqrt(signal.q[signal.q.length - 1]);
  const dual = middle > 0 ? dualActivation(activation, middle) : null;
  const crossing = outlierDirection(signal, spec.sigmaW);
  return { state, activation, sigmaW: spec.sigmaW, signal, law, dual, crossing, warnings: warningsOf(spec, signal, law, crossing) };
}

function targetOf(state) {
  if (state.mode === "c") return state.amount;
  if (state.mode === "condition") return cumulantFromConditionNumber(state.amount) * state.skip ** 2;
  return null;
}

// E phi'(h) h over the root of E phi'^2 E h^2, where it is largest: what drives an outlier.
function outlierDirection(signal, sigmaW) {
  let most = 0;
  signal.cross.forEach((cross, i) => {
    const slopes = signal.chi[i] * signal.q[i];
    if (slopes > 0) most = Math.max(most, (sigmaW * Math.abs(cross)) / Math.sqrt(slopes));
  });
  return most;
}

function warningsOf(spec, signal, law, crossing) {
  const said = [];
  const { activation } = spec;
  if (crossing > 1e-9) {
    const more = spec.centre
      ? "With the mean subtracted it grows like the root of the depth."
      : "Subtracting the mean or random signs tame it.";
    said.push(
      "An outlier: E φ'(h) h is not 0, so one singular value leaves the bulk along the mean direction. " +
        `${sizeOf(spec, law)}${more} isometry.predict_outliers gives its size.`,
    );
  }
  if (activation.jumps.length) {
    said.push(`${activation.name} jumps at h = ${activation.jumps.join(", ")}: its derivative is taken almost everywhere, so c does not see the jumps.`);
  }
  const reach = 6 * Math.sqrt(Math.max(...signal.q));
  if (activation.formula && activation.unresolved < reach) {
    said.push(`The formula has features from |h| = ${shortNumber(activation.unresolved)} on that the averages do not resolve: these numbers are not accurate, or have no limit.`);
  }
  if (law.c > 0 && law.c ** 2 / spec.depth > 0.2) {
    said.push(`At depth ${spec.depth} the universal law is off by about c²/L = ${shortNumber(law.c ** 2 / spec.depth)} in log λ; isometry.finite_depth_law is exact.`);
  }
  return said;
}

// The lower bound of the outlier in words. A subtracted mean or a given variance is a number of the
// network's own, which the slope of |f| would have to hold fixed.
function sizeOf(spec, law) {
  if (spec.centre || spec.unit || !(spec.m2 > 0)) return "";
  const least = steepestGrowth(spec);
  const edge = Math.exp(law.logSupport()[1] / 2);
  if (!(least > edge)) return "";
  return `It is at least ${shortNumber(least)}, by which |f| grows where x moves uphill; the bulk ends at ${shortNumber(edge)}. `;
}

// The rows of the table of numbers: a name, a value for people.
export function numbersOf(result) {
  const { state, law, signal, sigmaW } = result;
  const [low, high] = law.logSupport().map((x) => Math.exp(x / 2));
  const last = signal.m2.length - 1;
  return [
    ["Effective cumulant c", signal.c],
    ...(state.skip === 1 ? [] : [["c of the law, c / a²", law.c]]),
    ["σ_w", sigmaW],
    ["Standard deviation of a weight, σ_w / √(N L)", sigmaW / Math.sqrt(state.width * state.depth)],
    ["Smallest singular value s₋", low],
    ["Largest singular value of the bulk s₊", high],
    ["Condition number s₊ / s₋", law.conditionNumber()],
    ["Median singular value", Math.exp(law.logScale / 2)],
    ["Mean of λ = s²", law.mean()],
    ["Variance of log λ", law.logVariance()],
    ["Mean square of the stream after the last layer", signal.m2[last]],
    ["Growth of the stream, root mean square", Math.sqrt(signal.m2[last] / state.m2)],
    ["Mean of the stream after the last layer", signal.m1[last]],
    ["Distance to the law of one matrix of this width, 6 / N", 6 / state.width],
  ];
}
