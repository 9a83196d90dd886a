// The parts of a character's page: references, identity, LoRA versions, strengths, training sets, words.

import { app } from "../../../scripts/app.js";
import { button, el } from "./dom.mjs";
import { deletesForGood, picture } from "./http.mjs";
import { t } from "./words.mjs";

const cosine = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));
const share = (value) => `${Math.round(100 * value)} %`;

function part(title, ...children) {
  const given = children.flat().filter(Boolean);
  return given.length ? el("details", { class: "likeness-part", open: true }, el("summary", { text: title }), given) : null;
}

// ---- references

export function referencesPart(page, found) {
  const tiles = found.references_list.map((reference) => tile(page, found, reference));
  return part(t("References"), tiles.length ? el("ul", { class: "likeness-tiles" }, tiles) : el("p", { text: t("None yet: add pictures of the face.") }));
}

function tile(page, found, reference) {
  const name = reference.source || reference.file;
  const lines = [
    reference.face ? poseText(reference.face) : t("no face found"),
    reference.similarity === null ? "" : t("similarity to the others {value}", { value: cosine(reference.similarity) }),
    reference.weight === 1 ? "" : t("weight {value}", { value: reference.weight }),
  ].filter(Boolean);
  const source = picture(page.slug, reference.thumbnail, { reference: reference.index, size: 256, box: true });
  return el(
    "li",
    { class: reference.outlier || !reference.face ? "likeness-tile warning" : "likeness-tile" },
    reference.thumbnail ? el("img", { src: source, alt: `${name}: ${lines[0]}`, loading: "lazy" }) : el("span", { class: "likeness-nobody", text: "?" }),
    el("span", { class: "likeness-name", text: name, title: name }),
    lines.map((text) => el("span", { class: "likeness-small", text })),
    reference.outlier ? el("span", { class: "likeness-error", text: reference.outlier }) : null,
    button(t("Remove"), () => remove(page, reference, name), { "aria-label": t("Remove {name}", { name }), "data-action": "remove" }),
  );
}

function poseText(face) {
  const side = Math.abs(face.yaw) < 0.2 ? t("frontal") : face.yaw < 0 ? t("turned left") : t("turned right");
  return `${side}, ${Math.round(face.width)} px`;
}

async function remove(page, reference, name) {
  const for_good = await deletesForGood(page.panel);
  if (for_good === undefined) return;
  const message = for_good
    ? t("Take {name} out of the references and delete the picture for good? This cannot be undone.", { name })
    : t("Take {name} out of the references?", { name });
  const sure = await app.extensionManager.dialog.confirm({ title: t("Remove"), message });
  const { file, thumbnail } = reference; // a new picture may have got the file's name since
  if (sure) await page.act("remove_reference", { file, thumbnail, for_good }, t("Removing"));
}

// ---- identity

export function identityPart(page, found) {
  const { band, spread } = found;
  if (!band && !spread) return null;
  const text = band
    ? band.calibrated
      ? t("Accepted from {value} on, calibrated {date}. Expected: {reject} of its own pictures rejected, {accept} of strangers accepted.", {
          value: cosine(band.threshold), date: band.date.slice(0, 10), reject: share(band.false_reject), accept: share(band.false_accept),
        })
      : t("Accepted from {value} on: not calibrated.", { value: cosine(band.threshold) })
    : "";
  return part(
    t("Identity"),
    spread ? spreadPlot(spread, band) : null,
    el("p", { text }),
    band?.stale ? el("p", { class: "likeness-small", text: band.stale }) : null,
    band?.nearest_character ? el("p", { class: "likeness-small", text: t("Nearest other character: {name}, {value}", { name: band.nearest_character, value: cosine(band.nearest_similarity) }) }) : null,
  );
}

/** Each reference's similarity to the others on one line from 0 to 1, with the accept band behind them. */
function spreadPlot(spread, band) {
  const at = (value) => `${(100 * Math.min(1, Math.max(0, value))).toFixed(1)}%`;
  const dots = spread.values.map((value) => el("span", { class: "likeness-dot", style: `left:${at(value)}`, title: cosine(value) }));
  const behind = band ? el("span", { class: "likeness-accepted", style: `left:${at(band.threshold)}` }) : null;
  const marks = [
    [band?.impostor_max, t("nearest stranger")],
    [band?.threshold, t("accepted from here")],
  ].filter(([value]) => typeof value === "number");
  const lines = marks.map(([value, title]) => el("span", { class: "likeness-mark", style: `left:${at(value)}`, title: `${title}: ${cosine(value)}` }));
  const label = t("Similarity of each reference to the others: {min} to {max}, mean {mean}", {
    min: cosine(spread.min), max: cosine(spread.max), mean: cosine(spread.mean),
  });
  return el("figure", { class: "likeness-figure" }, el("div", { class: "likeness-line", role: "img", "aria-label": label }, behind, lines, dots), el("figcaption", { class: "likeness-small", text: label }));
}

// ---- LoRA versions

export function lorasPart(page, found) {
  const rows = found.base.flatMap((base) => base.loras.map((version) => [base.family, version]));
  if (!rows.length) return null;
  const families = [...new Set(rows.map(([family]) => family))];
  return part(
    t("LoRA versions"),
    el("table", {}, el("thead", {}, el("tr", {}, [t("family"), t("version"), t("consistency"), t("against"), ""].map((text) => el("th", { scope: "col", text })))), el("tbody", {}, rows.map(([family, version]) => versionRow(page, family, version)))),
    families.map((family) =>
      button(t("Draw {family} without a LoRA", { family }), () => page.act("activate", { family, version: 0 }, t("Switching")), { "data-action": "no-lora" }),
    ),
  );
}

function versionRow(page, family, version) {
  const told = version.comparison;
  const rate = told && typeof told.rate === "number" ? share(told.rate) : "–";
  const other = told ? `${told.against} ${typeof told.against_rate === "number" ? share(told.against_rate) : "–"}` : "–";
  const active = version.active !== false;
  const use = active ? el("strong", { text: t("active") }) : button(t("Use"), () => page.act("activate", { family, version: version.version }, t("Switching")), { "data-action": "activate" });
  return el("tr", { title: told?.verdict ?? version.file }, el("td", { text: family }), el("td", { text: `v${version.version}` }), el("td", { text: rate }), el("td", { text: other }), el("td", {}, use));
}

// ---- strengths

const SOURCES = { preset: "from the preset", swept: "from a sweep", hand: "set by hand" };

export function strengthsPart(found) {
  const tables = found.base.map((base) => {
    const numbers = Object.entries(base.strengths ?? {}).filter(([name]) => name !== "source");
    const where = t(SOURCES[base.strengths?.source ?? "preset"]);
    const head = el("p", { text: `${base.family}: ${base.uses.replaceAll("_", " ")}, ${where}${base.sweep ? ` (${base.sweep.date.slice(0, 10)}, ${base.sweep.renders} ${t("pictures")})` : ""}` });
    return [head, numbers.length ? el("dl", {}, numbers.flatMap(([name, value]) => [el("dt", { text: name.replaceAll("_", " ") }), el("dd", { text: value })])) : null];
  });
  return part(t("Strengths"), tables.flat());
}

// ---- training sets

export function setsPart(found) {
  return part(t("Training sets"), found.training_sets.map(setOf));
}

function setOf(one) {
  if (one.error) return el("p", { class: "likeness-error", text: `${one.name}: ${one.error}` });
  const left = Object.entries(one.left_out).map(([code, count]) => `${count} ${code}`).join(", ");
  const rows = one.balance.filter((row) => row.target !== null && row.value);
  return el(
    "div",
    {},
    el("p", { text: t("{name}: {pictures} pictures for {family}, trigger {trigger}", one) }),
    left ? el("p", { class: "likeness-small", text: t("Left out: {left}", { left }) }) : null,
    rows.map((row) => bar(row.value, row.share, row.target)),
  );
}

/** A share and its target, as a bar with a mark. */
function bar(name, value, target) {
  const text = `${name}: ${share(value)}, ${t("target {value}", { value: share(target) })}`;
  return el(
    "div",
    { class: "likeness-balance", role: "img", "aria-label": text, title: text },
    el("span", { text: name }),
    el("span", { class: "likeness-track" }, el("span", { class: "likeness-fill", style: `width:${100 * Math.min(1, value)}%` }), el("span", { class: "likeness-mark", style: `left:${100 * Math.min(1, target)}%` })),
    el("span", { text: share(value) }),
  );
}

// ---- words

export function wordsPart(found) {
  const rows = [
    [t("trigger"), found.trigger],
    [t("class word"), found.class_word],
    [t("description"), found.description],
    [t("negative"), found.negative],
    [t("face model"), found.face_model],
    [t("notes"), found.notes],
    ...found.outfits.map((outfit) => [t("outfit {name}", { name: outfit.name }), outfit.text]),
  ].filter(([, value]) => value);
  return part(t("Words"), rows.length ? el("dl", {}, rows.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })])) : null);
}
