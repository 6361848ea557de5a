// The model card: what the status says of the model, in an order that people look for.

import { at, bytes, make, rounded, show, whole } from "./parts.js";

const plural = (number, one) => `${whole(number)} ${one}${number === 1 ? "" : "s"}`;

// Key of status.details -> label, how the value is written, and what is said where it is null.
// Other keys follow as they are.
const ROWS = {
  context_length: ["Context length", (n) => plural(n, "token")],
  concurrency: ["Concurrency", (n) => `${plural(Math.floor(n), "request")} of full length`],
  parameters: ["Parameters", (n) => (n < 1e9 ? `${rounded(n / 1e6)} million` : `${rounded(n / 1e9)} billion`)],
  quantization: ["Quantization", plain, "none"],
  dtype: ["Data type"],
  weight_bytes: ["Weights", bytes],
  kv_cache_tokens: ["KV cache", (n) => plural(n, "token")],
  kv_cache_dtype: ["KV cache type"],
  kv_bytes_per_token: ["KV cache per token", bytes],
  tensor_parallel_size: ["GPUs", (n) => (n === 1 ? "" : whole(n))],
  tool_calls: ["Tool calls"],
  reasoning: ["Reasoning"],
  chat_template: ["Chat template"],
  architecture: ["Architecture"],
  device: ["Runs on", (kind) => ({ cpu: "CPU", cuda: "GPU" })[kind] ?? kind],
  engine: ["Engine"],
};
// Shown elsewhere, or of no interest here.
const LEFT_OUT = new Set(["model", "fits", "reasons", "engine_pids"]);

export function showModel({ model, details }) {
  const keys = [...Object.keys(ROWS), ...Object.keys(details).filter((key) => !(key in ROWS))];
  const rows = [];
  for (const key of keys) {
    if (LEFT_OUT.has(key) || !(key in details)) continue;
    const [label, write = plain, absent = ""] = ROWS[key] ?? [worded(key), key.endsWith("_bytes") ? bytes : plain];
    const text = known(details[key]) ? write(details[key]) : absent;
    if (text !== "") rows.push(make("div", [make("dt", label), make("dd", text)]));
  }
  at("name").textContent = model;
  at("details").replaceChildren(...rows);
  const reasons = [details.reasons ?? []].flat();
  at("reasons").replaceChildren(...reasons.map((reason) => make("li", plain(reason))));
  show("why", reasons.length > 0);
  show("model", rows.length > 0);
}

function known(value) {
  return value !== null && value !== undefined && value !== "" && !(Array.isArray(value) && !value.length);
}

function plain(value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return Number.isInteger(value) ? whole(value) : rounded(value);
  if (Array.isArray(value)) return value.map(plain).join(", ");
  if (typeof value === "object") {
    return Object.entries(value).map(([key, inner]) => `${worded(key)}: ${plain(inner)}`).join(", ");
  }
  return String(value);
}

function worded(key) {
  const words = key.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}
