// An activation from a typed formula: where it bends, and panels on which a polynomial follows it.

import { LADDER } from "./activations.js";
import { FUNCTIONS } from "./functions.js";
import { evaluateTree, FormulaError, parseFormula, switches } from "./formula.js";
import { gaussLegendre } from "./special.js";

const MOST_PANELS = 300;
const HALVINGS = 30;
const ROUGH = 1e-8; // of a panel's part of an average, where halving has an end
const SMOOTH = 1e-9; // last two Legendre coefficients over the largest: degree 19 follows phi
const FARTHEST = 1024; // of h: beyond it panels are not refined
const { nodes: NODES, weights: WEIGHTS } = gaussLegendre(20);

// Make the activation of a formula; a wrong one gives a FormulaError with a sentence.
export function typedActivation(text) {
  const tree = parseFormula(text);
  const evaluate = (h) => evaluateTree(tree, h);
  const kinks = bends(tree);
  const { points, unresolved } = refined(evaluate, [...new Set([...kinks, ...LADDER])].sort((a, b) => a - b));
  const usual = evaluate(Float64Array.of(-1.5, -0.3, 0.3, 1.5))[0];
  if (!usual.every(Number.isFinite)) {
    throw new FormulaError(
      "The formula is not finite at h = " +
        `${[-1.5, -0.3, 0.3, 1.5][usual.findIndex((x) => !Number.isFinite(x))]}; expected a finite value for every h.`,
    );
  }
  return { name: text.trim(), tree, kinks, jumps: [], odd: isOdd(evaluate), points, unresolved, evaluate, formula: true };
}

// Roots of the switching functions, by a scan that is dense near 0.
function bends(tree) {
  const h = new Float64Array(4401);
  for (let i = 0; i <= 4000; i++) h[i + 200] = (i - 2000) / 50;
  for (let i = 1; i <= 200; i++) {
    h[200 - i] = -40 * 1.03 ** i;
    h[4200 + i] = 40 * 1.03 ** i;
  }
  const found = new Set();
  for (const g of switches(tree)) {
    const values = g(h);
    for (let i = 0; i + 1 < h.length; i++) {
      if (Math.sign(values[i]) !== Math.sign(values[i + 1])) found.add(bisect(g, h[i], h[i + 1]));
    }
  }
  const sorted = [...found].sort((a, b) => a - b);
  return sorted.filter((x, i) => i === 0 || x - sorted[i - 1] > 1e-12 * Math.max(1, Math.abs(x)));
}

// The place between low and high where the sign changes: at 0, from 0 or to 0.
function bisect(g, low, high) {
  const at = (h) => Math.sign(g(Float64Array.of(h))[0]);
  let [a, b] = [low, high];
  const before = at(a);
  for (let turn = 0; turn < 60 && b - a > 0; turn++) {
    const middle = (a + b) / 2;
    if (middle === a || middle === b) break;
    if (at(middle) === before) a = middle;
    else b = middle;
  }
  return before === 0 ? a : b;
}

// Halve panels until a polynomial of degree 19 follows the values and the slopes.
function refined(evaluate, points) {
  const done = [...points];
  let unresolved = Infinity;
  const queue = points.slice(1).map((high, i) => [points[i], high, 0]);
  queue.sort((a, b) => distance(a) - distance(b)); // what counts most comes first
  for (let next = 0; next < queue.length; next++) {
    const [low, high, halvings] = queue[next];
    const rough = distance(queue[next]) < FARTHEST ? roughness(evaluate, low, high) : 0;
    if (rough === 0) continue;
    if (halvings === HALVINGS || done.length >= MOST_PANELS) {
      if (rough * (high - low) > ROUGH) unresolved = Math.min(unresolved, distance(queue[next]));
      continue;
    }
    const middle = (low + high) / 2;
    done.push(middle);
    queue.push([low, middle, halvings + 1], [middle, high, halvings + 1]);
  }
  return { points: done.sort((a, b) => a - b), unresolved };
}

function distance([low, high]) {
  return low * high <= 0 ? 0 : Math.min(Math.abs(low), Math.abs(high));
}

// What a polynomial of degree 19 misses of the values and the slopes on a panel; 0 where nothing.
function roughness(evaluate, low, high) {
  const rows = evaluate(NODES.map((x) => low + (high - low) * x));
  return rows.reduce((most, values) => {
    if (!values.every(Number.isFinite)) return most; // nothing to resolve; the averages say so
    const size = values.reduce((top, x) => Math.max(top, Math.abs(x)), 0);
    const tail = [17, 18, 19].reduce((top, order) => Math.max(top, Math.abs(legendre(values, order))), 0);
    return tail <= SMOOTH * size + 1e-14 ? most : Math.max(most, tail);
  }, 0);
}

function legendre(values, order) {
  let total = 0;
  for (let i = 0; i < values.length; i++) {
    const x = 2 * NODES[i] - 1;
    let before = 1;
    let now = x;
    for (let k = 2; k <= order; k++) [before, now] = [now, ((2 * k - 1) * x * now - (k - 1) * before) / k];
    total += WEIGHTS[i] * values[i] * now;
  }
  return (2 * order + 1) * total;
}

function isOdd(evaluate) {
  const h = Float64Array.from({ length: 64 }, (_, k) => 0.01 * 1.15 ** k);
  const [right] = evaluate(h);
  const [left] = evaluate(h.map((x) => -x));
  return right.every((x, i) => Math.abs(x + left[i]) <= 1e-14 * Math.abs(x));
}

// The formula in NumPy's words, for the lines of Python.
export function pythonFormula(text) {
  return spell(parseFormula(text), 0);
}

const RANK = { "+": 1, "-": 1, "*": 2, "/": 2, negate: 3, "^": 4 };

function spell(tree, outer) {
  if (tree.op === "number") return tree.name ? `np.${tree.name}` : String(tree.value);
  if (tree.op === "h") return "h";
  const rank = RANK[tree.op];
  if (!rank) return `${FUNCTIONS[tree.op].python}(${tree.args.map((part) => spell(part, 0)).join(", ")})`;
  const inside = inOperator(tree, rank);
  return rank < outer ? `(${inside})` : inside;
}

function inOperator(tree, rank) {
  if (tree.op === "negate") return `-${spell(tree.args[0], rank)}`;
  const [left, right] = tree.args;
  if (tree.op === "^") return `${spell(left, 5)}**${spell(right, 3)}`;
  return `${spell(left, rank)} ${tree.op} ${spell(right, rank + 1)}`;
}
