// What is missing, where it was looked for, and what to do: for the installation, and for the graph that is open.

import { app } from "../../../scripts/app.js";
import { button, el } from "./dom.mjs";
import { get, post } from "./http.mjs";
import { t } from "./words.mjs";

export function doctorPage(panel) {
  const body = el("div", { class: "likeness-scroll likeness-body", tabindex: "0", "aria-live": "polite" });
  const back = button("←", () => panel.list(), { "aria-label": t("Back to all characters"), "data-action": "back" });
  let text = "";
  const copy = button(t("Copy as text"), () => copied(panel, text), { "data-action": "copy" });
  const head = el("header", { class: "likeness-head" }, back, el("h2", { text: t("Doctor") }), copy);
  const element = el("section", { class: "likeness-page", "aria-label": t("Doctor") }, head, body);

  async function refresh() {
    body.replaceChildren(el("p", { text: t("Looking …") }));
    try {
      const found = await examined();
      text = found.text;
      body.replaceChildren(...shown(found));
    } catch (error) {
      body.replaceChildren(el("p", { class: "likeness-error", role: "alert", text: error.message }));
    }
  }
  refresh();
  return { element, focus: () => back.focus({ preventScroll: true }) };
}

/** With what the present graph asks for, where there is one that can be read. */
async function examined() {
  let graph;
  try {
    graph = (await app.graphToPrompt()).output;
  } catch {
    graph = undefined;
  }
  const asked = filesOf(graph);
  return Object.keys(asked).length ? post("doctor", { graph: asked }) : get("doctor");
}

const LONGEST = 400; // characters of a file's name
const MOST = 40_000; // characters of all; the server reads 64 KB

/** Of a graph in API format only the short texts, among which its files are: prompts and pictures make it too long. */
export function filesOf(graph) {
  const kept = {};
  let length = 0;
  for (const [id, { class_type, inputs, _meta }] of Object.entries(graph ?? {})) {
    const short = Object.entries(inputs ?? {}).filter(([, value]) => typeof value === "string" && value && value.length <= LONGEST && /\.\w+$/.test(value));
    if (!short.length) continue;
    const one = { class_type, inputs: Object.fromEntries(short), _meta: { title: String(_meta?.title ?? class_type).slice(0, 100) } };
    length += new TextEncoder().encode(JSON.stringify(one)).length + id.length + 8;
    if (length > MOST) break;
    kept[id] = one;
  }
  return kept;
}

function shown(found) {
  const needs = found.needs?.length ? [el("h3", { text: t("The graph that is open") }), el("ul", { class: "likeness-checks" }, found.needs.map(need))] : [];
  return [...needs, el("h3", { text: t("Installation") }), el("ul", { class: "likeness-checks" }, found.checks.map(check))];
}

function check({ status, subject, found, remedy }) {
  return row(status, subject, found, remedy);
}

function need({ title, input, file, folder, there, remedy, download }) {
  const link = download ? el("a", { href: download.url, target: "_blank", rel: "noopener noreferrer", text: `${download.url} (${download.licence})` }) : null;
  return row(there ? "ok" : "missing", `${title}, ${input}`, `${file} (${folder})`, there ? "" : remedy, link);
}

function row(status, subject, found, remedy, link) {
  const words = { ok: t("ok"), warning: t("warning"), missing: t("missing") };
  return el(
    "li",
    { class: `likeness-check ${status}` },
    el("strong", { text: `${words[status] ?? status}: ${subject}` }),
    el("span", { text: found }),
    remedy ? el("span", { class: "likeness-remedy", text: remedy }) : null,
    link,
  );
}

async function copied(panel, text) {
  try {
    await navigator.clipboard.writeText(text);
    panel.say(t("Copied."));
  } catch {
    panel.say(t("The browser does not allow copying here: it needs https or this machine's own address."));
  }
}
