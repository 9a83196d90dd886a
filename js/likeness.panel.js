// The Characters panel: a sidebar tab with a list of cards and a page for each.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { onLibraryChange } from "./lib/changes.mjs";
import { el, root } from "./lib/dom.mjs";
import { get } from "./lib/http.mjs";
import { doctorPage } from "./lib/panel-doctor.mjs";
import { listPage } from "./lib/panel-list.mjs";
import { characterPage } from "./lib/panel-page.mjs";
import { loadWords, t } from "./lib/words.mjs";

const TAB = "likeness-characters";

/** What the panel shows now. One at a time: ComfyUI makes it anew whenever the tab is opened. */
class Panel {
  constructor(container) {
    this.main = el("div", { class: "likeness-main" });
    this.status = el("div", { class: "likeness-status", role: "status", "aria-live": "polite" });
    container.style.height = "100%"; // ComfyUI gives it none, and the list scrolls by itself
    // The command line and other programs tell nobody what they change: whoever comes back to the panel looks again.
    container.replaceChildren(root("panel", { pointerenter: () => this.changes.soon() }, this.main, this.status));
    this.heard = (event) => this.progressed(event.detail);
    api.addEventListener("likeness.progress", this.heard);
    // A graph of anybody's may have changed a character: ComfyUI tells everybody when its queue has.
    this.changes = onLibraryChange(() => this.page?.refresh?.(), ["status", "reconnected"]);
    this.list();
  }

  /** The list, where the user left it. */
  list() {
    this.show(listPage(this));
  }

  open(slug) {
    this.show(characterPage(this, slug));
  }

  doctor() {
    this.show(doctorPage(this));
  }

  show(page) {
    if (this.gone) return page.destroy?.(); // an action has ended after the tab was closed
    this.page?.destroy?.();
    this.page = page;
    this.main.replaceChildren(page.element);
    page.focus?.();
  }

  say(text) {
    this.status.textContent = text;
  }

  /** Runs an action of the user's: its sentence below, or what went wrong, and never two at once. */
  async run(text, action) {
    if (this.busy) {
      this.told("warn", t("Another action is still running: wait until it ends."));
      return undefined;
    }
    this.busy = true;
    this.main.setAttribute("aria-busy", "true");
    this.say(text);
    try {
      const told = await action();
      if (told?.report) this.told("success", told.report);
      this.say(told?.report?.split("\n")[0] ?? "");
      return told;
    } catch (error) {
      this.told("error", error.message);
      this.say(error.message);
      return undefined;
    } finally {
      this.busy = false;
      this.main.removeAttribute("aria-busy");
    }
  }

  told(severity, detail) {
    app.extensionManager.toast.add({ severity, summary: "Likeness", detail, life: severity === "error" ? 12000 : 6000 });
  }

  progressed({ done, of }) {
    if (this.busy) this.say(t("{done} of {of}", { done, of }));
  }

  destroy() {
    this.gone = true;
    this.changes.stop();
    this.page?.destroy?.();
    api.removeEventListener("likeness.progress", this.heard);
  }
}

let panel;

app.registerExtension({
  name: "Likeness.Panel",
  commands: [
    {
      id: "Likeness.OpenPanel",
      label: "Likeness: characters",
      icon: "pi pi-users",
      function: () => app.extensionManager.command.execute(`Workspace.ToggleSidebarTab.${TAB}`),
    },
    {
      id: "Likeness.Doctor",
      label: "Likeness: doctor",
      icon: "pi pi-heart",
      function: async () => {
        if (!panel) await app.extensionManager.command.execute(`Workspace.ToggleSidebarTab.${TAB}`);
        panel?.doctor();
      },
    },
  ],
  menuCommands: [{ path: ["Extensions", "Likeness"], commands: ["Likeness.OpenPanel", "Likeness.Doctor"] }],
  async setup() {
    get("characters?most=1").catch(() => {}); // so that the server has read every profile before the panel is opened
    await loadWords();
    app.extensionManager.registerSidebarTab({
      id: TAB,
      icon: "pi pi-users",
      title: t("Characters"),
      tooltip: t("Characters of Likeness"),
      type: "custom",
      render(container) {
        panel?.destroy();
        panel = new Panel(container);
      },
      destroy() {
        panel?.destroy();
        panel = undefined;
      },
    });
  },
});
