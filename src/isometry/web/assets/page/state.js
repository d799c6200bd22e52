// What the controls say, as one flat record that a link can carry.

import { NAMED } from "../theory.js";

export const FORMULA = "formula";

export const DEFAULTS = {
  activation: "gelu",
  formula: "h * tanh(h)",
  parameters: {},
  depth: 100,
  width: 400,
  skip: 1,
  sigmaB: 0,
  mode: "c",
  amount: 1,
  m1: 0,
  m2: 1,
  centre: false,
  signs: false,
  unit: false,
  view: "log",
  like: "relu",
};

const CHOICES = { mode: ["sigma", "c", "condition"], view: ["log", "s"], activation: [...Object.keys(NAMED), FORMULA], like: ["", ...Object.keys(NAMED)] };

// Return a state as the words of a link; what is usual is left out.
export function encode(state) {
  const words = new URLSearchParams();
  for (const [key, usual] of Object.entries(DEFAULTS)) {
    if (key === "parameters") {
      for (const [name, value] of Object.entries(state.parameters)) words.set(`p.${name}`, String(value));
    } else if (state[key] !== usual && (key !== "formula" || state.activation === FORMULA)) {
      words.set(key, String(state[key]));
    }
  }
  return words.toString();
}

// Return the state of a link, and a sentence for every word that means nothing.
export function decode(text) {
  const state = { ...DEFAULTS, parameters: {} };
  const complaints = [];
  for (const [key, value] of new URLSearchParams(text)) {
    const read = key.startsWith("p.") ? readParameter(state, key.slice(2), value) : readWord(state, key, value);
    if (!read) complaints.push(`The link says ${key.slice(0, 40)} = ${value.slice(0, 40)}, which means nothing here; it is left out.`);
  }
  const known = state.activation === FORMULA ? {} : NAMED[state.activation][0];
  for (const name of Object.keys(state.parameters)) if (!Object.hasOwn(known, name)) delete state.parameters[name];
  return { state, complaints };
}

function readParameter(state, name, value) {
  if (!/^[a-z_]{1,20}$/.test(name)) return false;
  state.parameters[name] = value !== "" && Number.isFinite(Number(value)) ? Number(value) : value;
  return true;
}

function readWord(state, key, value) {
  if (!Object.hasOwn(DEFAULTS, key) || key === "parameters") return false;
  if (typeof DEFAULTS[key] === "boolean") {
    if (value !== "true" && value !== "false") return false;
    state[key] = value === "true";
  } else if (typeof DEFAULTS[key] === "number") {
    if (value.trim() === "" || !Number.isFinite(Number(value))) return false;
    state[key] = Number(value);
  } else {
    if (CHOICES[key] && !CHOICES[key].includes(value)) return false;
    state[key] = value;
  }
  return true;
}

// The hash of a page: the state, and a word `lock` for every locked curve.
export function encodeAll(state, locked) {
  const words = new URLSearchParams(encode(state));
  for (const other of locked) words.append("lock", encode(other));
  return words.toString();
}

export function decodeAll(hash) {
  const words = new URLSearchParams(hash.replace(/^#/, ""));
  const locked = words.getAll("lock").map(decode);
  words.delete("lock");
  const { state, complaints } = decode(words.toString());
  return { state, locked: locked.map((one) => one.state), complaints: [...complaints, ...locked.flatMap((one) => one.complaints)] };
}
