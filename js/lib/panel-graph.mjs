// From the panel into the graph.

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { t } from "./words.mjs";

const NODE = "LikenessLoadCharacter";
const EXAMPLE = "02 Portrait from cached identity";

/** Adds a Load Character node for the character in the middle of what is seen. */
export async function useInGraph(panel, slug) {
  const node = await made(slug);
  const { ds, canvas } = app.canvas;
  const ratio = globalThis.devicePixelRatio || 1;
  node.pos = [canvas.width / ratio / 2 / ds.scale - ds.offset[0] - 100, canvas.height / ratio / 2 / ds.scale - ds.offset[1] - 60];
  (app.canvas.graph ?? app.graph).add(node);
  choose(node, slug);
  app.canvas.selectItems?.([node]);
  panel.say(t("Load Character was added."));
}

/** Lists come from the server; a character that was just made is not in them yet. */
async function made(slug) {
  const node = globalThis.LiteGraph.createNode(NODE);
  if (listed(node).includes(slug)) return node;
  await app.refreshComboInNodes();
  return globalThis.LiteGraph.createNode(NODE);
}

function listed(node) {
  const values = node.widgets?.find((one) => one.name === "character")?.options.values;
  return Array.isArray(values) ? values : [];
}

function choose(node, slug) {
  const widget = node.widgets?.find((one) => one.name === "character");
  if (!widget) return;
  if (Array.isArray(widget.options.values) && !widget.options.values.includes(slug)) widget.options.values = [...widget.options.values, slug];
  widget.value = slug;
  widget.callback?.(slug);
  app.canvas.setDirty(true, true);
}

/** Opens the portrait template in a new tab, with the character chosen. The pack's folder may have any name. */
export async function openExample(panel, slug) {
  const folder = decodeURIComponent(new URL(import.meta.url).pathname.split("/extensions/")[1].split("/")[0]);
  await panel.run(t("Opening"), async () => {
    const answer = await api.fetchApi(`/workflow_templates/${encodeURIComponent(folder)}/${encodeURIComponent(`${EXAMPLE}.json`)}`);
    if (!answer.ok) throw new Error(t("The example is not there."));
    await app.loadGraphData(await answer.json(), true, true, EXAMPLE);
    const graph = app.rootGraph ?? app.graph;
    for (const node of graph.nodes ?? graph._nodes) if (node.comfyClass === NODE || node.type === NODE) choose(node, slug);
    return { report: t("{name} is open, with {slug}.", { name: EXAMPLE, slug }) };
  });
}
