// The character picker: a searchable gallery below the list that holds the value. The value is the list's alone.

import { app } from "../../scripts/app.js";
import { onLibraryChange } from "./lib/changes.mjs";
import { button, el } from "./lib/dom.mjs";
import { get, picture } from "./lib/http.mjs";
import { badges } from "./lib/panel-list.mjs";
import { virtualList } from "./lib/virtual-list.mjs";
import { addView, allNodes, asOneStep, follow, words } from "./lib/widget-host.mjs";
import { t } from "./lib/words.mjs";

const INPUT = "character"; // every list of characters has this name
const HEIGHT = 58; // px of a row
const LEAST = 190; // px of the gallery
const TYPING = 150; // ms without a key until the search begins
const FRESH = 10000; // ms that an answer serves every picker
const MOST = 1000; // that the server gives at once

const pickers = new WeakMap(); // node -> {mark, reload}
let answers = new Map(); // query -> {asked, found}

/** The server's answer; one for all pickers that ask the same at about the same time. */
function cards(search, first, most) {
  const query = `characters?${new URLSearchParams({ search, first, most })}`;
  const known = answers.get(query);
  if (known && performance.now() - known.asked < FRESH) return known.found;
  const found = get(query);
  answers.set(query, { asked: performance.now(), found });
  found.catch(() => answers.delete(query));
  return found;
}

function comboOf(node) {
  if (!String(node.comfyClass).startsWith("Likeness")) return undefined;
  return node.widgets?.find((widget) => widget.name === INPUT && Array.isArray(widget.options?.values));
}

function created(node) {
  const combo = comboOf(node);
  if (!combo) return;
  let search = "";
  const note = el("p", { class: "likeness-error", role: "status", hidden: true });
  const list = virtualList({
    height: HEIGHT,
    label: t("Characters"),
    fetchPage: async (first, most) => {
      const found = await cards(search, first, most);
      if (!search && found.total === 0) field.hidden = true;
      else field.hidden = false;
      return { total: found.total, rows: found.characters };
    },
    draw: (card) => el("div", {}, rowOf(card, combo.value, () => choose(combo, card, mark))),
    empty: () => emptyState(search),
  });
  const field = searchField((text) => {
    search = text;
    list.show();
  }, list);

  function mark() {
    for (const row of list.element.querySelectorAll("[data-slug]")) row.setAttribute("aria-pressed", String(row.dataset.slug === combo.value));
    const gone = combo.value && !combo.options.values.includes(combo.value);
    note.hidden = !gone;
    note.textContent = gone ? t("{name} is not in the library: pick another character.", { name: combo.value }) : "";
  }

  // Asked for only once it can be seen: nodes are also made for previews, for undo, and in other tabs.
  let seen = false;
  const watcher = new ResizeObserver(() => {
    if (!list.element.clientHeight) return;
    if (!seen) list.show().then(mark);
    seen = true;
    mark();
  });
  watcher.observe(list.element);
  const removed = () => (watcher.disconnect(), list.destroy());
  addView(node, { name: "likeness_gallery", label: t("Characters"), least: () => LEAST, removed }, field, note, list.element);
  follow(combo, "callback", mark);
  follow(node, "onConfigure", mark);
  pickers.set(node, { mark, reload: () => seen && list.show(true).then(mark), combo, field });
}

function searchField(run, list) {
  let later;
  const field = el("input", {
    type: "search",
    class: "likeness-search",
    placeholder: t("Search characters"),
    "aria-label": t("Search characters"),
    input: () => {
      clearTimeout(later);
      later = setTimeout(() => run(field.value.trim()), TYPING);
    },
    keydown: (event) => {
      if (event.key !== "ArrowDown" && event.key !== "Enter") return;
      const first = list.element.querySelector("button.likeness-card");
      if (event.key === "ArrowDown") first?.focus();
      else if (list.total === 1) first?.click();
      event.preventDefault();
      event.stopPropagation();
    },
  });
  return field;
}

function rowOf(card, value, choose) {
  const chips = badges(card);
  const texts = card.error ? [card.error] : chips.map((chip) => chip.textContent);
  return el(
    "button",
    {
      type: "button",
      class: "likeness-card",
      "data-slug": card.slug,
      "aria-pressed": String(card.slug === value),
      "aria-label": `${card.name}: ${texts.join(", ")}`,
      title: `${card.name} (${card.slug})\n${texts.join("\n")}`,
      click: choose,
    },
    card.thumbnail
      ? el("img", { alt: "", draggable: "false", "data-src": picture(card.slug, card.thumbnail, { size: 96 }) })
      : el("span", { class: "likeness-nobody", "aria-hidden": "true", text: [...card.name][0] ?? "?" }),
    el(
      "span",
      { class: "likeness-card-text" },
      el("strong", { text: card.name }),
      card.error ? el("span", { class: "likeness-error", text: card.error }) : el("span", { class: "likeness-badges" }, chips),
    ),
  );
}

function choose(combo, card, mark) {
  const { values } = combo.options;
  asOneStep(() => {
    if (!values.includes(card.slug)) combo.options.values = [...values, card.slug]; // made after the page was loaded
    combo.value = card.slug;
    combo.callback?.(card.slug);
  });
  mark();
}

function emptyState(search) {
  if (search) return el("p", { class: "likeness-empty", text: t("No character is found by “{search}”.", { search }) });
  return el(
    "div",
    { class: "likeness-empty" },
    el("p", { text: t("There is no character yet: make one from three to five photos of one person, in the panel or with Create Character.") }),
    button(t("Open the panel"), () => app.extensionManager.command.execute("Likeness.OpenPanel"), { "data-action": "panel" }),
  );
}

const each = (run) => {
  for (const node of allNodes()) if (pickers.has(node)) run(pickers.get(node));
};

/** After characters were made, changed or moved to the trash: new cards, and new values for the lists. */
async function changed() {
  answers = new Map();
  const slugs = [];
  for (let total = 1; slugs.length < total; ) {
    const found = await cards("", slugs.length, MOST);
    slugs.push(...found.characters.map((card) => card.slug));
    total = found.characters.length ? found.total : 0;
  }
  each(({ combo, reload }) => {
    if (slugs.length) combo.options.values = [...slugs].sort();
    reload();
  });
}

app.registerExtension({
  name: "Likeness.Picker",
  init: words,
  nodeCreated: created,
  afterConfigureGraph: () => each(({ mark }) => mark()),
  refreshComboInNodes() {
    answers = new Map();
    each(({ reload }) => reload());
  },
  commands: [
    {
      id: "Likeness.FindCharacter",
      label: "Likeness: find a character for the selected node",
      icon: "pi pi-search",
      function: () => {
        const chosen = [...(app.canvas.selectedItems ?? [])].find((item) => pickers.has(item));
        pickers.get(chosen)?.field.focus({ preventScroll: true });
      },
    },
  ],
  keybindings: [{ combo: { key: "k", alt: true, shift: true }, commandId: "Likeness.FindCharacter" }],
  setup() {
    onLibraryChange(() => changed().catch(() => {}));
  },
});
