// Answers a list of questions, given as JSON on standard input, with the page's own modules.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const assets = pathToFileURL(`${process.argv[2]}/`);
const theory = await import(new URL("theory.js", assets));
const { compute } = await import(new URL("page/model.js", assets));
const { pythonLines } = await import(new URL("page/python.js", assets));
const { DEFAULTS, decodeAll, encodeAll } = await import(new URL("page/state.js", assets));
const { readDropped } = await import(new URL("page/files.js", assets));

const activation = ({ formula, name, parameters }) =>
  formula === undefined ? theory.namedActivation(name, parameters) : theory.typedActivation(formula);

const ANSWERS = {
  law({ c, logScale, logLam, p }) {
    const law = new theory.UniversalLaw(c, logScale);
    return {
      support: law.logSupport(),
      condition: law.conditionNumber(),
      mean: law.mean(),
      variance: law.variance(),
      logVariance: law.logVariance(),
      density: logLam.map((x) => law.logDensity(x)),
      pdf: logLam.map((x) => law.pdf(Math.exp(x))),
      singular: logLam.map((x) => law.singularPdf(Math.exp(x / 2))),
      cdf: logLam.map((x) => law.cdf(x)),
      quantiles: p.map((level) => law.logQuantile(level)),
      curve: law.curve(20),
    };
  },
  cumulant: ({ condition }) => condition.map(theory.cumulantFromConditionNumber),
  moments: (question) => question.q.map((q) => theory.gaussianMoments(activation(question), q)),
  network: (question) => theory.propagate({ ...question.spec, activation: activation(question) }),
  growth: (question) => theory.steepestGrowth({ ...question.spec, activation: activation(question) }),
  squares: ({ columns, target }) => theory.leastSquares(columns, target),
  sigma: (question) => theory.solveSigmaW({ ...question.spec, activation: activation(question) }, question.c),
  shares: (question) => theory.expand(activation(question), question.scale, question.shift),
  dual: ({ scale, shift, rho, ...question }) => rho.map(theory.dualActivation(activation(question), scale, shift).kappa),
  point({ like, ...question }) {
    const steps = theory.searchPoint(activation(question), theory.namedActivation(like));
    let step = steps.next();
    while (!step.done) step = steps.next();
    return step.value;
  },
  distance({ values, weights, unresolved, c, logScale }) {
    return theory.distanceToLaw(theory.spectrumOf(values, weights, unresolved), new theory.UniversalLaw(c, logScale));
  },
  histogram: ({ values, weights, view }) => theory.histogram(theory.spectrumOf(values, weights), view),
  kinks: (question) => activation(question).kinks,
  python: ({ state }) => pythonLines(compute({ ...DEFAULTS, ...state })),
  page({ state }) {
    const { sigmaW, signal, law, warnings } = compute({ ...DEFAULTS, ...state });
    return { sigmaW, c: signal.c, support: law.logSupport(), warnings };
  },
  link({ state, locked }) {
    const full = (one) => ({ ...DEFAULTS, ...one });
    return decodeAll(`#${encodeAll(full(state), locked.map(full))}`);
  },
  hash: ({ hash }) => decodeAll(hash),
  file({ name, text, base64 }) {
    const content = base64 === undefined ? new TextEncoder().encode(text) : Uint8Array.from(Buffer.from(base64, "base64"));
    const { kind, title, sentences, rows, settings, spectrum, law } = readDropped(name, content.buffer.slice(content.byteOffset, content.byteOffset + content.byteLength));
    return { kind, title, sentences, rows, settings, size: spectrum?.rows.length ?? 0, c: law?.c ?? null };
  },
};

const answers = JSON.parse(readFileSync(0, "utf8")).map(({ kind, ...question }) => {
  try {
    return { answer: ANSWERS[kind](question) };
  } catch (error) {
    return { error: error.message, type: error.constructor.name };
  }
});
process.stdout.write(JSON.stringify(answers));
