// The mathematics of the page: everything that the rest of it may ask of the theory.

export { NAMED, namedActivation } from "./theory/activations.js";
export { dualActivation, expand } from "./theory/dual.js";
export { FormulaError, parseFormula } from "./theory/formula.js";
export { gaussianMoments } from "./theory/gaussian.js";
export { cumulantFromConditionNumber, shortNumber, UniversalLaw } from "./theory/law.js";
export { leastSquares, OutOfReach, searchPoint } from "./theory/point.js";
export { averagesOf, propagate, solveSigmaW, steepestGrowth } from "./theory/propagation.js";
export { distanceToLaw, histogram, spectrumOf } from "./theory/spectrum.js";
export { pythonFormula, typedActivation } from "./theory/typed.js";
