// Texts in the user's language, from locales/<language>/main.json; the English ones stand in the code.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

let words = {};

/** Reads the texts once, before anything is drawn. Without an answer everything is English. */
export async function loadWords() {
  try {
    const all = await (await api.fetchApi("/i18n")).json();
    const language = app.extensionManager?.setting?.get("Comfy.Locale") ?? "en";
    words = (all[language] ?? all[String(language).split("-")[0]] ?? {}).likeness ?? {};
  } catch {
    words = {};
  }
}

/** `t("Add", ...)`: the text for the English one, with {name} replaced. */
export function t(text, values = {}) {
  const found = Object.hasOwn(words, text) ? String(words[text]) : text; // some texts come from files
  return found.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}
