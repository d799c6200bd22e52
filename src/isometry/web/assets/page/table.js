// The curves as CSV: one row a point, so that any program reads it.

export function csvText(curves) {
  const rows = [["curve", "kind", "s", "density of log lam", "density of s", "cdf"]];
  for (const curve of curves) {
    if (curve.spectrum) {
      for (const { lam, after } of curve.spectrum.rows) rows.push([curve.name, "measured", Math.sqrt(lam), "", "", after]);
      continue;
    }
    const { logLam, density } = curve.law.curve();
    logLam.forEach((x, i) => {
      const s = Math.exp(x / 2);
      rows.push([curve.name, "law", s, density[i], (2 * density[i]) / s, curve.law.cdf(x)]);
    });
  }
  return `${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

// A cell that a spreadsheet takes for text is quoted, and never begins like a command.
function cell(value) {
  if (typeof value === "number") return String(value);
  const safe = /^[=+\-@]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
