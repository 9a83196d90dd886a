// Looking at pictures in the place of the list that they belong to.

import { button, el } from "./dom.mjs";
import { view } from "./http.mjs";
import { t } from "./words.mjs";

const FOLDERS = ["input", "output", "temp"];

/** A file that ComfyUI serves, or null for what is none; workflows of others may hold anything. */
export function served(value) {
  if (!value || typeof value.filename !== "string" || !value.filename || !FOLDERS.includes(value.type)) return null;
  return { filename: value.filename, subfolder: String(value.subfolder ?? ""), type: value.type };
}

/**
 * Shows `items` ({picture, file, text}) one at a time over everything else in `content`, from number `index` on.
 * `picture()`: an element, or null; `file`: what ComfyUI serves. Escape goes back to what had the focus; arrows go on.
 */
export function look(content, items, index) {
  const before = document.activeElement;
  let at = index;
  const stage = el("div", { class: "likeness-stage" });
  const text = el("p", { class: "likeness-small", role: "status", "aria-live": "polite" });
  const back = button(t("Back"), close, { class: "likeness-back" });
  const steps = items.length > 1 ? [button("‹", () => go(-1), { "aria-label": t("Previous picture") }), button("›", () => go(1), { "aria-label": t("Next picture") })] : [];
  const alone = el("a", { target: "_blank", rel: "noopener noreferrer", text: t("Open") });
  const bar = el("div", { class: "likeness-bar" }, back, steps, alone);
  const element = el("div", { class: "likeness-viewer", role: "group", "aria-label": t("Picture"), keydown: pressed }, bar, stage, text);

  function show() {
    const { picture, file, text: told } = items[at];
    alone.hidden = !file;
    if (file) alone.href = view(file);
    stage.replaceChildren(picture() ?? gone(t("There is no picture of this one.")));
    text.textContent = told;
  }

  function go(step) {
    at = (at + step + items.length) % items.length;
    show();
  }

  function close() {
    element.remove();
    before?.focus?.({ preventScroll: true });
  }

  function pressed(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key !== "Escape" && !(step && items.length > 1)) return;
    event.preventDefault();
    event.stopPropagation();
    if (step) go(step);
    else close();
  }

  content.querySelector(":scope > .likeness-viewer")?.remove();
  content.append(element);
  show();
  back.focus({ preventScroll: true });
}

/** A picture that says so where its file is no more. */
export function pictureOf(file, alt) {
  if (!file) return null;
  const image = el("img", { src: view(file), alt, draggable: "false" });
  image.addEventListener("error", () => image.replaceWith(gone(t("The picture is gone: run the graph again."))));
  return image;
}

function gone(text) {
  return el("p", { class: "likeness-empty", text });
}
