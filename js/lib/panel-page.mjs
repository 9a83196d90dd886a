// The page of one character.

import { app } from "../../../scripts/app.js";
import { button, el } from "./dom.mjs";
import { deletesForGood, get, post, queue, upload, view } from "./http.mjs";
import { openExample, useInGraph } from "./panel-graph.mjs";
import { badges, dropZone } from "./panel-list.mjs";
import { identityPart, lorasPart, referencesPart, setsPart, strengthsPart, wordsPart } from "./panel-parts.mjs";
import { t } from "./words.mjs";

export function characterPage(panel, slug) {
  const body = el("div", { class: "likeness-scroll likeness-body", tabindex: "0" });
  const title = el("h2", { text: slug });
  const badgesRow = el("div", { class: "likeness-badges" });
  const back = button("←", () => panel.list(), { "aria-label": t("Back to all characters"), "data-action": "back" });
  const files = el("input", { type: "file", accept: "image/png,image/jpeg,image/webp", multiple: true, hidden: true, tabindex: "-1" });
  const page = { panel, slug, act: (path, values, text) => panel.run(text, () => post(`characters/${slug}/${path}`, values)) };
  const element = el(
    "section",
    { class: "likeness-page", "aria-label": slug },
    el("header", { class: "likeness-head" }, back, title),
    badgesRow,
    actions(page, () => files.click()),
    body,
    files,
  );
  const add = (given) => addPictures(page, given);
  files.addEventListener("change", () => {
    const given = [...files.files];
    files.value = "";
    if (given.length) add(given);
  });
  dropZone(element, add);

  let turn = 0; // of two answers the later question's counts
  let shown; // the answer that is drawn; an equal one changes nothing under the user's hands
  async function refresh() {
    const mine = (turn += 1);
    let found;
    try {
      found = await get(`characters/${slug}`);
      if (mine !== turn) return;
    } catch (error) {
      if (mine !== turn) return;
      shown = undefined;
      body.replaceChildren(el("p", { class: "likeness-error", role: "alert", text: error.message }));
      return;
    }
    const text = JSON.stringify(found);
    if (text === shown) return;
    shown = text;
    title.textContent = found.name;
    element.setAttribute("aria-label", found.name);
    badgesRow.replaceChildren(...badges(found));
    const top = body.scrollTop;
    const focused = body.contains(document.activeElement);
    body.replaceChildren(...parts(page, found));
    body.scrollTop = top;
    if (focused) body.focus({ preventScroll: true }); // what had it is gone, and Tab would begin at the page's start
  }
  refresh();
  return { element, refresh, focus: () => back.focus({ preventScroll: true }) };
}

function parts(page, found) {
  const problems = found.problems.length || found.advice.length ? [notes([...found.problems, ...found.advice])] : [];
  return [
    ...problems,
    referencesPart(page, found),
    identityPart(page, found),
    lorasPart(page, found),
    strengthsPart(found),
    setsPart(found),
    wordsPart(found),
  ].filter(Boolean);
}

function notes(texts) {
  return el("ul", { class: "likeness-notes" }, texts.map((text) => el("li", { text })));
}

function actions(page, choose) {
  const { panel, slug } = page;
  const each = [
    ["use", t("Use in graph"), () => useInGraph(panel, slug).catch((error) => panel.told("error", error.message))],
    ["example", t("Open example"), () => openExample(panel, slug)],
    ["add", t("Add pictures"), choose],
    ["compile", t("Compile"), () => compile(panel, slug)],
    ["calibrate", t("Calibrate"), () => page.act("calibrate", {}, t("Calibrating"))],
    ["duplicate", t("Duplicate"), () => duplicate(page)],
    ["rename", t("Rename"), () => rename(page)],
    ["export", t("Export"), () => exportZip(page)],
    ["trash", t("Delete"), () => trash(page)],
  ];
  const made = each.map(([name, text, run]) => button(text, run, { "data-action": name }));
  return el("div", { class: "likeness-bar", role: "toolbar", "aria-label": t("Actions") }, made);
}

async function addPictures(page, files) {
  await page.panel.run(t("Looking at {count} pictures", { count: files.length }), async () =>
    post(`characters/${page.slug}/references`, { images: await upload(files) }),
  );
}

/** By the queue, because it needs the models that graphs use. */
function compile(panel, slug) {
  const prompt = {
    1: { class_type: "LikenessLoadCharacter", inputs: { character: slug }, _meta: { title: "Load Character" } },
    2: { class_type: "LikenessCompileIdentity", inputs: { character: ["1", 0], family: "auto", adapter: "auto", image_encoder: "auto" }, _meta: { title: "Compile Identity" } },
  };
  return panel.run(t("Compiling"), async () => {
    await queue(prompt);
    return { report: t("Compiling is queued: the queue shows when it is done.") };
  });
}

async function duplicate(page) {
  const name = await app.extensionManager.dialog.prompt({ title: t("Duplicate"), message: t("Name of the copy"), defaultValue: "" });
  if (!name?.trim()) return;
  const told = await page.act("duplicate", { name: name.trim() }, t("Copying"));
  if (told) page.panel.open(told.slug);
}

async function rename(page) {
  const name = await app.extensionManager.dialog.prompt({ title: t("Rename"), message: t("New name"), defaultValue: "" });
  if (!name?.trim()) return;
  const told = await page.act("rename", { name: name.trim() }, t("Renaming"));
  if (told) page.panel.open(told.slug);
}

async function exportZip(page) {
  const told = await page.act("export", {}, t("Exporting"));
  if (!told) return;
  el("a", { href: view(told), download: told.filename }).click();
}

async function trash(page) {
  const for_good = await deletesForGood(page.panel);
  if (for_good === undefined) return;
  const message = for_good
    ? t("Delete {slug} for good, with its pictures and faces? This cannot be undone.", { slug: page.slug })
    : t("Move {slug} to the library's trash?", { slug: page.slug });
  const sure = await app.extensionManager.dialog.confirm({ title: t("Delete"), message, type: "delete" });
  if (sure && (await page.act("trash", { for_good }, t("Deleting")))) page.panel.list();
}
