// Small helpers for building elements. Text is always text: nothing here reads markup.

/** Makes an element. `attributes` are set as they are; functions become listeners ("click"); children are appended. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, value);
    else if (name === "text") made.textContent = value;
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** The root of a part of ours: stylesheets of our own, so that nothing is put into the page's head. `sheet`: one more. */
export function root(name, { sheet, ...attributes } = {}, ...children) {
  const files = ["likeness.css", ...(sheet ? [sheet] : [])];
  const sheets = files.map((file) => el("link", { rel: "stylesheet", href: new URL(`../${file}`, import.meta.url).href }));
  return el("div", { class: `likeness likeness-${name}`, ...attributes }, sheets, ...children);
}

export function button(text, run, attributes = {}) {
  return el("button", { type: "button", text, click: run, ...attributes });
}

/** Arrow keys, Home and End move the focus among elements of one row or column; Tab leaves it. */
export function roving(container, selector) {
  const items = () => [...container.querySelectorAll(selector)];
  const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
  container.addEventListener("keydown", (event) => {
    const all = items();
    const at = all.indexOf(event.target.closest(selector));
    if (at < 0) return;
    const to = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : at + (steps[event.key] ?? 0);
    if (to === at || !all[to]) return;
    event.preventDefault();
    for (const item of all) item.tabIndex = item === all[to] ? 0 : -1;
    all[to].focus();
  });
}
