// One card of the last hour: a title, the newest numbers or those under the cursor, a uPlot chart.

import { at, clock, make } from "./parts.js";

// A box that just started shows its minutes in this width.
const LEAST_SECONDS = 600;

// A number without neighbours has no line: it is drawn as a point.
function alone(values) {
  return values.flatMap((value, i) =>
    value !== null && (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null ? [i] : []);
}

export class Card {
  constructor(chart, data) {
    this.chart = chart;
    this.data = data;
    this.plot = make("div", [], { class: "plot", role: "img" });
    this.values = chart.series.map(([, colour]) => make("b", "", { class: colour }));
    const legend = chart.series.map(([, , label], index) => make("span", [this.values[index], label && ` ${label}`]));
    const title = make("figcaption", [make("h3", chart.title), make("p", legend)]);
    this.figure = make("figure", [title, this.plot], { class: chart.wide ? "card wide" : "card", id: chart.id });
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.plot);
  }

  get numbers() {
    return [this.data.times, ...this.chart.series.map(([column]) => this.data.columns[column])];
  }

  draw() {
    // Without a width it is not on the page yet; the observer calls again.
    if (!this.plot.clientWidth) return;
    if (this.uplot) this.uplot.setData(this.numbers);
    else this.uplot = new uPlot(this.options(), this.numbers, this.plot);
    this.show(this.uplot.cursor.idx);
    this.plot.setAttribute("aria-label", this.summary());
  }

  end() {
    this.observer.disconnect();
    this.uplot?.destroy();
    this.figure.remove();
  }

  resize() {
    if (!this.uplot) this.draw();
    else this.uplot.setSize(this.size());
  }

  size() {
    return { width: this.plot.clientWidth, height: this.plot.clientHeight };
  }

  // The values at one moment, or the newest.
  show(index) {
    const row = index ?? this.data.times.length - 1;
    this.chart.series.forEach(([column], number) => {
      this.values[number].textContent = this.text(this.data.columns[column][row]);
    });
    const moment = this.data.times[index];
    at("moment").textContent = moment === undefined ? "now" : `at ${clock(moment, true)}`;
  }

  text(value) {
    if (value === null || value === undefined) return "–";
    const text = this.chart.write(value) + this.chart.unit;
    return this.chart.id === "gpu-memory" && this.data.gpu
      ? `${this.chart.write(value)} of ${this.chart.write(this.data.gpu.memory_total_bytes)} GiB`
      : text;
  }

  summary() {
    const parts = this.chart.series.map(([column, , label]) => {
      const values = this.data.columns[column].filter((value) => value !== null);
      if (!values.length) return `${label}: no numbers`.trim();
      const highest = values.reduce((most, value) => Math.max(most, value));
      return `${label} now ${this.text(this.data.columns[column].at(-1))}, highest ${this.text(highest)}`.trim();
    });
    return `${this.chart.title} in the last hour: ${parts.join("; ")}.`;
  }

  options() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const plain = { stroke: colour("soft"), font, ticks: { show: false } };
    return {
      ...this.size(),
      padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 }, sync: { key: "hour" } },
      scales: {
        x: { range: () => this.range() },
        y: { range: (_, low, high) => [0, this.highest(high)] },
      },
      axes: [
        { ...plain, grid: { show: false }, space: 64, size: 24, gap: 6, values: (_, times) => times.map((t) => clock(t)) },
        { ...plain, grid: { stroke: colour("line"), width: 1 }, space: 30, size: 46, gap: 6,
          ...(this.chart.steps && { incrs: this.chart.steps }),
          values: (_, marks) => marks.map((mark) => this.chart.write(mark)) },
      ],
      series: [
        {},
        ...this.chart.series.map(([, name], index) => ({
          stroke: colour(name),
          width: 1.5,
          fill: index === 0 ? colour(`${name}-fill`) : undefined,
          points: { size: 4, fill: colour(name), filter: (uplot, series) => alone(uplot.data[series]) },
        })),
      ],
      hooks: { setCursor: [(uplot) => this.show(uplot.cursor.idx)] },
    };
  }

  range() {
    const now = Date.now() / 1000;
    const oldest = Math.min(this.data.times[0] ?? now, now - LEAST_SECONDS);
    return [Math.max(oldest, now - 3600), now];
  }

  highest(high) {
    const { id, top, unit } = this.chart;
    if (unit === "%") return top;
    if (id === "gpu-memory" && this.data.gpu) return this.data.gpu.memory_total_bytes;
    return Math.max(top, (high ?? 0) * 1.15);
  }
}
