// A measured spectrum: its histogram, and how far its distribution function is from a law's.

const SLACK = 1e-8; // relative: rounding next to a value is not a distance

// lam ascending with weights; unresolved: the levels of the cdf that a measurement did not tell apart.
export function spectrumOf(lam, weights, unresolved = [0, 0]) {
  const order = lam.map((_, i) => i).sort((a, b) => lam[a] - lam[b]);
  const total = weights.reduce((sum, x) => sum + x, 0);
  let level = 0;
  const rows = order.map((i) => {
    const before = level;
    level += weights[i] / total;
    return { lam: lam[i], logLam: Math.log(lam[i]), weight: weights[i] / total, before, after: level };
  });
  const hidden = unresolved[1] - unresolved[0];
  const known = hidden > 0 ? rows.filter((row) => row.after > unresolved[1] + 1e-12) : rows;
  const zero = known.reduce((sum, row) => sum + (row.lam === 0 ? row.weight : 0), 0);
  return { rows, known, zero, hidden, positive: known.filter((row) => row.lam > 0) };
}

// The largest distance of the distribution functions, outliers and all, at the values that are known.
export function distanceToLaw(spectrum, law) {
  let most = 0;
  for (const { lam, logLam, before, after } of spectrum.known) {
    if (lam === 0) most = Math.max(most, after);
    else most = Math.max(most, after - law.cdf(logLam + SLACK), law.cdf(logLam - SLACK) - before);
  }
  return most;
}

// Steps of the density: of log lam over log s, or of s over s.
export function histogram(spectrum, view) {
  const at = view === "log" ? (row) => row.logLam / 2 : (row) => Math.exp(row.logLam / 2);
  const places = spectrum.positive.map(at);
  if (places.length === 0) return { edges: [], heights: [] };
  const weights = spectrum.positive.map((row) => row.weight);
  const size = 1 / weights.reduce((sum, w) => sum + w * w, 0);
  const bins = Math.round(Math.min(Math.max(2 * Math.cbrt(size), 6), 60));
  const low = places[0];
  const width = (places[places.length - 1] - low) / bins || Math.abs(low) * 1e-3 || 1e-3;
  const heights = new Array(bins).fill(0);
  places.forEach((x, i) => {
    heights[Math.min(Math.floor((x - low) / width), bins - 1)] += weights[i];
  });
  const unit = view === "log" ? 2 * width : width; // log lam = 2 log s
  return { edges: Array.from({ length: bins + 1 }, (_, i) => low + i * width), heights: heights.map((x) => x / unit) };
}
