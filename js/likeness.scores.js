// Bars for the pictures that a node has scored: similarity, accept band, verdict and reason; a click shows the picture.

import { app } from "../../scripts/app.js";
import { el, roving } from "./lib/dom.mjs";
import { look, pictureOf, served } from "./lib/widget-picture.mjs";
import { resultView } from "./lib/widget-results.mjs";
import { t } from "./lib/words.mjs";

const NODES = [
  "LikenessScoreLikeness",
  "LikenessGate",
  "LikenessPickBest",
  "LikenessBestOfN",
  "LikenessDetailFace",
  "LikenessConsistencyReport",
];
const KEPT = 64; // rows that go into the workflow
const SIGNS = { accepted: "✓", rejected: "✗", "not measurable": "?" };
const KINDS = { accepted: "accepted", rejected: "rejected", "not measurable": "unknown" };

const cosine = (value) => (Number.isFinite(value) ? Math.max(-1, Math.min(1, value)) : null);

/** Rows from what a node sent, or from a file; only plain values of the expected kinds are taken over. */
function read(values) {
  const list = values.likeness_scores;
  if (!Array.isArray(list) || !list.length) return undefined;
  const pictures = values.likeness_pictures ?? values.images ?? [];
  const rows = list.filter((row) => row && typeof row === "object").map((row, index) => ({
    name: String(row.name ?? ""),
    verdict: Object.hasOwn(KINDS, row.verdict) ? row.verdict : "not measurable",
    reason: String(row.reason ?? ""),
    similarity: cosine(row.similarity),
    accept_from: cosine(row.accept_from),
    was: cosine(row.was),
    second: cosine(row.second ?? row.face?.second_similarity),
    copy: Boolean(row.copy ?? row.face?.copy),
    picked: Boolean(row.picked),
    picture: served(pictures[index]),
  }));
  return { rows, total: Math.max(rows.length, Number(values.total) || 0) };
}

function kept({ rows, total }) {
  const some = rows.slice(0, KEPT);
  const plain = some.map(({ picture, ...row }) => Object.fromEntries(Object.entries(row).filter(([, v]) => v !== null && v !== "" && v !== false)));
  return { likeness_scores: plain, likeness_pictures: some.map((row) => row.picture), total };
}

function draw(data) {
  if (!data) return [el("p", { class: "likeness-hint", text: t("Run the graph: the similarity of each picture is shown here.") })];
  const list = el("ul", { class: "likeness-list", "aria-label": t("Scores") });
  const low = Math.min(0, ...data.rows.flatMap((row) => [row.similarity ?? 0, row.was ?? 0]));
  list.append(...data.rows.map((row, index) => el("li", {}, bar(row, low, index, () => look(list.parentElement, items(data.rows), index)))));
  roving(list, "button");
  return [el("p", { class: "likeness-sum", role: "status", text: summary(data) }), list];
}

function summary({ rows, total }) {
  const count = (verdict) => rows.filter((row) => row.verdict === verdict).length;
  const parts = Object.keys(KINDS).map((verdict) => `${count(verdict)} ${t(verdict)}`);
  const bands = [...new Set(rows.map((row) => row.accept_from).filter((value) => value !== null))];
  if (bands.length === 1) parts.push(t("accepted from {value} on", { value: bands[0].toFixed(3) }));
  if (total > rows.length) parts.push(t("the first {shown} of {total}", { shown: rows.length, total }));
  return parts.join(", ");
}

function bar(row, low, index, open) {
  const place = (value) => `${(100 * (value - low)) / (1 - low)}%`;
  const zero = `left:${place(Math.min(0, row.similarity ?? 0))}`;
  const track = el(
    "span",
    { class: "likeness-track", "aria-hidden": "true" },
    row.accept_from === null ? null : el("span", { class: "likeness-accepted", style: `left:${place(row.accept_from)}` }),
    row.similarity === null ? null : el("span", { class: "likeness-fill", style: `${zero};width:calc(${place(Math.max(0, row.similarity))} - ${place(Math.min(0, row.similarity))})` }),
    row.was === null ? null : el("span", { class: "likeness-mark", style: `left:${place(row.was)}` }),
    row.accept_from === null ? null : el("span", { class: "likeness-edge", style: `left:${place(row.accept_from)}` }),
  );
  return el(
    "button",
    { type: "button", class: `likeness-score ${KINDS[row.verdict]}`, tabindex: index ? "-1" : "0", "aria-label": sentence(row), title: sentence(row), click: open },
    el("span", { class: "likeness-name", text: row.name }),
    el("span", { class: "likeness-verdict", text: `${row.picked ? "★ " : ""}${SIGNS[row.verdict]} ${t(row.verdict)}` }),
    track,
    el("span", { class: "likeness-value", text: row.similarity === null ? "–" : row.similarity.toFixed(3) }),
    row.reason ? el("span", { class: "likeness-reason", text: row.reason }) : null,
  );
}

/** The whole row in words. */
function sentence(row) {
  const parts = [t(row.verdict)];
  if (row.similarity !== null) parts.push(t("similarity {value}", { value: row.similarity.toFixed(3) }));
  if (row.was !== null) parts.push(t("before {value}", { value: row.was.toFixed(3) }));
  if (row.second !== null) parts.push(t("second encoder {value}", { value: row.second.toFixed(3) }));
  if (row.accept_from !== null) parts.push(t("accepted from {value} on", { value: row.accept_from.toFixed(3) }));
  if (row.copy) parts.push(t("perhaps a copy of a reference"));
  if (row.picked) parts.push(t("picked"));
  return `${row.name}: ${parts.join(", ")}${row.reason ? `. ${row.reason}` : ""}`;
}

const items = (rows) => rows.map((row) => ({ picture: () => pictureOf(row.picture, row.name), file: row.picture, text: sentence(row) }));

app.registerExtension(
  resultView({
    name: "Likeness.Scores",
    nodes: NODES,
    property: "likeness_scores",
    label: () => t("Scores"),
    read,
    kept,
    draw,
    height: (data) => (data ? Math.min(Math.max(60 + 46 * data.rows.length, 190), 240) : 48),
  }),
);
