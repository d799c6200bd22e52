// The lines of Python that give the same numbers.

import { pythonFormula } from "../theory.js";
import { FORMULA } from "./state.js";

export function pythonLines(result) {
  const { state, sigmaW } = result;
  const lines = ["import isometry as iso"];
  const act = state.activation === FORMULA ? "phi" : named(state);
  if (state.activation === FORMULA) {
    const words = pythonFormula(state.formula);
    if (words.includes("np.")) lines.push("import numpy as np");
    if (words.includes("special.")) lines.push("from scipy import special");
    // a constant formula has to have the shape of h
    lines.push("", "", "def phi(h):", `    return ${/\bh\b/.test(words) ? words : `${words} + 0 * h`}`, "", "");
  } else {
    lines.push("");
  }
  const moments = [state.m1 === 0 ? "" : `m1=${number(state.m1)}`, state.m2 === 1 ? "" : `m2=${number(state.m2)}`].filter(Boolean);
  const variants = ["centre", "signs", "unit"].filter((key) => state[key]).map((key) => `${key}=True`);
  const network = [`depth=${state.depth}`, ...plain(state), ...variants];
  if (state.mode === "sigma") lines.push(`sigma_w = ${number(sigmaW)}`);
  else {
    if (state.mode === "condition") lines.push(`c = iso.cumulant_from_condition_number(${number(state.amount)})${state.skip === 1 ? "" : ` * ${power(state.skip)}`}`);
    const c = state.mode === "condition" ? "c" : number(state.amount);
    lines.push(`sigma_w = iso.solve_sigma_w(${[act, `c=${c}`, ...network, ...moments].join(", ")})`);
  }
  lines.push(`spec = iso.ResNetSpec(${[act, "sigma_w=sigma_w", ...network].join(", ")})`);
  lines.push(`law = iso.jacobian_law(${["spec", ...moments].join(", ")})`);
  lines.push(`print(iso.effective_cumulant(${["spec", ...moments].join(", ")}), law.support(), law.condition_number())`);
  if (state.like) lines.push(`print(iso.working_point(${act}, like="${state.like}"))`);
  return `${lines.join("\n")}\n`;
}

function plain(state) {
  const words = [];
  if (state.sigmaB !== 0) words.push(`sigma_b=${number(state.sigmaB)}`);
  if (state.skip !== 1) words.push(`skip=${number(state.skip)}`);
  return words;
}

function named(state) {
  const given = Object.entries(state.parameters).map(([key, value]) => `${key}=${typeof value === "string" ? `'${value}'` : number(value)}`);
  return JSON.stringify(state.activation + (given.length ? `(${given.join(", ")})` : ""));
}

function number(x) {
  return String(x);
}

function power(x) {
  return x < 0 ? `(${number(x)}) ** 2` : `${number(x)} ** 2`;
}
