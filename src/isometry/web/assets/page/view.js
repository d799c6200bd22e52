// From results to what is seen: headline, warnings, figures, tables. Text goes in as text only.

import { distanceToLaw, histogram, shortNumber } from "../theory.js";
import { DASHES, drawFigure, PALETTE, stepsOf, swatch } from "./figure.js";
import { numbersOf, titleOf } from "./model.js";

const byId = (id) => document.getElementById(id);

export function make(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// As wide as the place it has, so that its letters keep their size on a narrow screen.
export function sizeOf(id, ratio) {
  const width = Math.round(Math.min(Math.max(byId(id).clientWidth || 640, 300), 900));
  return { width, height: Math.round(Math.min(Math.max(width * ratio, 210), 380)) };
}

export function showHeadline(result) {
  const { law, signal } = result;
  const [low, high] = law.logSupport().map((x) => Math.exp(x / 2));
  const main = make("b", `c = ${shortNumber(signal.c)}`);
  const spread =
    law.c === 0
      ? `: every singular value is ${shortNumber(high)}; dynamical isometry.`
      : `: singular values from ${shortNumber(low)} to ${shortNumber(high)}, condition number ${shortNumber(law.conditionNumber())}.`;
  byId("headline").replaceChildren(main, spread);
  byId("warnings").replaceChildren(...result.warnings.map((text) => make("li", text)));
}

// The curves: the one of the controls, the locked ones, the measured ones with their laws.
export function curvesOf(result, locked, dropped) {
  const curves = [result, ...locked].map((one, i) => ({ name: titleWith(one), law: one.law, lock: i - 1, kind: "law" }));
  for (const [index, file] of dropped.entries()) {
    if (file.spectrum) curves.push({ name: `measured: ${file.title}`, spectrum: file.spectrum, file: index, kind: "measured" });
    if (file.law) curves.push({ name: `its law: ${file.title}, c = ${shortNumber(file.law.c)}`, law: file.law, file: index, kind: "law" });
  }
  return curves.map((curve, i) => ({ ...curve, color: PALETTE[i % PALETTE.length], dash: curve.kind === "law" ? DASHES[i % DASHES.length] : "" }));
}

function titleWith({ state, signal, sigmaW }) {
  const skip = state.skip === 1 ? "" : `, skip ${shortNumber(state.skip)}`;
  return `${titleOf(state)}, L = ${state.depth}, σ_w = ${shortNumber(sigmaW)}${skip}, c = ${shortNumber(signal.c)}`;
}

export function showDensity(curves, view) {
  const marks = curves.flatMap((curve) => (curve.spectrum ? measuredMarks(curve, view) : lawMarks(curve, view)));
  const [main] = curves;
  const [low, high] = main.law.logSupport();
  const onLog = view === "log";
  const at = onLog ? (x) => x / 2 : (x) => Math.exp(x / 2);
  const range = spanOf(marks, onLog);
  const { top, cut } = heightOf(marks);
  marks.push(...(main.law.c > 0 ? [low, high].map((x) => ({ kind: "vertical", x: at(x), color: main.color, dash: "3 3", thin: true })) : []));
  drawFigure(byId("density"), {
    x: { label: onLog ? "singular value s, logarithmic" : "singular value s", range, exponential: onLog },
    y: { label: onLog ? "density of log λ" : "density in s", range: [0, top * 1.06 || 1] },
    marks,
    ...sizeOf("density", 0.46),
    description: `Density of the singular values: ${curves.map((curve) => curve.name).join("; ")}. Edges at ${shortNumber(Math.exp(low / 2))} and ${shortNumber(Math.exp(high / 2))}.`,
    caption:
      `Dashed verticals: the edges s₋ = ${shortNumber(Math.exp(low / 2))} and s₊ = ${shortNumber(Math.exp(high / 2))}. ` +
      `Triangles: values that stand apart.${cut ? ` A peak is cut off at the top; it reaches ${shortNumber(cut)}.` : ""}`,
  });
}

// The height of the picture: a narrow peak, as the density in s has at small s, must not flatten the rest.
function heightOf(marks) {
  const heights = marks.flatMap((mark) => mark.y ?? []).filter((y) => Number.isFinite(y) && y > 0).sort((a, b) => a - b);
  if (heights.length === 0) return { top: 0, cut: 0 };
  const most = heights[heights.length - 1];
  const usual = 4 * heights[Math.floor(heights.length / 2)];
  return most > 2 * usual ? { top: usual, cut: most } : { top: most, cut: 0 };
}

function lawMarks({ law, color, dash }, view) {
  const { logLam, density } = law.curve();
  if (law.c === 0) return [{ kind: "vertical", x: view === "log" ? law.logScale / 2 : Math.exp(law.logScale / 2), color, dash }];
  if (view === "log") return [{ kind: "line", x: logLam.map((x) => x / 2), y: density, color, dash }];
  const s = logLam.map((x) => Math.exp(x / 2));
  return [{ kind: "line", x: s, y: density.map((value, i) => (2 * value) / s[i]), color, dash }];
}

function measuredMarks({ spectrum, color }, view) {
  const steps = stepsOf(histogram(bulkOf(spectrum), view));
  const away = spectrum.positive.slice(bulkOf(spectrum).positive.length).map((row) => row.logLam / 2);
  const triangles = away.map((x) => ({ kind: "triangle", x: view === "log" ? x : Math.exp(x), color }));
  return [{ kind: "steps", ...steps, color, filled: true }, ...triangles];
}

// The values without those at the top that stand apart by more than half the others' span in log lam.
function bulkOf(spectrum) {
  const { positive } = spectrum;
  let stop = positive.length;
  for (let i = positive.length - 1; i > positive.length - 6 && i > 4; i--) {
    const span = positive[i - 1].logLam - positive[0].logLam;
    if (positive[i].logLam - positive[i - 1].logLam > Math.max(0.25 * span, 0.2)) stop = i;
  }
  return { ...spectrum, positive: positive.slice(0, stop) };
}

function spanOf(marks, onLog) {
  const all = marks.flatMap((mark) => mark.x).filter(Number.isFinite);
  const low = onLog ? all.reduce((a, b) => Math.min(a, b), Infinity) : 0;
  const high = all.reduce((a, b) => Math.max(a, b), -Infinity);
  const pad = 0.04 * (high - low) || 0.5;
  return onLog ? [low - pad, high + pad] : [0, high + pad];
}

export function showLayers(result, locked) {
  const all = [result, ...locked];
  const chi = all.map((one) => one.signal.chi);
  const rms = all.map((one) => one.signal.m2.map(Math.sqrt));
  const deepest = all.reduce((most, one) => Math.max(most, one.state.depth), 1);
  const x = { label: "layer", range: [1, Math.max(deepest, 2)] };
  const lines = (rows) => rows.map((y, i) => thinned(y, { color: PALETTE[i % PALETTE.length], dash: DASHES[i % DASHES.length] }));
  const tallest = largest(chi);
  drawFigure(byId("layers"), {
    x, y: { label: "c of a layer", range: [0, tallest * 1.08 || 1] }, marks: lines(chi), ...sizeOf("layers", 0.6),
    description: `c per layer: from ${shortNumber(chi[0][0])} in the first to ${shortNumber(chi[0].at(-1))} in the last.`,
    caption: "c per layer, σ_w² E φ'(h)²; its mean is c.",
  });
  const high = largest(rms);
  const low = rms.flat().reduce((a, b) => (b > 0 ? Math.min(a, b) : a), Infinity);
  const log = high / low > 30;
  drawFigure(byId("stream"), {
    x, y: { label: "root mean square of x", log, range: log ? [low / 1.2, high * 1.2] : [0, high * 1.08 || 1] }, marks: lines(rms), ...sizeOf("stream", 0.6),
    description: `Growth of the stream: from ${shortNumber(Math.sqrt(result.state.m2))} at the input to ${shortNumber(rms[0].at(-1))} after the last layer.`,
    caption: "Growth of the stream, layer by layer.",
  });
}

function largest(rows) {
  return rows.reduce((most, row) => row.reduce((a, b) => Math.max(a, b), most), 0);
}

// At most 400 points of a line over the layers
function thinned(y, style) {
  const step = Math.max(1, Math.floor(y.length / 400));
  const places = y.map((_, i) => i).filter((i) => i % step === 0 || i === y.length - 1);
  return { kind: "line", x: places.map((i) => i + 1), y: places.map((i) => y[i]), ...style };
}

export function showCurves(curves, unlock, remove) {
  const rows = curves.map((curve) => {
    const row = make("li");
    row.append(swatch(curve.color, curve.dash), make("span", curve.name));
    if (curve.lock >= 0 || curve.kind === "measured") {
      const button = make("button", "Remove", { type: "button", "aria-label": `Remove ${curve.name}` });
      button.addEventListener("click", () => (curve.lock >= 0 ? unlock(curve.lock) : remove(curve.file)));
      row.append(button);
    }
    return row;
  });
  byId("curves").replaceChildren(...rows);
}

export function showNumbers(result, locked) {
  const all = [result, ...locked];
  const rows = numbersOf(result).map(([name]) => [name, ...all.map((one) => {
    const found = numbersOf(one).find(([other]) => other === name);
    return found ? shortNumber(found[1]) : "";
  })]);
  const head = ["", ...all.map((one, i) => (i ? titleOf(one.state) : `${titleOf(one.state)} (now)`))];
  byId("numbers").replaceChildren(tableOf(head, rows));
}

export function tableOf(head, rows) {
  const table = make("table");
  const top = make("tr");
  top.append(...head.map((text, i) => make("th", text, { scope: "col", class: i ? "number" : "" })));
  const body = make("tbody");
  for (const cells of rows) {
    const row = make("tr");
    row.append(...cells.map((text, i) => (i ? make("td", text, { class: "number" }) : make("th", text, { scope: "row" }))));
    body.append(row);
  }
  const over = make("thead");
  over.append(top);
  table.append(over, body);
  const around = make("div", "", { class: "scroll" });
  around.append(table);
  return around;
}

export function showFiles(dropped, result, actions) {
  byId("files").replaceChildren(...dropped.map((file, index) => fileCard(file, index, result, actions)));
}

function fileCard(file, index, result, actions) {
  const card = make("article");
  card.append(make("h3", `${file.title}: ${file.kind}`));
  if (file.spectrum) {
    const parts = [`${file.spectrum.rows.length} values`];
    if (file.law) parts.push(`distance to its own law, c = ${shortNumber(file.law.c)}: ${shortNumber(distanceToLaw(file.spectrum, file.law))}`);
    parts.push(`distance to the law of the controls: ${shortNumber(distanceToLaw(file.spectrum, result.law))}`);
    if (file.spectrum.zero > 0) parts.push(`${shortNumber(100 * file.spectrum.zero)} % are 0 and not drawn`);
    if (file.spectrum.hidden > 0) parts.push(`${shortNumber(100 * file.spectrum.hidden)} % are not resolved and not drawn`);
    card.append(make("p", `${parts.join("; ")}.`));
  }
  for (const text of file.sentences) card.append(make("p", text));
  if (file.rows.length) {
    const keys = Object.keys(file.rows[0]);
    const table = tableOf(keys, file.rows.map((row) => keys.map((key) => row[key])));
    for (const cell of table.querySelectorAll(".number")) cell.classList.remove("number");
    card.append(table);
  }
  const button = make("button", "Remove", { type: "button", "aria-label": `Remove ${file.title}` });
  button.addEventListener("click", () => actions.remove(index));
  const row = make("div", "", { class: "buttons" });
  if (file.law) {
    const take = make("button", "Set the controls to its c", { type: "button" });
    take.addEventListener("click", () => actions.take({ mode: "c", amount: file.law.c }));
    row.append(take);
  }
  row.append(button);
  card.append(row);
  return card;
}
