// Small figures as SVG: axes, curves, steps, lines; for eyes and, as a sentence, for ears.

import { shortNumber } from "../theory.js";

// Told apart with any colour vision, on white and on black: those of Python's plots.
export const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1"];
export const DASHES = ["", "7 3", "2 3", "9 3 2 3", "4 2", "12 4", "1 2"];
const SPACE = "http://www.w3.org/2000/svg";
const MARGIN = { left: 58, right: 14, top: 12, bottom: 42 };

export function element(name, attributes = {}, text = "") {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  if (text) made.textContent = text;
  return made;
}

// marks: [{ kind: "line" | "steps" | "vertical", x, y, color, dash, label }]
export function drawFigure(figure, { x, y, marks, description, caption, width, height }) {
  const frame = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  const toX = scaleOf(x, frame.left, frame.right);
  const toY = scaleOf(y, frame.bottom, frame.top);
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": description, "font-family": "system-ui, sans-serif", "font-size": 13, xmlns: SPACE });
  axes(svg, x, y, toX, toY, frame);
  const clip = `clip-${figure.id}`;
  const hole = element("clipPath", { id: clip });
  hole.append(element("rect", { x: frame.left, y: frame.top - 2, width: frame.right - frame.left, height: frame.bottom - frame.top + 3 }));
  const inside = element("g", { "clip-path": `url(#${clip})` });
  svg.append(hole, inside);
  for (const mark of marks) drawMark(inside, mark, toX, toY, frame);
  const words = document.createElement("figcaption");
  words.textContent = caption;
  figure.replaceChildren(svg, words);
}

function scaleOf({ range: [low, high], log }, from, to) {
  const f = log ? Math.log : (v) => v;
  const span = f(high) - f(low) || 1;
  return (value) => from + ((f(value) - f(low)) / span) * (to - from);
}

function axes(svg, x, y, toX, toY, frame) {
  const ink = { stroke: "currentColor", "stroke-width": 1 };
  svg.append(element("path", { d: `M${frame.left} ${frame.top}V${frame.bottom}H${frame.right}`, fill: "none", ...ink }));
  for (const { at, text } of ticksOf(x)) {
    const place = toX(at);
    if (place < frame.left - 1 || place > frame.right + 1) continue;
    svg.append(element("path", { d: `M${place} ${frame.bottom}v5`, ...ink }));
    svg.append(element("text", { x: place, y: frame.bottom + 18, "text-anchor": "middle", fill: "currentColor" }, text));
  }
  for (const { at, text } of ticksOf(y)) {
    const place = toY(at);
    if (place > frame.bottom + 1 || place < frame.top - 1) continue;
    svg.append(element("path", { d: `M${frame.left} ${place}h-5`, ...ink }));
    svg.append(element("text", { x: frame.left - 8, y: place + 4, "text-anchor": "end", fill: "currentColor" }, text));
  }
  svg.append(element("text", { x: (frame.left + frame.right) / 2, y: frame.bottom + 37, "text-anchor": "middle", fill: "currentColor" }, x.label));
  const middle = (frame.top + frame.bottom) / 2;
  svg.append(element("text", { x: 14, y: middle, "text-anchor": "middle", fill: "currentColor", transform: `rotate(-90 14 ${middle})` }, y.label));
}

// Ticks; an axis with `exponential` is one of logarithms and shows what they are of.
export function ticksOf({ range: [low, high], log, exponential }) {
  if (log) return ticksOf({ range: [Math.log(low), Math.log(high)], exponential: true }).map(({ at, text }) => ({ at: Math.exp(at), text }));
  if (exponential) return powers(low / Math.LN10, high / Math.LN10);
  const step = niceStep((high - low) / 5);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: Math.max(count, 0) }, (_, i) => ({ at: (first + i) * step, text: shortNumber(Number(((first + i) * step).toPrecision(10))) }));
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((x) => x * power >= rough * 0.999) * power;
}

// Decades, with 2 and 5 between where there are few
function powers(low, high) {
  const found = [];
  const steps = high - low > 2.5 ? [1] : high - low > 0.5 ? [1, 2, 5] : [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9];
  const every = Math.max(1, Math.ceil((high - low) / 7));
  for (let decade = Math.floor(low); decade <= high; decade++) {
    if (steps.length === 1 && decade % every !== 0) continue;
    for (const digit of steps) {
      const place = decade + Math.log10(digit);
      if (place < low - 1e-9 || place > high + 1e-9) continue;
      const plain = Math.abs(decade) < 4;
      found.push({ at: place * Math.LN10, text: plain ? shortNumber(digit * 10 ** decade) : `${digit === 1 ? "" : `${digit}·`}1e${decade}` });
    }
  }
  return found;
}

function drawMark(svg, mark, toX, toY, frame) {
  const style = { fill: "none", stroke: mark.color, "stroke-width": mark.thin ? 1.2 : 2.2, "stroke-dasharray": mark.dash ?? "" };
  if (mark.kind === "vertical") {
    const place = toX(mark.x);
    svg.append(element("path", { d: `M${round(place)} ${frame.top}V${frame.bottom}`, ...style }));
    return;
  }
  if (mark.kind === "triangle") {
    const place = toX(mark.x);
    svg.append(element("path", { d: `M${round(place - 5)} ${frame.bottom - 11}h10l-5 9z`, fill: mark.color }));
    return;
  }
  const points = mark.x.map((at, i) => `${round(toX(at))} ${round(toY(mark.y[i]))}`);
  svg.append(element("path", { d: `M${points.join("L")}`, "stroke-linejoin": "round", ...style, ...(mark.filled ? { fill: mark.color, "fill-opacity": 0.18 } : {}) }));
  if (points.length === 1) svg.append(element("circle", { cx: toX(mark.x[0]), cy: toY(mark.y[0]), r: 3, fill: mark.color }));
}

function round(value) {
  return Math.round(Math.min(Math.max(value, -1e5), 1e5) * 100) / 100;
}

// The steps of a histogram as points of a line.
export function stepsOf({ edges, heights }) {
  const x = [];
  const y = [];
  heights.forEach((height, i) => {
    if (i === 0) x.push(edges[0]), y.push(0);
    x.push(edges[i], edges[i + 1]);
    y.push(height, height);
  });
  if (heights.length) x.push(edges[heights.length]), y.push(0);
  return { x, y };
}

// A short stroke of a curve's colour and dashes, for its name.
export function swatch(color, dash) {
  const svg = element("svg", { viewBox: "0 0 36 10", "aria-hidden": "true" });
  svg.append(element("path", { d: "M0 5H36", stroke: color, "stroke-width": 3, "stroke-dasharray": dash ?? "" }));
  return svg;
}

// A figure as a file: with the ink that the page has now.
export function svgText(figure) {
  const svg = figure.querySelector("svg").cloneNode(true);
  svg.setAttribute("color", getComputedStyle(figure).color);
  return `${new XMLSerializer().serializeToString(svg)}\n`;
}
