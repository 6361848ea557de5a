// What is going on: the state, its sentence, the progress, and the steps with their seconds.

import { at, bytes, duration, linked, make, show } from "./parts.js";

// The steps that still come, where they are known.
const AHEAD = {
  starting: ["planning", "loading", "ready"],
  planning: ["loading", "ready"],
  downloading: ["loading", "ready"],
  loading: ["ready"],
};
const WORKING = new Set(Object.keys(AHEAD));

let announced = "";
// When the present step began, by this machine's clock; null while none runs.
let since = null;

const named = (state) => state[0].toUpperCase() + state.slice(1);

export function showStatus(status) {
  const { state, progress } = status;
  at("now").className = state === "ready" ? "ready" : state === "failed" ? "failed" : "busy";
  at("state").textContent = named(state);
  showMessage(status);
  showHint("hint", status.hint);
  show("help", status.hint !== "");
  showProgress(state, progress);
  showPhases(status);
  showNext(status.next);
  showNote(status);
  show("actions", state === "ready");
  document.title = `${title(state, progress)} · AI Sandbox`;
  // The sentence of a download changes with each byte: only a new state is read out.
  const { next } = status;
  const heardOfNext = next ? `${next.state} ${next.progress ? "" : next.message}` : "";
  const heard = `${progress ? state : `${state} ${status.message}`} ${heardOfNext} ${status.notice}`;
  if (heard !== announced) {
    announced = heard;
    const ofNext = next ? `Next model: ${next.message} ${next.hint}` : "";
    at("announce").textContent = `${named(state)}. ${status.message} ${status.hint} ${ofNext} ${status.notice}`;
  }
}

export function showLost() {
  at("now").className = "lost";
  at("state").textContent = "Not reachable";
  at("message").textContent = "The service does not answer; trying again.";
  for (const part of ["help", "progress", "actions", "next", "note"]) show(part, false);
  at("phases").replaceChildren();
  since = null;
  document.title = "Not reachable · AI Sandbox";
  if (announced !== "lost") {
    announced = "lost";
    at("announce").textContent = at("message").textContent;
  }
}

// Once a second: the seconds of the step that runs.
export function tick() {
  const running = document.querySelector("#phases .running b");
  if (running && since !== null) running.textContent = duration(Date.now() / 1000 - since);
}

// The sentence, with a model's name that is broken over two lines only where it must be.
function showMessage({ message, model }) {
  const [before, ...rest] = message.split(model);
  at("message").replaceChildren(before, ...rest.flatMap((text) => [make("span", model), text]));
}

// Anew only when it is another one: who is about to click a link keeps it.
function showHint(id, hint) {
  if (at(id).textContent !== hint) at(id).replaceChildren(...linked(hint));
}

function title(state, progress) {
  const percent = progress?.percent;
  return percent == null ? named(state) : `${Math.floor(percent)}% ${state}`;
}

function showProgress(state, progress) {
  const percent = progress?.percent ?? null;
  show("progress", WORKING.has(state));
  const bar = at("bar");
  bar.classList.toggle("unknown", percent === null);
  bar.firstElementChild.style.width = percent === null ? "" : `${percent}%`;
  bar.setAttribute("aria-label", named(state));
  if (percent === null) bar.removeAttribute("aria-valuenow");
  else bar.setAttribute("aria-valuenow", Math.round(percent));
  at("percent").textContent = percent === null ? "" : `${percent.toFixed(1)}%`;
  const rate = progress?.bytes_per_second;
  at("rate").textContent = rate ? `${bytes(rate)}/s` : "";
}

function showPhases(status) {
  const { state, phases } = status;
  // The clock of that machine may differ from this one's.
  since = Date.now() / 1000 - (status.now - status.since);
  const passed = phases.map((phase) => {
    const kind = phase.seconds !== null ? "passed" : state === "failed" ? "broken" : "running";
    const seconds = kind === "passed" ? duration(phase.seconds) : "";
    return make("li", [`${phase.state} `, make("b", seconds)], { class: kind });
  });
  const ahead = (AHEAD[state] ?? []).map((next) => make("li", [`${next} `, make("b", "")], { class: "ahead" }));
  at("phases").replaceChildren(...passed, ...ahead);
  tick();
}

// The model that is made ready while another answers, or why it could not take its place.
function showNext(next) {
  show("next", Boolean(next));
  if (!next) return;
  at("next").className = next.state === "failed" ? "failed" : "";
  at("next-message").textContent = next.message;
  showHint("next-hint", next.hint);
  const percent = next.progress?.percent ?? null;
  show("next-bar", next.state !== "failed");
  const bar = at("next-bar");
  bar.classList.toggle("unknown", percent === null);
  bar.firstElementChild.style.width = percent === null ? "" : `${percent}%`;
  if (percent === null) bar.removeAttribute("aria-valuenow");
  else bar.setAttribute("aria-valuenow", Math.round(percent));
}

function showNote(status) {
  const notes = [];
  if (status.restarts) {
    notes.push(`The engine was restarted ${status.restarts === 1 ? "once" : `${status.restarts} times`}.`);
  }
  if (status.notice) notes.push(status.notice);
  at("note").textContent = notes.join(" ");
  show("note", notes.length > 0);
}
