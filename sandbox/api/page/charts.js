// The last hour: what /status/history gave, and a card with a chart for each kind of number.

import { Card } from "./card.js";
import { rounded, whole } from "./parts.js";

const GIB = 2 ** 30;
// A line over a longer hole would tell of times that nobody saw.
const HOLE_INTERVALS = 3;

const percent = { unit: "%", write: (n) => String(Math.round(n)), top: 100 };
const time = {
  unit: "",
  write: (s) => (s < 1 ? `${Math.round(s * 1000)} ms` : `${rounded(s)} s`),
  top: 0.1,
};

// Columns of /status/history with their colour and label; a chart without any number is left out.
const CHARTS = [
  { id: "tokens", title: "Tokens per second", unit: "", write: rounded, top: 10, wide: true,
    series: [["generated_tokens_per_second", "first", ""]] },
  // There with the other charts of the model, although it is empty until the first request.
  { id: "first-token", title: "Time to first token", ...time, beside: "requests_running",
    series: [["first_token_p50_seconds", "first", "median"], ["first_token_p95_seconds", "second", "p95"]] },
  { id: "requests", title: "Requests", unit: "", write: rounded, top: 4,
    series: [["requests_running", "first", "running"], ["requests_waiting", "second", "waiting"]] },
  { id: "kv-cache", title: "KV cache in use", ...percent, series: [["kv_cache_percent", "first", ""]] },
  { id: "gpu-load", title: "GPU utilization", ...percent, series: [["gpu_utilization_percent", "first", ""]] },
  { id: "gpu-memory", title: "GPU memory", unit: " GiB", write: (n) => rounded(n / GIB), top: GIB,
    steps: [1, 2, 4, 5, 8, 10, 16, 20, 32, 40, 64, 100, 200, 500].map((step) => step * GIB),
    series: [["gpu_memory_bytes", "first", ""]] },
  { id: "gpu-heat", title: "GPU temperature", unit: " °C", write: whole, top: 100,
    series: [["gpu_temperature_celsius", "first", ""]] },
];
const COLUMNS = CHARTS.flatMap((chart) => chart.series.map(([column]) => column));

export class Charts {
  constructor(place) {
    this.place = place;
    this.cards = new Map();
    this.gpu = null;
    this.forget();
    // uPlot draws with the colours that it was given.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.rebuild());
  }

  forget() {
    // Times by the server's clock, to ask for what is newer; and by this machine's, to draw.
    this.newest = 0;
    this.times = [];
    this.columns = Object.fromEntries(COLUMNS.map((column) => [column, []]));
  }

  get empty() {
    return COLUMNS.every((column) => this.without(column));
  }

  without(column) {
    return this.columns[column].every((value) => value === null);
  }

  add({ now, samples, gpu, interval_seconds: interval, window_seconds: window }) {
    // The clock of that machine was set back: what is here lies in its future.
    if (now < this.newest) this.forget();
    const shift = Date.now() / 1000 - now;
    this.gpu = gpu;
    samples.time.forEach((time, row) => {
      const last = this.times.at(-1);
      if (last !== undefined && time + shift - last > HOLE_INTERVALS * interval) {
        this.push(last + interval, () => null);
      }
      this.push(time + shift, (column) => samples[column][row]);
      this.newest = time;
    });
    const old = this.times.findIndex((time) => time >= Date.now() / 1000 - window);
    for (const list of [this.times, ...Object.values(this.columns)]) list.splice(0, Math.max(0, old));
  }

  push(time, value) {
    this.times.push(time);
    for (const column of COLUMNS) this.columns[column].push(value(column) ?? null);
  }

  draw() {
    for (const chart of CHARTS) {
      const columns = [chart.beside ?? [], ...chart.series.map(([column]) => column)].flat();
      const wanted = columns.some((column) => !this.without(column));
      // Once there it stays: a model that is quiet for an hour has a quiet chart.
      if (wanted && !this.cards.has(chart.id)) this.cards.set(chart.id, new Card(chart, this));
    }
    const cards = this.shown.map((chart) => this.cards.get(chart.id));
    if (cards.length !== this.place.children.length) {
      this.place.replaceChildren(...cards.map((card) => card.figure));
    }
    for (const card of cards) card.draw();
  }

  // The charts that are on the page.
  get shown() {
    return CHARTS.filter((chart) => this.cards.has(chart.id));
  }

  rebuild() {
    for (const card of this.cards.values()) card.end();
    this.cards.clear();
    this.draw();
  }
}
