// The last hour as a table, for who cannot see the charts or wants the numbers.

import { at, clock, make } from "./parts.js";

const ROW_SECONDS = 300;

export function showTable({ shown, times, columns }) {
  const heads = shown.flatMap((chart) =>
    chart.series.map(([, , label]) => make("th", [chart.title, label && `, ${label}`], { scope: "col" })));
  at("columns").replaceChildren(make("tr", [make("th", "From", { scope: "col" }), ...heads]));
  const rows = [];
  const last = times.at(-1) ?? 0;
  for (let end = last + 1; end > (times[0] ?? last); end -= ROW_SECONDS) {
    const inside = times.flatMap((t, row) => (t < end && t >= end - ROW_SECONDS ? [row] : []));
    if (!inside.length) continue;
    const cells = shown.flatMap((chart) => chart.series.map(([column]) => {
      const values = inside.map((row) => columns[column][row]).filter((value) => value !== null);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      return make("td", values.length ? chart.write(mean) + chart.unit : "–");
    }));
    rows.push(make("tr", [make("th", clock(times[inside[0]]), { scope: "row" }), ...cells]));
  }
  at("caption").textContent = `Means of five minutes, newest first, at ${clock(last)}.`;
  at("rows").replaceChildren(...rows);
}
