// What several parts of the page use: elements, and numbers as people read them.

export const at = (id) => document.getElementById(id);

export function show(id, visible) {
  at(id).hidden = !visible;
}

// An element with text or elements in it, and attributes.
export function make(tag, content, attributes = {}) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...[content].flat());
  return element;
}

// Text whose addresses can be clicked: "see https://a/b, then" has one.
export function linked(text) {
  return text.split(/(https?:\/\/[^\s,;]*[^\s,;.:)])/).map((part, index) =>
    index % 2 ? make("a", part, { href: part, target: "_blank", rel: "noreferrer" }) : part);
}

export function whole(number) {
  return Math.round(number).toLocaleString("en");
}

// Three digits that count: 0.42, 4.2, 42, 1,234.
export function rounded(number) {
  if (number === 0 || number >= 100) return whole(number);
  return String(Number(number.toPrecision(number < 1 ? 2 : 3)));
}

// Such as "0.1 s", "28 s", "2 min 10 s", "3 h 5 min".
export function duration(seconds) {
  if (seconds < 0.05) return "0 s";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} days`;
}

export function bytes(number) {
  if (number < 1e6) return `${rounded(number / 1e3)} kB`;
  return number < 1e9 ? `${rounded(number / 1e6)} MB` : `${rounded(number / 1e9)} GB`;
}

// The time of day of a Unix time, such as "14:05".
export function clock(time, seconds = false) {
  const parts = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (seconds) parts.second = "2-digit";
  return new Date(time * 1000).toLocaleTimeString([], parts);
}
