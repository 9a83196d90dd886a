// What a training set takes and what it leaves out, with the crop, the reason, and a filter.

import { app } from "../../scripts/app.js";
import { el } from "./lib/dom.mjs";
import { view } from "./lib/http.mjs";
import { virtualList } from "./lib/virtual-list.mjs";
import { look, served } from "./lib/widget-picture.mjs";
import { resultView } from "./lib/widget-results.mjs";
import { t } from "./lib/words.mjs";

const KEPT = 100; // rows that go into the workflow
const HEIGHT = 62; // px of a row
const SMALL = 52; // px of its picture
const LARGEST = 20000; // px of a sheet's side

const number = (value, most) => (Number.isFinite(value) && value >= 0 && value <= most ? value : null);

/** A plan from what the node sent, or from a file; undefined where it is none. */
function read(values) {
  const told = values.likeness_plan?.[0];
  if (!Array.isArray(told?.rows)) return undefined;
  const size = [0, 1].map((i) => number(told.sheet?.size?.[i], LARGEST));
  const thumb = number(told.sheet?.thumb, 1024);
  const file = served(values.images?.[0]);
  return {
    name: String(told.name ?? ""),
    taken: number(told.taken, 1e6) ?? 0,
    left_out: number(told.left_out, 1e6) ?? 0,
    codes: Object.fromEntries(Object.entries(told.codes ?? {}).map(([code, count]) => [code, number(count, 1e6) ?? 0])),
    sheet: size.every(Boolean) && thumb ? { size, thumb } : null,
    file,
    rows: told.rows.filter((row) => row && typeof row === "object").map(rowFrom),
  };
}

function rowFrom(row) {
  const at = [0, 1].map((i) => number(row.at?.[i], LARGEST));
  return {
    source: String(row.source ?? ""),
    at: at.includes(null) ? null : at,
    code: String(row.code ?? ""),
    text: String(row.text ?? ""),
    of: String(row.of ?? ""),
    file: String(row.file ?? ""),
    size: number(row.width, 1e5) && number(row.height, 1e5) ? `${row.width} x ${row.height}` : String(row.size ?? ""),
    repeats: number(row.repeats, 1e4) ?? 0,
    verdict: String(row.verdict ?? ""),
    similarity: Number.isFinite(row.similarity) ? row.similarity : null,
  };
}

function kept({ rows, file, ...plan }) {
  const plain = rows.slice(0, KEPT).map((row) => Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null && value !== "" && value !== 0)));
  return { likeness_plan: [{ ...plan, rows: plain }], images: [file] };
}

function draw(data) {
  if (!data) return [el("p", { class: "likeness-hint", text: t("Run the graph: what is taken and what is left out, and why, is listed here.") })];
  let only = "";
  const fits = { "": () => true, taken: (row) => !row.code, "left out": (row) => row.code };
  const rows = () => data.rows.filter(fits[only] ?? ((row) => row.code === only.slice(1)));
  const list = virtualList({
    height: HEIGHT,
    label: t("Pictures"),
    fetchPage: async (first, most) => ({ total: rows().length, rows: rows().slice(first, first + most) }),
    draw: (row, index) => el("div", {}, rowButton(data, row, () => open(list.element.parentElement, data, rows(), index))),
    empty: () => el("p", { class: "likeness-empty", text: t("No picture is here.") }),
  });
  const total = data.taken + data.left_out;
  const options = [
    ["", t("All {count}", { count: total })],
    ["taken", t("Taken {count}", { count: data.taken })],
    ["left out", t("Left out {count}", { count: data.left_out })],
    ...Object.entries(data.codes).map(([code, count]) => [`=${code}`, `${t(code)} ${count}`]),
  ];
  const filter = el("select", { class: "likeness-choice", "aria-label": t("Show"), change: () => show(filter.value) }, options.map(([value, text]) => el("option", { value, text })));
  const show = (value) => {
    only = value;
    list.show();
  };
  list.show();
  const part = data.rows.length < total ? t("the first {shown} of {total}", { shown: data.rows.length, total }) : "";
  return [el("div", { class: "likeness-bar" }, filter, el("span", { class: "likeness-small", role: "status", text: [data.name, part].filter(Boolean).join(": ") })), list.element];
}

function rowButton(data, row, open) {
  const told = row.code ? `✗ ${t("left out")}: ${t(row.code)}` : `✓ ${row.file}: ${t("{size}, {repeats} times", row)}`;
  return el(
    "button",
    { type: "button", class: `likeness-picked ${row.code ? "rejected" : "accepted"}`, title: sentence(row), "aria-label": sentence(row), click: open },
    cut(data, row, SMALL) ?? el("span", { class: "likeness-nobody", "aria-hidden": "true", text: "?" }),
    el("span", { class: "likeness-card-text" }, el("span", { class: "likeness-verdict", text: told }), el("span", { class: "likeness-name", text: row.source }), el("span", { class: "likeness-reason", text: row.text })),
  );
}

function sentence(row) {
  const measured = row.similarity === null ? t(row.verdict) : `${t(row.verdict)} ${row.similarity.toFixed(3)}`;
  const of = row.of ? ` ${t("Of {name}.", { name: row.of })}` : "";
  if (row.code) return `${row.source}: ${t("left out")}, ${t(row.code)}. ${row.text}${of}`;
  return `${row.source}: ${row.file}, ${t("{size}, {repeats} times", row)}${measured ? `, ${measured}` : ""}. ${row.text}`;
}

/** The picture as the sheet shows it, with its crop, `side` px wide and high. */
function cut(data, row, side) {
  if (!row.at || !data.sheet || !data.file) return null;
  const scale = side / data.sheet.thumb;
  const [width, height] = data.sheet.size.map((value) => value * scale);
  const [left, top] = row.at.map((value) => -value * scale);
  const image = el("img", { src: view(data.file), alt: "", draggable: "false", style: `width:${width}px;height:${height}px;left:${left}px;top:${top}px` });
  image.addEventListener("error", () => image.remove());
  return el("span", { class: "likeness-cut", "aria-hidden": "true", style: `width:${side}px;height:${side}px` }, image);
}

function open(content, data, rows, index) {
  look(content, rows.map((row) => ({ picture: () => cut(data, row, data.sheet?.thumb ?? SMALL), text: sentence(row) })), index);
}

app.registerExtension(
  resultView({
    name: "Likeness.Training",
    nodes: ["LikenessBuildTrainingSet"],
    property: "likeness_plan",
    label: () => t("Training set"),
    read,
    kept,
    draw,
    height: (data) => (data ? 240 : 48),
  }),
);
