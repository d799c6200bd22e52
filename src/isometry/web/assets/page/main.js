// The page: reads the controls, computes, shows, and keeps the link.

import { NAMED, shortNumber } from "../theory.js";
import { showCorrelations, showPoint } from "./correlations.js";
import { svgText } from "./figure.js";
import { readDropped } from "./files.js";
import { compute } from "./model.js";
import { pythonLines } from "./python.js";
import { pointOf } from "./search.js";
import { decodeAll, DEFAULTS, encodeAll, FORMULA } from "./state.js";
import { csvText } from "./table.js";
import { curvesOf, make, showCurves, showDensity, showFiles, showHeadline, showLayers, showNumbers } from "./view.js";

const byId = (id) => document.getElementById(id);
const NUMBERS = { depth: "depth", width: "width", skip: "skip", "sigma-b": "sigmaB", amount: "amount", m1: "m1", m2: "m2" };
const CHECKS = ["centre", "signs", "unit"];
const MOST_LOCKED = 6;

let state = { ...DEFAULTS };
let locked = []; // results
let dropped = []; // files
let clearing = 0; // the timer that takes a note away
let result = null; // of the controls, the last that was right

function setControls() {
  byId("activation").value = state.activation;
  byId("formula").value = state.formula;
  byId("formula-row").hidden = state.activation !== FORMULA;
  for (const [id, key] of Object.entries(NUMBERS)) byId(id).value = String(state[key]);
  for (const id of CHECKS) byId(id).checked = state[id];
  for (const radio of document.querySelectorAll("[name=mode]")) radio.checked = radio.value === state.mode;
  for (const radio of document.querySelectorAll("[name=view]")) radio.checked = radio.value === state.view;
  byId("like").value = state.like;
  setAmount();
  setParameters();
}

function setAmount() {
  const names = { sigma: "σ_w", c: "Target c", condition: "s₊ / s₋" };
  byId("amount-label").textContent = names[state.mode];
  const base = state.mode === "condition" ? state.amount - 1 : state.amount;
  byId("slider").value = String(Math.log10(Math.max(base, 1e-3)));
  byId("slider").setAttribute("aria-valuetext", shortNumber(state.amount));
}

function setParameters() {
  const known = state.activation === FORMULA ? {} : NAMED[state.activation][0];
  const rows = Object.entries(known).map(([name, usual]) => {
    const row = make("div", "", { class: "pair" });
    const field = Array.isArray(usual) ? make("select", "", { id: `p-${name}` }) : make("input", "", { id: `p-${name}`, type: "number", step: "any", required: "" });
    if (Array.isArray(usual)) field.append(...usual.map((word) => make("option", word, { value: word })));
    field.value = String(state.parameters[name] ?? (Array.isArray(usual) ? usual[0] : usual));
    field.addEventListener("input", () => {
      const value = Array.isArray(usual) ? field.value : numberIn(field);
      const parameters = { ...state.parameters, [name]: value };
      if (value === (Array.isArray(usual) ? usual[0] : usual)) delete parameters[name];
      change({ parameters });
    });
    row.append(make("label", name, { for: `p-${name}` }), field);
    return row;
  });
  byId("parameters").replaceChildren(...rows);
}

function numberIn(field) {
  return field.value.trim() === "" ? NaN : Number(field.value);
}

function change(part) {
  state = { ...state, ...part };
  update();
}

// Compute and show; what is wrong is said, and the last right result stays.
function update() {
  const message = byId("message");
  try {
    result = compute(state);
    message.hidden = true;
    message.textContent = "";
  } catch (error) {
    message.textContent = error.message;
    message.hidden = false;
  }
  byId("results").classList.toggle("stale", !message.hidden);
  byId("formula").setAttribute("aria-invalid", String(!message.hidden && state.activation === FORMULA));
  if (message.hidden) history.replaceState(null, "", `#${encodeAll(state, locked.map((one) => one.state))}`);
  if (result) show();
}

function show() {
  const curves = curvesOf(result, locked, dropped);
  showHeadline(result);
  showDensity(curves, state.view);
  showCurves(curves, unlock, removeFile);
  showLayers(result, locked);
  showNumbers(result, locked);
  showActivation();
  showFiles(dropped, result, { remove: removeFile, take: takeSettings });
  byId("python").textContent = pythonLines(result);
}

// The dual activation, and the working point: at once where it is known, otherwise when it is found.
function showActivation() {
  const found = pointOf(result.state, showActivation);
  showCorrelations(result, locked, found.point ? found : null);
  showPoint(result.state, found);
}

function unlock(index) {
  locked = locked.filter((_, i) => i !== index);
  note("Removed a locked curve.");
  update();
  byId("lock").focus();
}

function removeFile(index) {
  dropped = dropped.filter((_, i) => i !== index);
  note("Removed a file.");
  update();
  byId("file").focus();
}

function takeSettings(settings) {
  const known = Object.hasOwn(settings, "activation") ? Object.hasOwn(NAMED, settings.activation) : true;
  state = { ...state, ...settings, ...(known ? {} : { activation: state.activation }) };
  if (Object.hasOwn(settings, "activation")) state.parameters = {};
  setControls();
  update();
}

// Say what was done; what went wrong stays until the next thing is done.
function note(text, stays = false) {
  byId("note").textContent = text;
  clearTimeout(clearing);
  if (!stays) clearing = setTimeout(() => note("", true), 10_000);
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    note(`Copied ${what}.`);
  } catch {
    note(`The browser does not let this page copy; ${what}: select it and copy it yourself.`, true);
  }
}

function save(name, kind, text) {
  const link = make("a", "", { href: URL.createObjectURL(new Blob([text], { type: kind })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  note(`Saved ${name}.`);
}

async function readFiles(files) {
  for (const file of files) {
    try {
      const found = readDropped(file.name, await file.arrayBuffer());
      dropped = [...dropped, found];
      note(`Read ${file.name}: ${found.kind}.`);
      if (found.settings) takeSettings(found.settings);
    } catch (error) {
      note(error.message, true);
    }
  }
  update();
  document.dispatchEvent(new CustomEvent("files-read"));
}

function listen() {
  byId("activation").addEventListener("change", () => {
    state = { ...state, activation: byId("activation").value, parameters: {} };
    setControls();
    update();
  });
  byId("formula").addEventListener("input", () => change({ formula: byId("formula").value }));
  for (const [id, key] of Object.entries(NUMBERS)) {
    byId(id).addEventListener("input", () => {
      change({ [key]: numberIn(byId(id)) });
      if (id === "amount") setAmount();
    });
  }
  byId("like").addEventListener("change", () => change({ like: byId("like").value }));
  for (const id of CHECKS) byId(id).addEventListener("change", () => change({ [id]: byId(id).checked }));
  byId("slider").addEventListener("input", () => {
    const base = Number((10 ** Number(byId("slider").value)).toPrecision(3));
    change({ amount: state.mode === "condition" ? Number((1 + base).toPrecision(4)) : base });
    byId("amount").value = String(state.amount);
    byId("slider").setAttribute("aria-valuetext", shortNumber(state.amount));
  });
  for (const radio of document.querySelectorAll("[name=mode]")) radio.addEventListener("change", () => switchMode(radio.value));
  for (const radio of document.querySelectorAll("[name=view]")) radio.addEventListener("change", () => change({ view: radio.value }));
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  listenToButtons();
  listenToFiles();
  addEventListener("hashchange", restore);
  addEventListener("resize", () => requestAnimationFrame(() => result && show()));
}

// What is given changes, the network stays: the value becomes that of the network.
function switchMode(mode) {
  const amounts = result && { sigma: result.sigmaW, c: result.signal.c, condition: result.law.conditionNumber() };
  state = { ...state, mode, amount: amounts ? Number(amounts[mode].toPrecision(6)) : state.amount };
  byId("amount").value = String(state.amount);
  setAmount();
  update();
}

function listenToButtons() {
  byId("lock").addEventListener("click", () => {
    if (!result) return;
    locked = [...locked, result].slice(-MOST_LOCKED);
    note(`Locked; ${locked.length} of at most ${MOST_LOCKED}.`);
    update();
  });
  byId("reset").addEventListener("click", () => {
    [state, locked, dropped] = [{ ...DEFAULTS, parameters: {} }, [], []];
    setControls();
    note("Everything is as at first.");
    update();
  });
  byId("copy-link").addEventListener("click", () => copy(location.href, "the link"));
  byId("copy-python").addEventListener("click", () => copy(byId("python").textContent, "the lines of Python"));
  byId("save-svg").addEventListener("click", () => save("isometry.svg", "image/svg+xml", svgText(byId("density"))));
  byId("save-csv").addEventListener("click", () => save("isometry.csv", "text/csv", csvText(curvesOf(result, locked, dropped))));
}

function listenToFiles() {
  const place = byId("drop");
  byId("file").addEventListener("change", async () => {
    await readFiles([...byId("file").files]);
    byId("file").value = "";
  });
  addEventListener("dragover", (event) => {
    event.preventDefault(); // a file that misses the place must not replace the page
    place.classList.add("over");
  });
  addEventListener("dragleave", () => place.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    place.classList.remove("over");
    if (event.dataTransfer) readFiles([...event.dataTransfer.files]);
  });
}

// Take the state of the link.
function restore() {
  const found = decodeAll(location.hash);
  state = found.state;
  locked = [];
  for (const one of found.locked.slice(0, MOST_LOCKED)) {
    try {
      locked.push(compute(one));
    } catch (error) {
      found.complaints.push(`A locked curve of the link is left out: ${error.message}`);
    }
  }
  setControls();
  update();
  note(found.complaints.join(" "), true);
}

byId("activation").append(...Object.keys(NAMED).map((name) => make("option", name, { value: name })), make("option", "a formula…", { value: FORMULA }));
byId("like").append(make("option", "none: no search", { value: "" }), ...Object.keys(NAMED).map((name) => make("option", name, { value: name })));
listen();
restore();
