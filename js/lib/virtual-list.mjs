// A list of which only the visible rows exist, fetched page by page. Rows are of one height.

import { el } from "./dom.mjs";

const PAGE = 200; // rows fetched at once
const MORE = 6; // rows kept above and below the visible ones
const REST = 120; // ms without a scroll, after which pictures are fetched: of rows that fly past nobody sees one

/**
 * `fetchPage(first, most)` gives {total, rows}; `draw(row, index)` gives an element, in which pictures have `data-src` in
 * the place of `src`; `height` is in px.
 * `show(rows)` may be called again at any time: pages that were asked for before are forgotten.
 */
export function virtualList({ height, fetchPage, draw, label, empty }) {
  const sizer = el("div", { class: "likeness-rows", role: "list", "aria-label": label });
  const view = el("div", { class: "likeness-scroll", tabindex: "-1" }, sizer);
  let total = 0;
  let pages = new Map();
  let asked = new Set();
  let turn = 0;
  let drawn = new Map();
  let note; // what is shown in place of rows: there are none, or they could not be fetched
  let active = 0; // the row that Tab reaches
  let wanted = -1; // the row that gets the focus as soon as it is there
  let scrolling; // a timer

  async function ask(page) {
    if (asked.has(page)) return;
    asked.add(page);
    const mine = turn;
    let found;
    try {
      found = await fetchPage(page * PAGE, PAGE);
    } catch (error) {
      asked.delete(page);
      if (mine !== turn) return;
      instead(el("p", { class: "likeness-error", role: "alert", text: error.message }));
      return;
    }
    if (mine !== turn) return;
    const before = pages.get(page);
    // Else what is drawn is true, and stays under the user's hands.
    if (note || found.total !== total || (before && JSON.stringify(before) !== JSON.stringify(found.rows))) clear();
    total = found.total;
    active = Math.max(0, Math.min(total - 1, active)); // else Tab would reach no row of a list that got shorter
    pages.set(page, found.rows);
    sizer.style.height = `${total * height}px`;
    if (total === 0) instead(empty());
    else update();
    if (page + 1 < total / PAGE) ask(page + 1); // so that scrolling waits for nothing
  }

  function clear() {
    if (sizer.contains(document.activeElement)) wanted = active; // a keyboard stays where it is
    note = undefined;
    drawn = new Map();
    sizer.replaceChildren();
  }

  function instead(element) {
    clear();
    note = element;
    sizer.replaceChildren(note);
  }

  const row = (index) => pages.get(Math.floor(index / PAGE))?.[index % PAGE];

  function update() {
    if (total === 0) return;
    const first = Math.max(0, Math.floor(view.scrollTop / height) - MORE);
    const last = Math.min(total - 1, Math.ceil((view.scrollTop + view.clientHeight) / height) + MORE);
    for (const [index, element] of drawn) {
      if (index >= first && index <= last) continue;
      element.remove();
      drawn.delete(index);
    }
    for (let index = first; index <= last; index += 1) {
      const values = row(index);
      if (!values) ask(Math.floor(index / PAGE));
      else if (!drawn.has(index)) place(index, values);
    }
    if (!scrolling) pictures();
    const target = drawn.get(wanted);
    if (!target) return;
    wanted = -1;
    (target.querySelector("button") ?? target).focus({ preventScroll: true });
  }

  function scrolled() {
    clearTimeout(scrolling);
    scrolling = setTimeout(() => {
      scrolling = undefined;
      pictures();
    }, REST);
    update();
  }

  function pictures() {
    for (const element of drawn.values())
      for (const image of element.querySelectorAll("img[data-src]")) {
        image.setAttribute("src", image.getAttribute("data-src"));
        image.removeAttribute("data-src");
      }
  }

  function place(index, values) {
    const element = draw(values, index);
    element.setAttribute("role", "listitem");
    element.setAttribute("aria-setsize", total);
    element.setAttribute("aria-posinset", index + 1);
    element.dataset.index = index;
    Object.assign(element.style, { position: "absolute", top: `${index * height}px`, height: `${height}px` });
    const target = element.querySelector("button") ?? element;
    target.tabIndex = index === active ? 0 : -1;
    const after = [...drawn.keys()].filter((other) => other > index).sort((a, b) => a - b)[0];
    sizer.insertBefore(element, after === undefined ? null : drawn.get(after)); // the order of Tab and of screen readers
    drawn.set(index, element);
  }

  function focus(index) {
    active = Math.max(0, Math.min(total - 1, index));
    const top = active * height;
    if (top < view.scrollTop) view.scrollTop = top;
    if (top + height > view.scrollTop + view.clientHeight) view.scrollTop = top + height - view.clientHeight;
    wanted = active;
    for (const [at, element] of drawn) (element.querySelector("button") ?? element).tabIndex = at === active ? 0 : -1;
    update();
  }

  view.addEventListener("scroll", scrolled, { passive: true });
  view.addEventListener("keydown", (event) => {
    const at = Number(event.target.closest("[data-index]")?.dataset.index);
    if (Number.isNaN(at)) return;
    const page = Math.max(1, Math.floor(view.clientHeight / height) - 1);
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: total - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    focus(moves[event.key]);
  });
  const watcher = new ResizeObserver(update);
  watcher.observe(view);

  return {
    element: view,
    get total() {
      return total;
    },
    /** Everything anew; `keep` stays where the user has scrolled to, and draws only what has changed. */
    async show(keep = false) {
      turn += 1;
      asked = new Set();
      if (!keep) {
        pages = new Map();
        clear();
        view.scrollTop = 0;
        active = 0;
      }
      const at = Math.floor(view.scrollTop / height / PAGE);
      await ask(0);
      if (at > 0) await ask(at);
    },
    destroy() {
      clearTimeout(scrolling);
      watcher.disconnect();
    },
  };
}
