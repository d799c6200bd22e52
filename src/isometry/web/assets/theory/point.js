// The scale and the shift that give an activation another one's shares: the rules of Python's
// working_point.py and point_search.py. The search is a generator, so that a page can do other
// things between its steps: it takes a second or so.

import { expand } from "./dual.js";

const ORDERS = 8; // shares that decide between several points
const TOLERANCE = 0.02; // of a share that is not reached
const SCALES = Array.from({ length: 46 }, (_, i) => 0.02 * 50000 ** (i / 45));
const PLACES = Array.from({ length: 41 }, (_, i) => Math.sinh((7 * i) / 40 - 3.5) / 3); // of shift / sqrt(1 + scale^2)
const FURTHEST = 6;
const FLAT = 1e-8; // energy over E phi^2 of what is a constant, and its shares rounding
const NEAR = 0.005; // a distance in shares that no curve of learning was seen to show
const REACHED = 1e-9;
const STEPS = 40;

// A point that is out of reach: its message is for people.
export class OutOfReach extends Error {}

// Search the working point of an activation with the shares of another: yields now and then, returns
// { scale, shift, miss, distance } and what expand says of the point.
export function* searchPoint(act, like) {
  const wanted = expand(like, 1, 0, ORDERS);
  const target = { shares: wanted.shares, sign: wanted.coefficients[1] < 0 ? -1 : 1, name: like.name };
  const scales = hasNoScale(act) ? [1] : SCALES;
  const grid = [];
  for (const scale of scales) {
    const row = [];
    for (const place of PLACES) {
      row.push(Math.abs(place) <= FURTHEST ? sharesAt(act, [Math.log(scale), place]) : null);
      yield;
    }
    grid.push(row);
  }
  const found = yield* best({ act, target, scales, grid });
  if (!found) throw new OutOfReach(outOfReach(act, target, grid));
  return { ...expand(act, found.scale, found.shift, ORDERS), ...found };
}

function* best(search) {
  const asItIs = candidate(search, [0, 0]);
  if (asItIs.miss < REACHED && asItIs.distance < REACHED) return asItIs;
  const reached = (yield* minima(search, 2)).filter((one) => one.miss < REACHED);
  const near = (yield* nearly(search)).filter((one) => one.miss <= TOLERANCE);
  const limit = near.reduce((least, one) => Math.min(least, one.distance), Infinity) + NEAR;
  const alike = reached.filter((one) => one.distance <= limit);
  return first(alike.length ? alike : near);
}

// The nearest; of such the one with the target's sign; then that of the smallest scale.
function first(candidates) {
  const nearest = candidates.reduce((least, one) => Math.min(least, one.distance), Infinity);
  const rank = (one) => [one.mirrored ? 1 : 0, Math.round(Math.log(one.scale) * 1e5), Math.abs(one.shift)];
  const alike = candidates.filter((one) => one.distance <= nearest + NEAR).map((one) => [rank(one), one]);
  alike.sort(([a], [b]) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
  return alike.length ? alike[0][1] : null;
}

function shiftOf([logScale, place]) {
  return place * Math.hypot(1, Math.exp(logScale));
}

// Shares at [log scale, place], or null where phi is constant or overflows.
function sharesAt(act, at) {
  const found = expand(act, Math.exp(at[0]), shiftOf(at), ORDERS);
  const varies = found.energy > FLAT * (found.energy + found.mean ** 2);
  return varies && Number.isFinite(found.energy) ? found.shares : null;
}

// Whether the shares depend on shift / scale alone, as ReLU's do.
function hasNoScale(act) {
  if (act.kinks.some((place) => place !== 0)) return false;
  return [1, -1].every((sign) => {
    const [small, large] = [1, 3].map((scale) => expand(act, scale, 0.4 * scale * sign, 4).shares);
    return !(Math.max(...small.map((x, i) => Math.abs(x - large[i]))) >= 5e-10);
  });
}

function candidate({ act, target }, at) {
  const scale = Math.exp(at[0]);
  const shift = shiftOf(at);
  const found = expand(act, scale, shift, ORDERS);
  const gaps = found.shares.map((x, i) => Math.abs(x - target.shares[i]));
  const mirrored = found.coefficients[1] * target.sign < 0;
  return { scale, shift, miss: Math.max(gaps[0], gaps[1]), distance: norm(gaps), mirrored };
}

function norm(vector) {
  return Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0));
}

function gapsOf({ act, target }, at, orders) {
  const shares = sharesAt(act, at);
  return shares ? shares.slice(0, orders).map((x, i) => x - target.shares[i]) : new Array(orders).fill(NaN);
}

// Points that nearly have the shares: that of the smallest scale which is near enough, if there is one.
function* nearly(search) {
  const branch = yield* smallestScale(search);
  if (!branch) return yield* minima(search, ORDERS);
  const mirror = candidate(search, [Math.log(branch.scale), -branch.shift / Math.hypot(1, branch.scale)]);
  return [branch, mirror];
}

function* minima(search, orders) {
  const { target, scales, grid } = search;
  const gaps = grid.map((row) => row.map((shares) => (shares ? norm(shares.slice(0, orders).map((x, i) => x - target.shares[i])) : Infinity)));
  const free = scales.length > 1 ? 0 : 1; // without a scale of its own: the shift alone
  const found = [];
  for (const start of startsOf(gaps, scales)) {
    const fixed = start.slice(0, free);
    const moved = yield* descend((part) => gapsOf(search, [...fixed, ...part], orders), start.slice(free));
    found.push(candidate(search, [...fixed, ...moved]));
  }
  return found.filter((one) => one.scale >= SCALES[0] && one.scale <= SCALES[45]);
}

// The grid's local minima, nearest first, at most eight
function startsOf(gaps, scales) {
  const low = [];
  gaps.forEach((row, i) => row.forEach((gap, j) => {
    const around = [-1, 0, 1].flatMap((a) => [-1, 0, 1].map((b) => gaps[i + a]?.[j + b] ?? Infinity));
    if (Number.isFinite(gap) && gap <= Math.min(...around)) low.push([gap, i, j]);
  }));
  low.sort((a, b) => a[0] - b[0]);
  return low.slice(0, 8).map(([, i, j]) => [Math.log(scales[i]), PLACES[j]]);
}

function* smallestScale(search) {
  const { target, scales, grid } = search;
  let before = null;
  for (const [i, row] of grid.entries()) {
    const distances = row.map((shares) => (shares ? norm(shares.map((x, k) => x - target.shares[k])) : Infinity));
    const place = PLACES[distances.indexOf(Math.min(...distances))];
    const at = yield* bestPlace(search, Math.log(scales[i]), place);
    const here = candidate(search, at);
    if (here.distance <= NEAR) return before ? yield* bisected(search, before, at) : here;
    before = at;
  }
  return null;
}

function* bestPlace(search, logScale, start) {
  const [place] = yield* descend(([x]) => gapsOf(search, [logScale, x], ORDERS), [start]);
  return [logScale, place];
}

function* bisected(search, far, near) {
  let [a, b] = [far, near];
  for (let turn = 0; turn < 12; turn++) {
    const middle = yield* bestPlace(search, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
    if (candidate(search, middle).distance <= NEAR) b = middle;
    else a = middle;
  }
  return candidate(search, b);
}

// A local minimum of |gaps|, by Gauss-Newton steps that are halved until they gain.
function* descend(gaps, start) {
  let [at, here] = [start, gaps(start)];
  for (let turn = 0; turn < STEPS; turn++) {
    yield;
    const slopes = at.map((_, i) => slopeAlong(gaps, at, i));
    if (!slopes.flat().every(Number.isFinite)) break;
    const full = leastSquares(slopes, here).map((x) => -x);
    const most = Math.max(...full.map(Math.abs), 1e-300);
    let move = full.map((x) => x * Math.min(1, 0.7 / most));
    let there = null;
    for (let halving = 0; halving < 12; halving++) {
      there = gaps(at.map((x, i) => x + move[i]));
      if (norm(there) < norm(here)) break;
      move = move.map((x) => x / 2);
      there = null;
    }
    if (!there) break;
    const gain = 1 - norm(there) / norm(here);
    at = at.map((x, i) => x + move[i]);
    here = there;
    if (gain < 1e-8 || norm(here) < 1e-13) break;
  }
  return at;
}

function slopeAlong(gaps, at, index) {
  const step = 1e-6;
  const [up, down] = [step, -step].map((move) => gaps(at.map((x, i) => (i === index ? x + move : x))));
  return up.map((x, i) => (x - down[i]) / (2 * step));
}

// The shortest x with least |A x - b|, A given by its one or two columns: a rotation makes them
// orthogonal, and one that is 1e-8 of the other's length counts as 0.
export function leastSquares(columns, b) {
  const dot = (u, v) => u.reduce((sum, x, i) => sum + x * v[i], 0);
  if (columns.length === 1) {
    const square = dot(columns[0], columns[0]);
    return [square > 0 ? dot(columns[0], b) / square : 0];
  }
  const [u, v] = columns;
  const angle = Math.atan2(2 * dot(u, v), dot(u, u) - dot(v, v)) / 2;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const turned = [u.map((x, i) => cos * x + sin * v[i]), u.map((x, i) => cos * v[i] - sin * x)];
  const sizes = turned.map(norm);
  const [x, y] = turned.map((column, i) => (sizes[i] > 1e-8 * Math.max(...sizes) ? dot(column, b) / sizes[i] ** 2 : 0));
  return [cos * x - sin * y, sin * x + cos * y];
}

function outOfReach(act, target, grid) {
  const all = grid.flat().filter(Boolean);
  const range = (k) => {
    const values = all.map((shares) => shares[k]);
    return `[${Math.min(...values).toFixed(4)}, ${Math.max(...values).toFixed(4)}]`;
  };
  return (
    `The linear share of ${act.name} stays within ${range(0)} and its quadratic share within ${range(1)} at every scale ` +
    `and shift, never both near; expected ${target.shares[0].toFixed(4)} and ${target.shares[1].toFixed(4)}, those of ` +
    `${target.name}, within ${TOLERANCE}. Choose another activation or other shares.`
  );
}
