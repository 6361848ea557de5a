// How to call the model: examples with the real address, in tabs, each with a copy button.

import { at, make, show } from "./parts.js";

const COPIED_MS = 1500;

// What each route is for, of those that a newcomer may look for.
const ROUTES = {
  "/v1/chat/completions": "chat",
  "/v1/responses": "OpenAI’s newer form",
  "/v1/messages": "Anthropic’s form",
  "/v1/completions": "plain text",
  "/v1/embeddings": "vectors",
  "/v1/rerank": "rerank",
  "/v1/score": "score",
  "/classify": "classify",
  "/v1/audio/transcriptions": "speech to text",
  "/v1/models": "the model’s name",
  "/tokenize": "count tokens",
  "/openapi.json": "all routes",
};

export function showExamples({ model, routes, key_needed: keyed }) {
  const url = `${location.origin}/v1`;
  at("address").textContent = url;
  show("key", keyed);
  const embeds = routes.includes("/v1/embeddings") && !routes.includes("/v1/chat/completions");
  const write = embeds ? embedding : chat;
  for (const [id, text] of Object.entries(write(url, model, keyed))) at(id).textContent = text;
  const served = Object.entries(ROUTES).filter(([path]) => routes.includes(path));
  at("routes").replaceChildren(...served.map(([path, use]) => make("li", [make("code", path), ` ${use}`])));
}

function chat(url, model, keyed) {
  const name = JSON.stringify(model);
  const question = "What can you do?";
  return {
    curl: curl(`${url}/chat/completions`, keyed, `{
    "model": ${name},
    "messages": [{"role": "user", "content": "${question}"}]
  }`),
    python: `${pythonClient(url, keyed)}
answer = client.chat.completions.create(
    model=${name},
    messages=[{"role": "user", "content": "${question}"}],
)
print(answer.choices[0].message.content)`,
    javascript: `${javascriptClient(url, keyed)}
const answer = await client.chat.completions.create({
  model: ${name},
  messages: [{ role: "user", content: "${question}" }],
});
console.log(answer.choices[0].message.content);`,
  };
}

function embedding(url, model, keyed) {
  const name = JSON.stringify(model);
  const text = "A text to embed";
  return {
    curl: curl(`${url}/embeddings`, keyed, `{
    "model": ${name},
    "input": "${text}"
  }`),
    python: `${pythonClient(url, keyed)}
answer = client.embeddings.create(
    model=${name},
    input="${text}",
)
print(answer.data[0].embedding)`,
    javascript: `${javascriptClient(url, keyed)}
const answer = await client.embeddings.create({
  model: ${name},
  input: "${text}",
});
console.log(answer.data[0].embedding);`,
  };
}

function curl(url, keyed, body) {
  const key = keyed ? `\n  -H "Authorization: Bearer $API_KEY" \\` : "";
  return `curl ${url} \\${key}
  -H 'Content-Type: application/json' \\
  -d '${body.replaceAll("'", "'\\''")}'`;
}

function pythonClient(url, keyed) {
  const [head, key] = keyed ? ["import os\n\n", 'os.environ["API_KEY"]'] : ["", '"none"'];
  return `${head}from openai import OpenAI

client = OpenAI(
    base_url="${url}",
    api_key=${key},
)`;
}

function javascriptClient(url, keyed) {
  return `import OpenAI from "openai";

const client = new OpenAI({
  baseURL: "${url}",
  apiKey: ${keyed ? "process.env.API_KEY" : '"none"'},
});`;
}

export function wireCopying() {
  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      button.textContent = (await copy(at(button.dataset.copies))) ? "Copied" : "Press Ctrl+C";
      at("announce").textContent = button.textContent;
      setTimeout(() => { button.textContent = "Copy"; }, COPIED_MS);
    });
  }
}

async function copy(element) {
  // Browsers give the clipboard to https and localhost only.
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(element.textContent);
      return true;
    } catch {
      // Refused by the person or the browser: select it instead.
    }
  }
  getSelection().selectAllChildren(element);
  return document.execCommand("copy");
}

export function wireTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const choose = (chosen) => {
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", tab === chosen);
      tab.tabIndex = tab === chosen ? 0 : -1;
      show(tab.getAttribute("aria-controls"), tab === chosen);
    }
  };
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: -1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = tabs.at(to % tabs.length);
      choose(next);
      next.focus();
    });
  });
}
