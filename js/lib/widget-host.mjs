// A part of ours on a node: a DOM widget that shows something and never holds a value.

import { app } from "../../../scripts/app.js";
import { root } from "./dom.mjs";
import { loadWords } from "./words.mjs";

// Here and not in the sheet: the node must have its size before the sheet is there, and content must never grow it.
const STYLE = "position:relative;width:100%;height:100%;overflow:hidden;contain:layout size";
const MARGIN = 20; // px that the canvas leaves above and below a DOM widget together
const owners = new WeakMap(); // element -> {node, name}
let asked;

/** Reads the texts once for all extensions; give it to `init`, so that they are there before the first node. */
export function words() {
  asked ??= loadWords();
  return asked;
}

/**
 * Adds elements to a node as its last widget; gives the element around them.
 * `least()`: height in px below which it is not drawn; `removed`: runs when the node goes.
 */
export function addView(node, { name, label, least, removed }, ...children) {
  // The wheel scrolls in here once something in here has the focus; else it zooms.
  const element = root(
    "node",
    { sheet: "likeness-nodes.css", style: STYLE, role: "group", "aria-label": label, tabindex: "-1", "data-capture-wheel": "true" },
    ...children,
  );
  const widget = node.addDOMWidget(name, "LIKENESS_VIEW", element, { serialize: false, hideOnZoom: false, getMinHeight: least });
  widget.serialize = false; // that above keeps it out of the prompt, this out of the file
  owners.set(element, { node, name });
  for (const event of ["onAdded", "onConfigure"]) follow(node, event, remountSoon);
  if (removed) follow(widget, "onRemove", removed);
  fit(node, element, least());
  return element;
}

/** Gives a view its least height in both renderers, and makes the node as high as its widgets now ask for. */
export function fit(node, element, least) {
  element.style.minHeight = `${least - MARGIN}px`; // Nodes 2.0 goes by the element, the canvas by getMinHeight
  const [, height] = node.computeSize();
  if (node.size[1] < height) node.setSize([node.size[0], height]);
  app.canvas?.setDirty(true, true);
}

/**
 * Nodes 2.0 may draw a node that undo has made anew in the place of the old one, and leave the old one's element there
 * (frontend 1.58). Puts the element of the node that is shown in its place.
 */
function remount() {
  waiting = false;
  const shown = app.canvas?.graph;
  if (!globalThis.LiteGraph?.vueNodesMode || !shown) return;
  for (const element of document.querySelectorAll("[data-node-id] .likeness-node")) {
    const owner = owners.get(element);
    const id = element.closest("[data-node-id]").dataset.nodeId;
    const node = (shown.nodes ?? []).find((one) => String(one.id) === id);
    if (!owner || !node || owner.node === node) continue;
    const own = node.widgets?.find((widget) => widget.name === owner.name && owners.has(widget.element))?.element;
    if (own && !own.isConnected) element.replaceWith(own);
  }
}

let waiting = false;

function remountSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => requestAnimationFrame(remount)); // when it has been drawn
}

/** Runs `after` when the object's own handler has run. */
export function follow(object, name, after) {
  const own = object[name];
  object[name] = function followed(...values) {
    const answer = own?.apply(this, values);
    after(...values);
    return answer;
  };
}

/** One step for undo, whatever the mouse and the keyboard did to get there. */
export function asOneStep(change) {
  app.canvas?.emitBeforeChange?.();
  try {
    change();
  } finally {
    app.canvas?.emitAfterChange?.();
    app.canvas?.setDirty(true, true);
  }
}

/** Every node, also those inside subgraphs. */
export function allNodes(graph = app.rootGraph ?? app.graph, seen = new Set()) {
  if (!graph || seen.has(graph)) return [];
  seen.add(graph);
  return (graph.nodes ?? []).flatMap((node) => [node, ...(node.subgraph ? allNodes(node.subgraph, seen) : [])]);
}

/** What the node's last run sent, as far as ComfyUI still has it. */
export function outputOf(node) {
  const inside = node.graph && node.graph.isRootGraph === false;
  return app.nodeOutputs?.[inside ? `${node.graph.id}:${node.id}` : String(node.id)];
}
