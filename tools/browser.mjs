// A headless Chromium on a ComfyUI editor, what scripts do in it, and a list of checks. Nothing but the given server is reached.
//
// Needs Node >= 18, a Chromium (CHROMIUM, default /usr/bin/chromium) and playwright-core (PLAYWRIGHT_CORE: a folder that
// has it in node_modules).

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createRequire } from 'node:module'

// Without a tour, and without what covers a part of the graph.
const PLAIN = { 'Comfy.TutorialCompleted': true, 'Comfy.Minimap.Visible': false }
// What every offline ComfyUI prints.
const NOISE = /ERR_NAME_NOT_RESOLVED|ERR_INTERNET_DISCONNECTED|ERR_FAILED|ERR_BLOCKED_BY_CLIENT|ERR_ABORTED|status of 404|legacy queue|open_maskeditor|graph accessed before initialization/

/** ["--name", "value", ...] as an object. */
export function optionsOf(words) {
  return Object.fromEntries(words.map((word, i) => [word, words[i + 1]]).filter(([word]) => word.startsWith('--')))
}

export const read = (file) => JSON.parse(fs.readFileSync(file, 'utf8'))

function playwright() {
  for (const place of [process.env.PLAYWRIGHT_CORE, process.cwd(), os.homedir()].filter(Boolean)) {
    try { return createRequire(path.join(path.resolve(place), 'x.js'))('playwright-core') } catch { /* next place */ }
  }
  throw new Error('playwright-core was not found: run "npm i playwright-core" somewhere and set PLAYWRIGHT_CORE to that folder')
}

/** A page of a fresh browser with its `folder`; `settings` stand above those that the server keeps. `start()` loads the editor. */
export async function openBrowser(server, settings = {}) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'likeness-browser-'))
  const context = await playwright().chromium.launchPersistentContext(folder, {
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium', headless: true, viewport: { width: 1600, height: 1000 },
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
  })
  const page = context.pages()[0] ?? (await context.newPage())
  const errors = []
  page.on('console', (m) => { if (m.type() === 'error' && !NOISE.test(m.text())) errors.push(m.text().slice(0, 300)) })
  page.on('pageerror', (e) => errors.push(String(e.stack ?? e).slice(0, 300)))
  await page.route('**/*', async (route) => {
    const url = new URL(route.request().url())
    if (url.origin !== new URL(server).origin) return route.abort('blockedbyclient')
    if (url.pathname !== '/api/settings' || route.request().method() !== 'GET') return route.continue()
    const answer = await route.fetch()
    return route.fulfill({ response: answer, json: { ...(await answer.json()), ...PLAIN, ...settings } })
  })
  async function start() {
    await page.goto(server, { waitUntil: 'domcontentloaded', timeout: 120000 })
    await page.waitForFunction(() => window.app?.vueAppReady === true && !!window.app?.extensionManager, null, { timeout: 180000 })
    await page.waitForTimeout(1500)
  }
  return { page, errors, folder, start, close: async () => { await context.close(); fs.rmSync(folder, { recursive: true, force: true }) } }
}

/** A page with the editor in it, in one of its two renderers. */
export async function openEditor(server, nodes2, settings = {}) {
  const opened = await openBrowser(server, { 'Comfy.Workflow.ShowMissingModelsWarning': false, 'Comfy.VueNodes.Enabled': nodes2, ...settings })
  await opened.start()
  return opened
}

/** The whole graph in view. */
export async function fit(page) {
  await page.evaluate(() => window.app.extensionManager.command.execute('Comfy.Canvas.FitView'))
  await page.waitForTimeout(900)
}

/** An API graph into the editor. */
export async function load(page, graph, name) {
  await page.evaluate(async ([nodes, title]) => window.app.loadApiJson(nodes, title), [graph, name])
  await page.waitForTimeout(1500)
}

/** The prompt that the editor builds. */
export const prompt = (page) => page.evaluate(async () => (await window.app.graphToPrompt()).output)

/** Queues the graph; ["execution_success", ""] when all of it ran, or what happened instead, and why. */
export const queue = (page, seconds) => page.evaluate(async (wait) => {
  const { api } = window.comfyAPI.api, told = []
  const listen = (event) => told.push([event.type, event.detail])
  const kinds = ['execution_success', 'execution_error', 'execution_interrupted']
  for (const kind of kinds) api.addEventListener(kind, listen)
  const send = api.queuePrompt
  let answer = {}
  api.queuePrompt = async (...given) => (answer = await send.apply(api, given))
  try {
    await window.app.queuePrompt(0, 1)
    const refused = Object.values(answer.node_errors ?? {}).flatMap((node) => node.errors.map((e) => `${node.class_type}: ${e.message}: ${e.details}`))
    if (!answer.prompt_id || refused.length) return ['refused', refused.join('; ')]
    for (const end = Date.now() + 1000 * wait; Date.now() < end; await new Promise((done) => setTimeout(done, 100))) {
      const [kind, detail] = told.find(([, one]) => one.prompt_id === answer.prompt_id) ?? []
      if (kind) return [kind, detail.exception_message ?? '']
    }
    return ['nothing', `within ${wait} s`]
  } finally {
    api.queuePrompt = send
    for (const kind of kinds) api.removeEventListener(kind, listen)
  }
}, seconds)

/** A prompt's values by node, links by the node they lead to: ids differ between files, and where there is a subgraph. */
export function canonical(nodes) {
  const label = (id) => `${nodes[id].class_type}/${nodes[id]._meta?.title ?? ''}`
  const value = (v) => (Array.isArray(v) && v.length === 2 && nodes[v[0]] ? [label(v[0]), v[1]] : v)
  const rows = Object.keys(nodes).filter((id) => nodes[id].class_type !== 'MarkdownNote')
  return Object.fromEntries(rows.map((id) => [label(id), Object.fromEntries(Object.entries(nodes[id].inputs).map(([k, v]) => [k, value(v)]).sort())]).sort())
}

/** Where two canonical prompts differ, a line each. */
export function differences(found, wanted) {
  const lines = []
  for (const node of new Set([...Object.keys(found), ...Object.keys(wanted)]))
    for (const key of new Set([...Object.keys(found[node] ?? {}), ...Object.keys(wanted[node] ?? {})]))
      if (JSON.stringify(found[node]?.[key]) !== JSON.stringify(wanted[node]?.[key]))
        lines.push(`${node}.${key}: ${JSON.stringify(found[node]?.[key])}, not ${JSON.stringify(wanted[node]?.[key])}`)
  return lines
}

/** Checks that print a line each; `finish` says how many failed. */
export function answers() {
  const failures = []
  function must(truth, text) { if (!truth) throw new Error(text) }
  function same(found, wanted, what) { must(JSON.stringify(found) === JSON.stringify(wanted), `${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`) }
  async function until(page, test, text, seconds = 20) {
    for (const end = Date.now() + 1000 * seconds; Date.now() < end; await page.waitForTimeout(50)) if (await test()) return
    throw new Error(`${text}, not within ${seconds} s`)
  }
  async function check(name, run, failed = () => {}) {
    try {
      const told = await run()
      console.log(`ok      ${name}${told ? `: ${told}` : ''}`)
    } catch (error) {
      failures.push(name)
      console.log(`FAILED  ${name}: ${String(error.message ?? error).split('\n')[0]}`)
      await failed()
    }
  }
  function finish() {
    console.log(failures.length ? `${failures.length} failed` : 'all well')
    process.exitCode = failures.length ? 1 : 0
  }
  return { failures, must, same, until, check, finish }
}
