// Settings that the server keeps for everybody, shown among ComfyUI's own; commands; keys.

import { app } from "../../scripts/app.js";
import { el } from "./lib/dom.mjs";
import { get, post } from "./lib/http.mjs";
import { words } from "./lib/widget-host.mjs";

const FIELDS = { FaceModel: "face_model", Provider: "provider", KeepCrops: "keep_crops", DeleteForGood: "delete_for_good" };
const BEST = "auto"; // "" for the server: the best face model that is installed
const models = [{ text: BEST, value: BEST }];
const folders = el("span", { class: "likeness-folders" }); // the setting's own element, filled when the server has answered
let server; // what the server keeps; undefined until it has answered, and nothing is sent before

/** A change by the user goes to the server; what the page has remembered from another time does not. */
function changes(id) {
  return async (chosen) => {
    const field = FIELDS[id];
    const value = chosen === BEST && id === "FaceModel" ? "" : chosen;
    if (!server || server[field] === value) return;
    const before = server[field];
    server[field] = value;
    try {
      await post("settings", { [field]: value });
    } catch (error) {
      server[field] = before;
      app.extensionManager.toast.add({ severity: "error", summary: "Likeness", detail: error.message, life: 12000 });
      await show(id);
    }
  };
}

function setting(id, section, name, tooltip, more) {
  return { id: `Likeness.${id}`, category: ["Likeness", section, id], name, tooltip, ...more };
}

const SETTINGS = [
  setting("Library", "Library", "Folders of characters", "Where characters are. More come from extra_model_paths.yaml, under the key characters.", {
    type: () => folders,
    defaultValue: "",
  }),
  setting("FaceModel", "Face model", "Face model for new characters", "A pack in models/insightface/models. auto: the best that is installed.", {
    type: "combo",
    options: models,
    defaultValue: BEST,
    onChange: changes("FaceModel"),
  }),
  setting("Provider", "Face model", "Where face models run", "auto takes CUDA where onnxruntime has it.", {
    type: "combo",
    options: ["cpu", "auto", "cuda"],
    defaultValue: "cpu",
    onChange: changes("Provider"),
  }),
  setting("KeepCrops", "Privacy", "Keep the crops of faces", "Off: of a face only its vector is stored, not its aligned picture. Some FaceID adapters need the crop.", {
    type: "boolean",
    defaultValue: true,
    onChange: changes("KeepCrops"),
  }),
  setting("DeleteForGood", "Privacy", "Delete means delete", "On: a character that is deleted is gone at once, with every vector of its faces. Off: it goes to the library's trash.", {
    type: "boolean",
    defaultValue: false,
    onChange: changes("DeleteForGood"),
  }),
];

/** Shows what the server keeps of one field. */
const show = (id) => app.extensionManager.setting.set(`Likeness.${id}`, server[FIELDS[id]] === "" ? BEST : server[FIELDS[id]]);

async function load() {
  const found = await get("settings");
  server = { ...found };
  folders.replaceChildren(...found.library.map((path) => el("div", { text: path })));
  for (const id of Object.keys(FIELDS)) await show(id);
}

/** Adds a Load Character node where the user looks, and goes to its search field. */
async function addCharacter() {
  const node = globalThis.LiteGraph.createNode("LikenessLoadCharacter");
  if (!node) return;
  const { ds, canvas } = app.canvas;
  const ratio = globalThis.devicePixelRatio || 1;
  node.pos = [canvas.width / ratio / 2 / ds.scale - ds.offset[0] - 150, canvas.height / ratio / 2 / ds.scale - ds.offset[1] - 120];
  app.canvas.emitBeforeChange?.();
  (app.canvas.graph ?? app.graph).add(node);
  app.canvas.emitAfterChange?.();
  app.canvas.selectItems?.([node]);
  requestAnimationFrame(() => app.extensionManager.command.execute("Likeness.FindCharacter"));
}

app.registerExtension({
  name: "Likeness.Settings",
  settings: SETTINGS,
  commands: [
    { id: "Likeness.AddCharacter", label: "Likeness: add Load Character", icon: "pi pi-user-plus", function: addCharacter },
    { id: "Likeness.Refresh", label: "Likeness: read the library again", icon: "pi pi-refresh", function: () => app.refreshComboInNodes() },
  ],
  keybindings: [
    { combo: { key: "l", alt: true, shift: true }, commandId: "Likeness.OpenPanel" },
    { combo: { key: "j", alt: true, shift: true }, commandId: "Likeness.AddCharacter" },
  ],
  init: words,
  /** The packs are those that the nodes offer. */
  addCustomNodeDefs(defs) {
    const input = defs.LikenessScoreLikeness?.input?.optional?.face_model;
    const listed = Array.isArray(input?.[0]) ? input[0] : (input?.[1]?.options ?? []);
    models.push(...listed.filter((name) => name !== BEST).map((name) => ({ text: name, value: name })));
  },
  async setup() {
    try {
      await load();
    } catch (error) {
      console.warn("Likeness: its settings could not be read.", error.message);
    }
  },
});
