// What a node found, shown on the node: after a run, after a change of tabs, and after the page or the file was opened
// again. ComfyUI forgets results when the page is loaded, so a small copy stays in the node's properties.

import { addView, allNodes, fit, follow, outputOf, words } from "./widget-host.mjs";
import { el } from "./dom.mjs";

const views = new WeakMap(); // node -> {take, stored}

/**
 * An extension for nodes that show results.
 * `read(values)`: data to show from what the node sent, or from a file that anybody may have written; undefined for none.
 * `kept(data)`: the part of it that goes into the workflow. `draw(data, node)`: elements; `height(data)`: px.
 */
export function resultView({ name, nodes, property, label, read, kept, draw, height }) {
  function created(node) {
    if (!nodes.includes(node.comfyClass)) return;
    let data;
    const content = el("div", { class: "likeness-content" });
    const element = addView(node, { name: property, label: label(), least: () => height(data) }, content);
    const show = (found) => {
      data = found;
      content.replaceChildren(...draw(found, node));
      fit(node, element, height(found));
    };
    const take = (output) => {
      const found = output && read(output);
      if (!found) return false;
      node.properties[property] = kept(found);
      show(found);
      return true;
    };
    const stored = () => take(outputOf(node)) || show(read(node.properties[property] ?? {}));
    follow(node, "onExecuted", take);
    follow(node, "onConfigure", stored);
    views.set(node, { take, stored });
    content.replaceChildren(...draw(undefined, node));
  }

  const each = (run) => {
    for (const node of allNodes()) if (nodes.includes(node.comfyClass) && views.has(node)) run(views.get(node), node);
  };

  return {
    name,
    init: words,
    nodeCreated: created,
    onNodeOutputsUpdated: () => each((view, node) => view.take(outputOf(node))),
    afterConfigureGraph: () => each((view) => view.stored()),
  };
}
