// What the tests of test_row09_panel.py begin with: a page, and ComfyUI's two scripts, as far as the panel uses them.
import assert from 'node:assert/strict';
class Element {
  constructor(tag) { this.tag = tag; this.children = []; this.attributes = {}; this.on = {}; this.style = {}; this.dataset = {}; this.scrollTop = 0; this.clientHeight = 500; }
  set innerHTML(value) { throw new Error('markup'); }
  own(given) { for (const one of given) if (one instanceof Element) one.parent = this; return given; }
  append(...given) { this.children.push(...this.own(given)); }
  replaceChildren(...given) { this.children = this.own(given); }
  insertBefore(one) { this.append(one); }
  remove() { this.parent.children = this.parent.children.filter((one) => one !== this); }
  getAttribute(name) { return this.attributes[name] ?? null; }
  querySelectorAll(wanted) { return wanted === 'img[data-src]' ? this.all().filter((one) => one.tag === 'img' && one.attributes['data-src']) : []; }
  setAttribute(name, value) { this.attributes[name] = value; }
  removeAttribute(name) { delete this.attributes[name]; }
  addEventListener(name, run) { this.on[name] = run; }
  contains(one) { return this === one || this.children.some((child) => child?.contains?.(one)); }
  querySelector(wanted) { return this.all().find((one) => one.tag === wanted) ?? null; }
  all() { return this.children.flatMap((child) => (child instanceof Element ? [child, ...child.all()] : [])); }
  focus() { document.activeElement = this; }
  click() { return this.on.click?.({}); }
  get text() { return [this.textContent, ...this.children.map((child) => (child instanceof Element ? child.text : String(child)))].filter(Boolean).join(' '); }
}
globalThis.document = { createElement: (tag) => new Element(tag) };
globalThis.ResizeObserver = class { observe() {} disconnect() {} };
const { api, asked, listeners } = await import('./scripts/api.js');
const { app, toasts, tabs, questions } = await import('./scripts/app.js');
const json = (value, status = 200) => new Response(JSON.stringify(value), { status });
const tell = (name, detail) => { for (const [event, heard] of [...listeners]) if (event === name) heard({ type: name, detail }); };
const soon = (ms = 20) => new Promise((done) => setTimeout(done, ms));
const LIB = './extensions/likeness/lib';
const PAGE_OF_ADA = { slug: 'ada', name: 'Ada', methods: {}, loras: {}, families: [], references: 1, problems: [], advice: [], base: [], outfits: [], training_sets: [],
  references_list: [{ index: 0, file: 'references/001.png', source: '', weight: 1, thumbnail: 'tag', face: null, similarity: null, outlier: '' }] };
async function opened(path = 'likeness.panel.js') {
  await import(`./extensions/likeness/${path}`);
  await app.extension.setup();
  const container = new Element('div');
  tabs[0].render(container);
  await soon();
  return container;
}
const CARD = { slug: 'ada', name: 'Ada', methods: {}, loras: {}, families: [], references: 1 };
const library = (path) => json(path.includes('?') ? { total: 1, characters: [CARD] } : PAGE_OF_ADA);
const find = (container, action) => container.all().find((one) => one.attributes['data-action'] === action);
