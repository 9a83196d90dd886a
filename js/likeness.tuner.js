// A sweep's heat map from its data: cells with their numbers, and the pictures of a cell by a click.

import { app } from "../../scripts/app.js";
import { el } from "./lib/dom.mjs";
import { colourOf, inkOn, restOf, tableOf } from "./lib/widget-heat.mjs";
import { look, pictureOf } from "./lib/widget-picture.mjs";
import { resultView } from "./lib/widget-results.mjs";
import { t } from "./lib/words.mjs";

const KEPT = 200; // pictures that go into the workflow
const MOST = { axes: 5, values: 20, cells: 400, files: 64 };
const NUMBERS = ["likeness", "prompt", "variety"];
const COUNTS = ["seeds", "pictures", "measurable", "copies"];

const number = (value) => (Number.isFinite(value) ? value : null);

/** A heat map from what the node sent, or from a file; undefined where it is none. */
function read(values) {
  const told = values.likeness_heat?.[0];
  if (!Array.isArray(told?.axes) || !told.axes.length || !Array.isArray(told.cells)) return undefined;
  const axes = told.axes.slice(0, MOST.axes).map((axis) => ({
    name: String(axis?.name ?? ""),
    values: (Array.isArray(axis?.values) ? axis.values : []).slice(0, MOST.values).map((value) => (typeof value === "number" ? value : String(value))),
  }));
  if (axes.some((axis) => !axis.values.length)) return undefined;
  const measures = (Array.isArray(told.measures) ? told.measures : []).filter((one) => NUMBERS.includes(one?.key));
  return {
    axes,
    measures: measures.length ? measures.map(({ key, name }) => ({ key, name: String(name) })) : [{ key: "likeness", name: "likeness" }],
    cells: told.cells.slice(0, MOST.cells).map((cell) => cellFrom(cell, axes)).filter(Boolean),
    folder: String(told.folder ?? ""),
    rule: String(told.rule ?? ""),
    no_winner: String(told.no_winner ?? ""),
  };
}

function cellFrom(cell, axes) {
  const at = axes.map((axis, i) => cell?.at?.[i]);
  if (!at.every((index, i) => Number.isInteger(index) && index >= 0 && index < axes[i].values.length)) return null;
  const files = (Array.isArray(cell.files) ? cell.files : []).filter((file) => typeof file?.[0] === "string").slice(0, MOST.files);
  return {
    at,
    ...Object.fromEntries(NUMBERS.map((key) => [key, number(cell[key])])),
    ...Object.fromEntries(COUNTS.map((key) => [key, number(cell[key]) ?? 0])),
    winner: cell.winner === true,
    control: cell.control === true,
    remark: String(cell.remark ?? ""),
    files: files.map(([name, value]) => [name, number(value)]),
  };
}

function kept(data) {
  const each = Math.max(1, Math.floor(KEPT / Math.max(1, data.cells.length)));
  return { likeness_heat: [{ ...data, cells: data.cells.map((cell) => ({ ...cell, files: cell.files.slice(0, each) })) }] };
}

function draw(data, node) {
  if (!data) return [el("p", { class: "likeness-hint", text: t("Run the graph: the strengths that were tried are shown here.") })];
  const rests = restOf(data);
  const chosen = { measure: data.measures[0].key, rest: rests.best };
  const place = el("div", { class: "likeness-heat" });
  const show = () => place.replaceChildren(table(data, chosen, (cell) => open(place.parentElement, data, cell)));
  const measure = choice(t("Measure"), data.measures.map(({ key, name }) => [key, t(name)]), chosen.measure, (value) => Object.assign(chosen, { measure: value }) && show());
  const others = rests.names.length > 1 ? choice(t("The other strengths"), rests.names.map((name, i) => [String(i), name]), String(chosen.rest), (value) => Object.assign(chosen, { rest: Number(value) }) && show()) : null;
  show();
  const winner = data.cells.find((cell) => cell.winner);
  const told = winner ? t("Winner: {cell}", { cell: nameOf(data, winner) }) : t("No winner: {reason}", { reason: data.no_winner });
  return [
    el("div", { class: "likeness-bar" }, data.measures.length > 1 ? measure : null, others),
    el("p", { class: "likeness-sum", role: "status", title: data.rule, text: `${told}. ${t("W = winner, C = control")}` }),
    place,
  ];
}

function choice(label, options, value, run) {
  const select = el("select", { class: "likeness-choice", "aria-label": label, title: label, change: () => run(select.value) }, options.map(([key, text]) => el("option", { value: key, text })));
  select.value = value;
  return select;
}

const text = (value) => (typeof value === "number" ? String(Math.round(value * 1e4) / 1e4) : value);
const nameOf = (data, cell) => data.axes.map((axis, i) => `${axis.name} ${text(axis.values[cell.at[i]])}`).join(", ");
const shown = (value) => (value === null ? "–" : value.toFixed(3));
const short = (value) => (typeof value === "number" ? text(value) : value.replaceAll("\\", "/").split("/").pop().replace(/\.[^.]*$/, ""));

/** One table: the first axis down, the second across. Arrow keys go from cell to cell. */
function table(data, { measure, rest }, open) {
  const { rows, span } = tableOf(data, measure, rest);
  const [down, across] = data.axes;
  const head = el("tr", {}, el("td", { text: across ? `${down.name} ↓ ${across.name} →` : `${down.name} ↓` }), (across?.values ?? [""]).map((value) => el("th", { scope: "col", text: short(value), title: text(value) })));
  const body = rows.map((cells, r) => el("tr", {}, el("th", { scope: "row", text: short(down.values[r]), title: text(down.values[r]) }), cells.map((cell) => el("td", {}, cell ? cellButton(data, cell, measure, span, open) : null))));
  const made = el("table", { keydown: (event) => walk(made, event) }, el("thead", {}, head), el("tbody", {}, body));
  (made.querySelector("button.winner") ?? made.querySelector("button"))?.setAttribute("tabindex", "0");
  return made;
}

function cellButton(data, cell, measure, span, open) {
  const value = cell[measure];
  const colour = value === null ? null : colourOf((value - span[0]) / (span[1] - span[0]));
  const letters = `${cell.winner ? "W" : ""}${cell.control ? "C" : ""}`;
  const words = sentence(data, cell);
  return el(
    "button",
    {
      type: "button",
      class: `likeness-cell${cell.winner ? " winner" : ""}${value === null ? " none" : ""}`,
      style: colour && `background:rgb(${colour});color:${inkOn(colour)}`,
      tabindex: "-1",
      title: words,
      "aria-label": words,
      click: () => open(cell),
    },
    letters ? el("strong", { text: `${letters} ` }) : null,
    value === null && cell.seeds ? t("n/m") : shown(value),
  );
}

/** A whole cell in words. */
function sentence(data, cell) {
  const parts = data.measures.map(({ key, name }) => `${t(name)} ${shown(cell[key])}`);
  parts.push(t("{measurable} of {pictures} pictures measurable", cell), t("{seeds} seeds", cell));
  if (cell.copies) parts.push(t("{copies} copies of a reference", cell));
  return `${nameOf(data, cell)}: ${parts.join(", ")}${cell.remark ? `. ${cell.remark}` : ""}`;
}

function walk(made, event) {
  const cell = event.target.closest("td");
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!cell || !step) return;
  const to = made.rows[cell.parentElement.rowIndex + step[0]]?.cells[cell.cellIndex + step[1]]?.querySelector("button");
  if (!to) return;
  event.preventDefault();
  for (const one of made.querySelectorAll("button")) one.tabIndex = one === to ? 0 : -1;
  to.focus();
}

function open(content, data, cell) {
  const folder = { subfolder: `${data.folder}/pictures`, type: "output" };
  const items = cell.files.map(([filename, value]) => ({
    picture: () => pictureOf({ filename, ...folder }, filename),
    file: { filename, ...folder },
    text: `${nameOf(data, cell)}. ${filename}: ${value === null ? t("not measurable") : t("similarity {value}", { value: value.toFixed(3) })}`,
  }));
  look(content, items.length ? items : [{ picture: () => null, text: sentence(data, cell) }], 0);
}

app.registerExtension(
  resultView({
    name: "Likeness.Tuner",
    nodes: ["LikenessTuneStrengths"],
    property: "likeness_heat",
    label: () => t("Heat map"),
    read,
    kept,
    draw,
    height: (data) => (data ? 240 : 48),
  }),
);
