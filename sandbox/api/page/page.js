// The page: follows /status/events and /status/history, and hands each to the part that shows it.

import { Charts } from "./charts.js";
import { showExamples, wireCopying, wireTabs } from "./examples.js";
import { showModel } from "./model.js";
import { at, show } from "./parts.js";
import { showLost, showStatus, tick } from "./status.js";
import { showTable } from "./table.js";

const RETRY_MS = 3000;
const charts = new Charts(at("charts"));
let connected = false;
let version = null;

function receive(status) {
  connected = true;
  // After an update this page is the old one.
  if (version !== null && version !== status.version) location.reload();
  version = status.version;
  const ready = status.state === "ready";
  showStatus(status);
  showModel(status);
  if (ready) showExamples(status);
  show("use", ready);
  for (const link of document.querySelectorAll("[data-chat]")) {
    link.href = `${location.protocol}//${location.hostname}:${status.ui_port}/`;
  }
  showLinks();
  at("version").textContent = `AI Sandbox ${status.version}`;
}

function showLinks() {
  for (const link of document.querySelectorAll("[data-for]")) {
    link.hidden = at(link.dataset.for).hidden;
  }
}

function follow() {
  const events = new EventSource("/status/events");
  events.onmessage = (event) => receive(JSON.parse(event.data));
  events.onerror = () => {
    connected = false;
    showLost();
    // The browser tries again by itself, but not after an answer that is no stream of events.
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, RETRY_MS);
  };
}

async function sample() {
  let wait = RETRY_MS;
  // What nobody sees is fetched when somebody looks again.
  if (connected && !document.hidden) {
    try {
      const answer = await fetch(`/status/history?since=${charts.newest}`);
      if (answer.ok) {
        const history = await answer.json();
        charts.add(history);
        wait = history.interval_seconds * 1000;
      }
    } catch {
      // The stream of events tells of the loss.
    }
    show("hour", !charts.empty);
    showLinks();
    charts.draw();
  }
  setTimeout(sample, connected ? wait : 250);
}

wireCopying();
wireTabs();
at("numbers").addEventListener("toggle", () => showTable(charts));
follow();
sample();
setInterval(tick, 1000);
