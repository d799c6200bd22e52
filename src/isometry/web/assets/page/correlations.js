// What an activation does to correlations, as a figure and as shares: of the network, of a model
// activation, and of the network's at its working point.

import { dualActivation, namedActivation, shortNumber } from "../theory.js";
import { DASHES, drawFigure, PALETTE, swatch } from "./figure.js";
import { titleOf } from "./model.js";
import { make, sizeOf, tableOf } from "./view.js";

const byId = (id) => document.getElementById(id);
// Dense at the ends, where a kink's curve turns.
const RHO = Array.from({ length: 121 }, (_, i) => -Math.cos((Math.PI * i) / 120));
const ORDERS = ["linear", "quadratic", "order 3", "order 4", "order 5", "order 6", "order 7", "order 8"];
const DUALS = new Map(); // of model activations, which stay as they are

export function dualOf(name) {
  if (!DUALS.has(name)) DUALS.set(name, dualActivation(namedActivation(name), 1));
  return DUALS.get(name);
}

// found: what a search has of the working point, { point, dual }, or null.
export function showCorrelations(result, locked, found) {
  const curves = curvesOf(result, locked, found);
  drawDual(curves);
  byId("dual-curves").replaceChildren(...curves.map(({ name, color, dash }) => {
    const row = make("li");
    row.append(swatch(color, dash), make("span", name));
    return row;
  }));
  showShares(result, found);
}

function curvesOf(result, locked, found) {
  const own = [result, ...locked].map((one) => ({ name: `${titleOf(one.state)} at the last layer, c = ${shortNumber(one.signal.c)}`, dual: one.dual }));
  const { like } = result.state;
  if (like) own.push({ name: `${like}, as it is`, dual: dualOf(like) });
  if (found) own.push({ name: `${titleOf(result.state)} at its working point`, dual: found.dual });
  return own.map((curve, i) => ({ ...curve, color: PALETTE[i % PALETTE.length], dash: DASHES[i % DASHES.length] })).filter(({ dual }) => dual && dual.energy > 0);
}

function drawDual(curves) {
  const marks = [{ kind: "line", x: [-1, 1], y: [-1, 1], color: "currentColor", thin: true, dash: "1 4" }];
  for (const { dual, color, dash } of curves) marks.push({ kind: "line", x: RHO, y: RHO.map((rho) => dual.kappa(rho) / dual.energy), color, dash });
  const low = Math.min(0, ...marks.slice(1).flatMap((mark) => mark.y));
  const at = (dual) => shortNumber(dual.kappa(0.5) / dual.energy);
  drawFigure(byId("dual"), {
    x: { label: "correlation ρ of the inputs", range: [-1, 1] },
    y: { label: "κ(ρ) / κ(1)", range: [low - 0.04, 1.04] },
    marks,
    ...sizeOf("dual", 0.5),
    description: `The dual activation: correlation of the outputs over that of the inputs. At 0.5 it is ${curves.map(({ name, dual }) => `${at(dual)} for ${name}`).join("; ")}.`,
    caption: "The dual activation κ(ρ) = E ψ(u) ψ(v), with ψ = φ less its mean, over κ(1). Dotted: outputs as correlated as the inputs.",
  });
}

function showShares(result, found) {
  const { like } = result.state;
  const columns = [[`${titleOf(result.state)} (now)`, result.dual]];
  if (like) columns.push([like, dualOf(like)]);
  if (found) columns.push(["at its working point", found.dual]);
  const shares = columns.map(([, dual]) => (dual && dual.energy > 0 ? [...dual.shares.slice(0, 8)] : null));
  const cell = (x) => x.toFixed(4);
  const rows = ORDERS.map((name, k) => [name, ...shares.map((all) => (all ? cell(all[k]) : ""))]);
  rows.push(["higher orders", ...shares.map((all) => (all ? cell(Math.max(1 - all.reduce((a, b) => a + b, 0), 0)) : ""))]);
  const text = shares[0]
    ? "Hermite shares of ψ's energy at the last layer's pre-activations: networks of equal c and equal shares have equal kernels."
    : "The activation is constant here: it has no shares.";
  byId("shares").replaceChildren(make("p", text, { class: "help" }), tableOf(["share", ...columns.map(([name]) => name)], rows));
}

// The working point in numbers, what is in the way of it, or that it is being looked for.
export function showPoint(state, { point, message, busy }) {
  const said = byId("point-said");
  const text = busy ? "Searching the working point…" : (message ?? (point ? sentence(state, point) : ""));
  if (said.textContent !== text) said.textContent = text; // what is said again would be read again
  said.className = message ? "error" : "";
  byId("point").replaceChildren(...(point ? [tableOf(["ψ(u) = φ(β u + δ) − m", ""], numbersOf(point))] : []));
}

function sentence(state, point) {
  const reached = point.miss < 1e-6 ? "" : `, within ${shortNumber(point.miss)}`;
  const signed = point.shift < 0 ? `− ${shortNumber(-point.shift)}` : `+ ${shortNumber(point.shift)}`;
  return `${titleOf(state)}(${shortNumber(point.scale)} u ${signed}) has the linear and the quadratic share of ${state.like}${reached}, for u of unit variance.`;
}

function numbersOf(point) {
  const rows = [
    ["Scale β", point.scale],
    ["Shift δ", point.shift],
    ["Mean m", point.mean],
    ["Energy E ψ²", point.energy],
    ["Slope E ψ'²: c of a layer of σ_w = 1", point.slopeSquare],
    ["Linear share", point.shares[0]],
    ["Quadratic share", point.shares[1]],
    ["Fourth moment E ψ⁴ / (E ψ²)²", point.fourthMoment],
    ["Larger miss of the two shares", point.miss],
    ["Distance of the shares of orders 1 to 8", point.distance],
  ];
  return rows.map(([name, value]) => [name, shortNumber(Math.abs(value) < 1e-9 ? 0 : value)]);
}
