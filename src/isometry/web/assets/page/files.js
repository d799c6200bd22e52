// What a person drops on the page: a diagnosis, a lint report, the files of a run. Everything in it is
// checked before it is used; a file that is none of these gives a sentence.

import { spectrumOf, UniversalLaw } from "../theory.js";

const LARGEST = 64e6; // bytes
const MOST = 2e6; // values

export class FileError extends Error {}

// Return { kind, title, sentences, rows, spectrum, law, settings } of a file.
export function readDropped(name, bytes) {
  if (bytes.byteLength > LARGEST) throw new FileError(`${name} has ${Math.round(bytes.byteLength / 1e6)} MB; expected at most 64.`);
  if (/\.safetensors$/i.test(name)) return fromArrays(name, readArrays(name, bytes));
  return fromRecord(name, parse(name, new TextDecoder().decode(bytes)));
}

function parse(name, text) {
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new FileError(`${name} is not JSON; expected what \`isometry diagnose --json\` prints, or a file of a run.`);
  }
  if (found === null || typeof found !== "object" || Array.isArray(found)) {
    throw new FileError(`${name} holds ${Array.isArray(found) ? "a list" : "a single value"}; expected a diagnosis, a lint report or a file of a run.`);
  }
  return found;
}

function fromRecord(name, record) {
  if (record.spectrum && typeof record.spectrum === "object") return fromDiagnosis(name, record);
  if (Array.isArray(record.findings)) return fromLint(name, record);
  if (record.settings && typeof record.settings === "object") return fromConfig(name, record);
  if (record.results && typeof record.results === "object") return fromRun(name, record);
  if (Array.isArray(record.values)) return { ...blank("spectrum", name), spectrum: spectrumFrom(name, record) };
  throw new FileError(
    `${name} has ${Object.keys(record).slice(0, 4).join(", ") || "no keys"}; expected a diagnosis (spectrum), a lint ` +
      "report (findings), or a run's config.json (settings) or run.json (results).",
  );
}

function blank(kind, title) {
  return { kind, title, sentences: [], rows: [], spectrum: null, law: null, settings: null };
}

function fromDiagnosis(name, record) {
  const law = lawFrom(name, record.c, record.scale);
  const title = `${words(record.model) || "model"} (${name})`;
  const sentences = [...list(record.findings), ...list(record.warnings)].map(words).filter(Boolean);
  if (!law) sentences.unshift(`No law in the file${record.reason ? `: ${words(record.reason)}` : "."}`);
  return { ...blank("diagnosis", title), sentences, spectrum: spectrumFrom(name, record.spectrum), law };
}

function fromLint(name, record) {
  const rows = record.findings.map((row) => {
    if (!row || typeof row !== "object" || typeof row.message !== "string") {
      throw new FileError(`${name} has a finding without a message; expected what \`isometry lint --json\` prints.`);
    }
    return { severity: words(row.severity), parameter: words(row.parameter) || "the model", finding: [row.message, words(row.remedy)].filter(Boolean).join(" ") };
  });
  const sentences = [words(record.law), words(record.remark)].filter(Boolean);
  if (rows.length === 0) sentences.unshift("No findings: the initialisation landed.");
  return { ...blank("lint report", `${words(record.model) || "model"} (${name})`), sentences, rows };
}

function fromConfig(name, record) {
  const known = { depth: "depth", width: "width", sigma_b: "sigmaB", skip: "skip" };
  const settings = {};
  for (const [key, own] of Object.entries(known)) if (Number.isFinite(record.settings[key])) settings[own] = record.settings[key];
  if (typeof record.settings.activation === "string") settings.activation = record.settings.activation;
  if (Number.isFinite(record.settings.sigma_w)) Object.assign(settings, { mode: "sigma", amount: record.settings.sigma_w });
  else if (Number.isFinite(record.settings.c)) Object.assign(settings, { mode: "c", amount: record.settings.c });
  if (Object.keys(settings).length === 0) throw new FileError(`${name} sets no activation, depth, width or sigma_w; expected the config.json of a run.`);
  return { ...blank("config of a run", `${words(record.task) || "run"} (${name})`), settings, rows: table(record.settings) };
}

function fromRun(name, record) {
  const { results } = record;
  const law = Number.isFinite(results.c) ? lawFrom(name, results.c, 1) : null;
  return { ...blank("run", name), law, rows: table(results) };
}

function fromArrays(name, arrays) {
  const logs = arrays.log_lam;
  const lam = arrays.lam ?? logs?.map(Math.exp);
  if (!lam) throw new FileError(`${name} has the arrays ${Object.keys(arrays).slice(0, 4).join(", ") || "(none)"}; expected log_lam or lam among them.`);
  return { ...blank("arrays of a run", name), spectrum: spectrumFrom(name, { values: [...lam] }) };
}

// Names to arrays of numbers, of a safetensors file: a header of JSON, then the bytes.
function readArrays(name, bytes) {
  const broken = new FileError(`${name} is no safetensors file; expected the arrays.safetensors of a run.`);
  try {
    const view = new DataView(bytes);
    const size = Number(view.getBigUint64(0, true));
    if (!(size > 1 && size <= bytes.byteLength - 8)) throw broken;
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, size)));
    const found = {};
    delete header.__metadata__;
    for (const [key, { dtype, shape, data_offsets: offsets }] of Object.entries(header)) {
      const Kind = { F64: Float64Array, F32: Float32Array }[dtype];
      const [from, to] = offsets.map((place) => 8 + size + place);
      if (!(from >= 8 + size && from <= to && to <= bytes.byteLength)) throw broken; // cut off
      if (!Kind) continue;
      found[key] = Array.from(new Kind(bytes.slice(from, to)));
      if (found[key].length !== shape.reduce((total, n) => total * n, 1)) throw broken;
    }
    return found;
  } catch {
    throw broken;
  }
}

function spectrumFrom(name, record) {
  const values = numbers(name, "values", record.values);
  if (values.length === 0 || values.length > MOST || values.some((x) => !(x >= 0))) {
    throw new FileError(`${name} has values of λ that are missing, negative or too many; expected 1 to ${MOST} numbers of at least 0.`);
  }
  const weights = record.weights == null ? values.map(() => 1 / values.length) : numbers(name, "weights", record.weights);
  const sum = weights.reduce((total, x) => total + x, 0);
  if (weights.length !== values.length || weights.some((x) => !(x >= 0)) || !(Math.abs(sum - 1) < 1e-6)) {
    throw new FileError(`${name} has weights that do not fit its values; expected ${values.length} numbers of at least 0 whose sum is 1.`);
  }
  const levels = record.unresolved == null ? [0, 0] : numbers(name, "unresolved", record.unresolved);
  if (!(levels.length === 2 && levels[0] >= 0 && levels[0] <= levels[1] && levels[1] <= 1)) {
    throw new FileError(`${name} has unresolved levels that are no part of [0, 1]; expected two numbers.`);
  }
  return spectrumOf(values, weights, levels);
}

function lawFrom(name, c, scale) {
  if (c == null || scale == null) return null;
  if (!(Number(c) >= 0 && Number(c) <= 1e5 && Number(scale) > 0 && Number.isFinite(Number(scale)))) {
    throw new FileError(`${name} has c = ${words(c)} and scale = ${words(scale)}; expected a c from 0 to 100000 and a scale above 0.`);
  }
  return new UniversalLaw(Number(c), Math.log(Number(scale)));
}

function numbers(name, key, given) {
  if (!Array.isArray(given)) throw new FileError(`${name} has no list of ${key}; expected numbers.`);
  const found = given.map((x) => (typeof x === "number" ? x : NaN));
  if (!found.every(Number.isFinite)) throw new FileError(`${name} has ${key} that are no finite numbers; expected numbers only.`);
  return found;
}

function table(record) {
  return Object.entries(record)
    .slice(0, 40)
    .map(([key, value]) => ({ name: key, value: words(value) }));
}

function list(value) {
  return Array.isArray(value) ? value : [];
}

function words(value) {
  if (value == null) return "";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 400 ? `${text.slice(0, 400)}…` : text;
}
