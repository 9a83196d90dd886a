#!/usr/bin/env node
// The example graphs in the real ComfyUI editor, driven by a headless Chromium.
//
//   node editor.mjs build --server URL --api DIR --out DIR    API graphs -> UI graphs, as the editor writes them
//   node editor.mjs check --server URL --ui DIR --api DIR [--shots DIR]
//       loads each UI graph in both renderers: no missing node, no bad widget, no console error, and
//       the prompt that the editor builds from it equals the API graph of the same name
//
// Needs Node >= 18, a Chromium (CHROMIUM, default /usr/bin/chromium) and playwright-core (PLAYWRIGHT_CORE: a
// folder that has it in node_modules). Nothing but the given server is reached.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createRequire } from 'node:module'

const [command, ...rest] = process.argv.slice(2)
const options = Object.fromEntries(rest.map((word, i) => [word, rest[i + 1]]).filter(([word]) => word.startsWith('--')))
const TITLES = {
  create_character: '01 Create a character',
  portrait: '02 Portrait from cached identity',
  lora_faceid_score: '03 LoRA and FaceID with score',
  two_characters: '04 Two characters in one picture',
  best_of_n: '05 Best of N seeds',
  tune_strengths: '06 Tune the strengths',
  training_set: '07 Photos to a training set',
  train_lora: '08 Train and register a LoRA',
  compare_versions: '09 Compare two versions',
  quick_faceid: '10 Quick FaceID test',
  outfits: '11 Outfits',
  backgrounds: '12 Backgrounds',
  controlnet_pose: '13 Pose with ControlNet',
  controlnet_depth: '14 Depth with ControlNet',
  controlnet_canny: '15 Canny with ControlNet',
  controlnet_segmentation: '16 Segmentation with ControlNet',
  controlnet_normal: '17 Normals with ControlNet',
  expressions: '18 Expressions',
  base_images: '19 Base images from a description',
  base_to_character: '20 Base image to character',
  character_sheet: '21 Character sheet',
  score_gate: '22 Score and gate',
  upscale: '23 Upscale with the face kept',
  inpaint: '24 Edit a part with the face kept',
  sdxl: '25 SDXL',
  flux2: '26 Flux.2 without FaceID',
  wan_video: '27 Video with Wan',
}
const SETTINGS = { 'Comfy.TutorialCompleted': true, 'Comfy.Minimap.Visible': false, 'Comfy.Workflow.ShowMissingModelsWarning': false }
// What every offline ComfyUI prints.
const NOISE = /ERR_NAME_NOT_RESOLVED|ERR_INTERNET_DISCONNECTED|ERR_FAILED|ERR_BLOCKED_BY_CLIENT|ERR_ABORTED|status of 404|legacy queue|open_maskeditor|graph accessed before initialization/

function playwright() {
  for (const base of [process.env.PLAYWRIGHT_CORE, process.cwd(), os.homedir()].filter(Boolean)) {
    try { return createRequire(path.join(path.resolve(base), 'x.js'))('playwright-core') } catch { /* next place */ }
  }
  throw new Error('playwright-core was not found: run "npm i playwright-core" somewhere and set PLAYWRIGHT_CORE to that folder')
}

async function openEditor(nodes2) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'likeness-editor-'))
  const context = await playwright().chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium', headless: true, viewport: { width: 1600, height: 1000 },
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
  })
  const page = context.pages()[0] ?? (await context.newPage())
  const errors = []
  page.on('console', (m) => { if (m.type() === 'error' && !NOISE.test(m.text())) errors.push(m.text().slice(0, 300)) })
  page.on('pageerror', (e) => errors.push(String(e).slice(0, 300)))
  await page.route('**/*', async (route) => {
    const url = new URL(route.request().url())
    if (url.origin !== new URL(options['--server']).origin) return route.abort('blockedbyclient')
    if (url.pathname !== '/api/settings' || route.request().method() !== 'GET') return route.continue()
    const answer = await route.fetch()
    return route.fulfill({ response: answer, json: { ...(await answer.json()), ...SETTINGS, 'Comfy.VueNodes.Enabled': nodes2 } })
  })
  await page.goto(options['--server'], { waitUntil: 'domcontentloaded', timeout: 120000 })
  await page.waitForFunction(() => window.app?.vueAppReady === true && !!window.app?.extensionManager, null, { timeout: 180000 })
  await page.waitForTimeout(800)
  return { page, errors, close: async () => { await context.close(); fs.rmSync(profile, { recursive: true, force: true }) } }
}

// Runs in the page: place nodes in columns by their distance from the inputs, and say in a note what files are wanted.
function arrange([title, note]) {
  const graph = window.app.rootGraph ?? window.app.graph
  // A second run of these must not draw other seeds on one side, nor train once more, nor make other scenes.
  for (const node of /^(0[89]|1[128]|19|2[0134]) /.test(title) ? graph.nodes : [])
    for (const widget of node.widgets ?? []) if (widget.name === 'control_after_generate') widget.value = 'fixed'
  const depth = new Map()
  const column = (node) => {
    if (!depth.has(node)) {
      const before = node.inputs.map((_, slot) => node.getInputNode(slot)).filter(Boolean)
      depth.set(node, before.length ? 1 + Math.max(...before.map(column)) : 0)
    }
    return depth.get(node)
  }
  const inOneRow = parseInt(title) > 9
  graph.nodes.forEach(column)
  // What has no inputs stands before the first node that wants it, so that links stay short.
  for (const node of inOneRow ? graph.nodes : []) {
    if (node.inputs.some((_, slot) => node.getInputNode(slot))) continue
    const wanting = graph.nodes.filter((other) => other.inputs.some((_, slot) => other.getInputNode(slot) === node))
    if (wanting.length) depth.set(node, Math.min(...wanting.map(column)) - 1)
  }
  const columns = []
  for (const node of graph.nodes) (columns[column(node)] ??= []).push(node)
  const filled = columns.filter(Boolean), half = Math.ceil(filled.length / 2)
  const perRow = half > 2 && !inOneRow ? half : filled.length
  let top = 80
  for (let first = 0; first < filled.length; first += perRow) {
    let x = 40, bottom = top
    for (const nodes of filled.slice(first, first + perRow)) {
      let y = top, width = 0
      for (const node of nodes) {
        const least = node.computeSize()
        const size = [Math.max(least[0], 320), Math.max(least[1], /^(Load|Save|Preview)Image$/.test(node.type) ? 320 : 0)]
        node.setSize(size)
        node.pos = [x, y]
        y += size[1] + (inOneRow ? 120 : 80)
        width = Math.max(width, size[0])
      }
      x += width + 80
      bottom = Math.max(bottom, y)
    }
    top = bottom + 20
  }
  const text = window.LiteGraph.createNode('MarkdownNote')
  graph.add(text)
  text.title = title
  const lines = note.split('\n').reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / 120)), 0)
  const height = inOneRow ? 60 + 22 * lines : 330
  text.pos = [40, inOneRow ? 10 - height : -320]
  text.setSize([900, height])
  text.widgets[0].value = note
  window.app.canvas.setDirty(true, true)
}

// Runs in the page: what is wrong with the loaded graph, and the prompt the editor builds from it.
async function inspect() {
  const nodes = (window.app.rootGraph ?? window.app.graph).nodes
  const problems = nodes.filter((n) => !window.LiteGraph.registered_node_types[n.type]).map((n) => `missing node ${n.type}`)
  for (const n of nodes) for (const w of n.widgets ?? []) if (w.value === undefined && w.options?.serialize !== false && w.type !== 'button') problems.push(`${n.type}.${w.name} has no value`)
  return { problems, prompt: (await window.app.graphToPrompt()).output }
}

const read = (file) => JSON.parse(fs.readFileSync(file, 'utf8'))
const fit = async (page) => { await page.evaluate(() => window.app.extensionManager.command.execute('Comfy.Canvas.FitView')); await page.waitForTimeout(900) }

async function build() {
  const notes = read(path.join(options['--api'], '..', 'tools', 'notes.json'))
  for (const [name, title] of Object.entries(TITLES)) {
    const { page, close } = await openEditor(false) // a fresh one: the editor keeps widget values by node id from graph to graph
    await page.evaluate(async ([graph, file]) => window.app.loadApiJson(graph, file), [read(path.join(options['--api'], name + '.json')), name])
    await page.waitForTimeout(1500)
    await page.evaluate(arrange, [title, notes[name]])
    const workflow = await page.evaluate(() => (window.app.rootGraph ?? window.app.graph).serialize())
    workflow.extra = {}
    fs.writeFileSync(path.join(options['--out'], title + '.json'), JSON.stringify(workflow, null, 1) + '\n')
    await close()
  }
}

// Values by node, links by the node they lead to; ids differ between the two formats.
function canonical(prompt) {
  const label = (id) => `${prompt[id].class_type}/${prompt[id]._meta?.title ?? ''}`
  const value = (v) => (Array.isArray(v) && v.length === 2 && prompt[v[0]] ? [label(v[0]), v[1]] : v)
  const rows = Object.keys(prompt).filter((id) => prompt[id].class_type !== 'MarkdownNote')
  return Object.fromEntries(rows.map((id) => [label(id), Object.fromEntries(Object.entries(prompt[id].inputs).map(([k, v]) => [k, value(v)]).sort())]).sort())
}

function differences(ours, theirs) {
  const found = []
  for (const node of new Set([...Object.keys(ours), ...Object.keys(theirs)]))
    for (const key of new Set([...Object.keys(ours[node] ?? {}), ...Object.keys(theirs[node] ?? {})]))
      if (JSON.stringify(ours[node]?.[key]) !== JSON.stringify(theirs[node]?.[key]))
        found.push(`${node}.${key}: editor ${JSON.stringify(ours[node]?.[key])}, API file ${JSON.stringify(theirs[node]?.[key])}`)
  return found
}

async function check() {
  let failed = 0, passed = 0
  for (const nodes2 of [false, true]) {
    const { page, errors, close } = await openEditor(nodes2)
    for (const [name, title] of Object.entries(TITLES)) {
      await page.evaluate(async (graph) => window.app.loadGraphData(graph, true, true, null), read(path.join(options['--ui'], title + '.json')))
      await page.waitForTimeout(1500)
      const { problems, prompt } = await page.evaluate(inspect)
      problems.push(...differences(canonical(prompt), canonical(read(path.join(options['--api'], name + '.json')))), ...errors.splice(0))
      if (options['--shots']) { await fit(page); await page.screenshot({ path: path.join(options['--shots'], `${name}.${nodes2 ? 'nodes2' : 'litegraph'}.png`) }) }
      console.log(`${problems.length ? 'FAILED' : 'ok'}  ${title} (${nodes2 ? 'Nodes 2.0' : 'LiteGraph'})`)
      for (const problem of problems) console.log(`        ${problem}`)
      problems.length ? failed++ : passed++
    }
    await close()
  }
  console.log(`${passed} passed, ${failed} failed`)
  process.exitCode = failed ? 1 : 0
}

await { build, check }[command]()
