// The list of characters: search, cards, and what makes new ones.

import { app } from "../../../scripts/app.js";
import { button, el } from "./dom.mjs";
import { get, picture, post, upload } from "./http.mjs";
import { virtualList } from "./virtual-list.mjs";
import { t } from "./words.mjs";

const HEIGHT = 76; // px of a card
const TYPING = 150; // ms without a key until the search begins
let last = { search: "", top: 0 }; // where the user left the list

export function listPage(panel) {
  let search = last.search;
  const count = el("span", { class: "likeness-count" });
  const list = virtualList({
    height: HEIGHT,
    label: t("Characters"),
    draw: (card) => cardOf(panel, card),
    empty: () => emptyState(panel, search, pick),
    fetchPage: async (first, most) => {
      const mine = search;
      const found = await get(`characters?${new URLSearchParams({ search, first, most })}`);
      if (mine === search) count.textContent = t("{count} characters", { count: found.total });
      return { total: found.total, rows: found.characters };
    },
  });
  const field = el("input", {
    type: "search",
    class: "likeness-search",
    placeholder: t("Search characters"),
    "aria-label": t("Search characters"),
    value: search,
    input: () => {
      clearTimeout(field.later);
      field.later = setTimeout(() => {
        search = field.value.trim();
        list.show();
      }, TYPING);
    },
  });
  const pictures = filePicker("image/png,image/jpeg,image/webp", true, (files) => create(panel, files));
  const archive = filePicker(".zip,application/zip", false, (files) => importZip(panel, files[0]));
  const pick = () => pictures.click();
  const bar = el(
    "div",
    { class: "likeness-bar" },
    button(t("New"), pick, { title: t("Make a character from pictures"), "data-action": "new" }),
    button(t("Import"), () => archive.click(), { title: t("Add a character from a .zip file"), "data-action": "import" }),
    button(t("Doctor"), () => panel.doctor(), { title: t("What is missing, and what to do"), "data-action": "doctor" }),
    count,
  );
  const element = el("section", { class: "likeness-page", "aria-label": t("Characters") }, field, bar, list.element);
  element.append(pictures, archive);
  dropZone(element, (files) => create(panel, files));
  list.show().then(() => {
    list.element.scrollTop = last.top;
  });
  return {
    element,
    focus: () => field.focus({ preventScroll: true }),
    refresh: () => list.show(true),
    destroy: () => {
      last = { search, top: list.element.scrollTop };
      list.destroy();
    },
  };
}

function cardOf(panel, card) {
  const open = el(
    "button",
    { type: "button", class: "likeness-card", "data-slug": card.slug, click: () => panel.open(card.slug) },
    card.thumbnail
      ? el("img", { alt: "", width: 60, height: 60, "data-src": picture(card.slug, card.thumbnail) })
      : el("span", { class: "likeness-nobody", "aria-hidden": "true", text: card.name.slice(0, 1) }),
    el(
      "span",
      { class: "likeness-card-text" },
      el("strong", { text: card.name }),
      card.error ? el("span", { class: "likeness-error", text: card.error }) : el("span", { class: "likeness-badges" }, badges(card)),
    ),
  );
  return el("div", {}, open);
}

/** What a character has, as short texts. */
export function badges(card) {
  const methods = Object.entries(card.methods).map(([family, method]) => `${family} ${method.replace("_", " + ")}`);
  const loras = Object.entries(card.loras).map(([family, version]) => `LoRA v${version}${card.families.length > 1 ? ` ${family}` : ""}`);
  const parts = [
    [t("{count} references", { count: card.references }), card.references ? "" : "warning"],
    [card.embedded ? t("face stored") : t("no face yet"), card.embedded ? "" : "warning"],
    ...loras.map((text) => [text, ""]),
    ...methods.map((text) => [text, ""]),
    ...(card.calibrated ? [[t("calibrated"), "good"]] : []),
  ];
  return parts.map(([text, kind]) => el("span", { class: `likeness-badge ${kind}`, text }));
}

function emptyState(panel, search, pick) {
  if (search) return el("p", { class: "likeness-empty", text: t("No character is found by “{search}”.", { search }) });
  return el(
    "div",
    { class: "likeness-empty" },
    el("p", { text: t("There is no character yet. Drop three to five photos of one person here, or choose them.") }),
    button(t("Choose pictures"), pick),
  );
}

function filePicker(accept, multiple, run) {
  const input = el("input", { type: "file", accept, multiple, hidden: true, "aria-hidden": "true", tabindex: "-1" });
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = "";
    if (files.length) run(files);
  });
  return input;
}

/** Files dropped anywhere on the element; ComfyUI's own canvas gets none of them. */
export function dropZone(element, run) {
  const allowed = (event) => event.dataTransfer?.types?.includes("Files");
  element.addEventListener("dragover", (event) => {
    if (!allowed(event)) return;
    event.preventDefault();
    event.stopPropagation();
    element.classList.add("likeness-dropping");
  });
  element.addEventListener("dragleave", () => element.classList.remove("likeness-dropping"));
  element.addEventListener("drop", (event) => {
    element.classList.remove("likeness-dropping");
    if (!allowed(event)) return;
    event.preventDefault();
    event.stopPropagation();
    const files = [...event.dataTransfer.files].filter((file) => file.type.startsWith("image/"));
    if (files.length) run(files);
  });
}

async function create(panel, files) {
  const dialog = app.extensionManager.dialog;
  const name = await dialog.prompt({ title: t("New character"), message: t("Its name"), defaultValue: "" });
  if (!name?.trim()) return;
  const told = await panel.run(t("Looking at {count} pictures", { count: files.length }), async () =>
    post("characters", { name: name.trim(), images: await upload(files) }),
  );
  if (told) panel.open(told.slug);
}

async function importZip(panel, file) {
  const told = await panel.run(t("Importing"), async () => {
    const [name] = await upload([file]);
    return post("import", { file: name });
  });
  if (told) panel.open(told.slug);
}
