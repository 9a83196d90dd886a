#!/usr/bin/env node
// The example graphs in the real ComfyUI editor, driven by a headless Chromium.
//
//   node editor.mjs build --server URL --api DIR --out DIR [--only NUMBERS]    API graphs -> UI graphs, as the editor writes them
//   node editor.mjs check --server URL --api DIR --base DIR [--only NUMBERS] [--shots DIR]
//       opens each from the Templates dialog in both renderers: no missing node, no bad widget, no two nodes over one
//       another, the prompt equals the API graph of the same name; then runs it, and the console has no error
//
// --base is ComfyUI's base directory, with the models and pictures that the graphs name. Needs what browser.mjs needs.

import fs from 'node:fs'
import path from 'node:path'
import { canonical, differences, fit, load, openEditor, optionsOf, queue, read } from './browser.mjs'

const [command, ...rest] = process.argv.slice(2)
const options = optionsOf(rest)
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
  wan_video: '27 Video with Wan'
}
const WANTED = Object.entries(TITLES).filter(([, title]) => !options['--only'] || options['--only'].split(',').includes(title.slice(0, 2)))

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
  graph.nodes.forEach(column)
  // What has no inputs stands before the first node that wants it, so that links stay short.
  for (const node of graph.nodes) {
    if (node.inputs.some((_, slot) => node.getInputNode(slot))) continue
    const wanting = graph.nodes.filter((other) => other.inputs.some((_, slot) => other.getInputNode(slot) === node))
    if (wanting.length) depth.set(node, Math.min(...wanting.map(column)) - 1)
  }
  const columns = []
  for (const node of graph.nodes) (columns[column(node)] ??= []).push(node)
  // Nodes grow by what a run shows: pictures, or a report of a few lines.
  const shows = (node) => /^Likeness/.test(node.type) && node.constructor.nodeData.output_node === true
  const silent = /^Likeness(Load|Seed|Place|Sweep|CharacterPrompt|CharacterSampling)|^(?!Likeness)/
  const room = (node) => (shows(node) ? 520 : silent.test(node.type) ? 120 : 320) // px
  let x = 40
  for (const nodes of columns.filter(Boolean)) {
    let y = 80, width = 0
    for (const node of nodes.sort((one, other) => shows(one) - shows(other))) {
      const least = node.computeSize()
      const size = [Math.max(least[0], 320), Math.max(least[1], /^(Load|Save|Preview)(Image|Video)$/.test(node.type) ? 320 : 0)]
      node.setSize(size)
      node.pos = [x, y]
      y += size[1] + room(node)
      width = Math.max(width, size[0])
    }
    x += width + 80
  }
  const text = window.LiteGraph.createNode('MarkdownNote')
  graph.add(text)
  text.title = title
  const lines = note.split('\n').reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / 120)), 0)
  const height = 60 + 22 * lines
  text.pos = [40, 10 - height]
  text.setSize([900, height])
  text.widgets[0].value = note
  window.app.canvas.setDirty(true, true)
}

async function build() {
  const notes = read(path.join(options['--api'], '..', 'tools', 'notes.json'))
  for (const [name, title] of WANTED) {
    const { page, close } = await openEditor(options['--server'], false) // a fresh one: the editor keeps widget values by node id from graph to graph
    await load(page, read(path.join(options['--api'], name + '.json')), name)
    await page.evaluate(arrange, [title, notes[name]])
    const workflow = await page.evaluate(() => (window.app.rootGraph ?? window.app.graph).serialize())
    workflow.extra = {}
    fs.writeFileSync(path.join(options['--out'], title + '.json'), JSON.stringify(workflow, null, 1) + '\n')
    await close()
  }
}

// Small and quick: <type>.<input>, * for any type. What came by a link is set on the node itself.
const QUICK = {
  '*.drawn_faces': 'measure', // the sample is drawn
  'KSampler.steps': 1, 'EmptyLatentImage.width': 64, 'EmptyLatentImage.height': 64,
  'Flux2Scheduler.steps': 1, 'Flux2Scheduler.width': 128, 'Flux2Scheduler.height': 128,
  'EmptyFlux2LatentImage.width': 128, 'EmptyFlux2LatentImage.height': 128,
  'EmptyHunyuanLatentVideo.width': 64, 'EmptyHunyuanLatentVideo.height': 64, 'EmptyHunyuanLatentVideo.length': 5,
  'MoGeInference.resolution_level': 0, 'ImageScaleToTotalPixels.megapixels': 0.02,
  'LikenessDetailFace.working_size': 256, 'LikenessDetailFace.steps': 1, 'LikenessSweepValues.seeds': 1,
  'LikenessSweepValues.lora': '0.4,0.8', 'LikenessSweepValues.faceid_weight': '0.6', 'LikenessSweepValues.prompts': 'in a park',
  'LikenessCharacterSheet.pictures': 7,
  'TrainLoraNode.steps': 2, 'TrainLoraNode.rank': 4, 'TrainLoraNode.training_dtype': 'fp32', 'TrainLoraNode.lora_dtype': 'fp32',
  'TrainLoraNode.gradient_checkpointing': false
}
const QUICK_IN = { flux2: { 'VAELoader.vae_name': 'taef2' } } // ComfyUI knows the small one by this name alone

// Runs in the page.
function quicken(changes) {
  for (const node of (window.app.rootGraph ?? window.app.graph).nodes)
    for (const [where, value] of Object.entries(changes)) {
      const [type, name] = where.split('.')
      const widget = node.widgets?.find((w) => w.name === name)
      if (!widget || (type !== '*' && type !== node.type)) continue
      const slot = node.inputs.findIndex((input) => input.name === name)
      if (slot >= 0 && node.isInputConnected(slot)) node.disconnectInput(slot)
      widget.value = value
    }
}

// Runs in the page: what is wrong with the loaded graph, and the prompt the editor builds from it.
async function inspect() {
  const nodes = (window.app.rootGraph ?? window.app.graph).nodes
  const problems = nodes.filter((n) => !window.LiteGraph.registered_node_types[n.type]).map((n) => `missing node ${n.type}`)
  for (const n of nodes) for (const w of n.widgets ?? []) {
    const values = typeof w.options?.values === 'function' ? w.options.values(w, n) : w.options?.values
    if (w.value === undefined && w.options?.serialize !== false && w.type !== 'button') problems.push(`${n.type}.${w.name} has no value`)
    if (w.type === 'combo' && Array.isArray(values) && !values.includes(w.value)) problems.push(`${n.type}.${w.name} is ${w.value}, which is not listed`)
  }
  return { problems, prompt: (await window.app.graphToPrompt()).output }
}

// Runs in the page: pairs of nodes with less than 10 px between them, as the renderer draws them.
function overlaps() {
  const { canvas } = window.app
  const drawn = (node) => {
    const element = document.querySelector(`[data-node-id="${node.id}"]`)
    if (!element) return [...node.boundingRect]
    const { left, top, width, height } = element.getBoundingClientRect()
    return [left, top, width, height].map((v) => v / canvas.ds.scale)
  }
  const boxes = (window.app.rootGraph ?? window.app.graph).nodes.map((node) => [node.title, drawn(node)])
  const apart = ([x, y, w, h], [X, Y, W, H]) => x + w + 10 <= X || X + W + 10 <= x || y + h + 10 <= Y || Y + H + 10 <= y
  return boxes.flatMap(([one, a], i) => boxes.slice(i + 1).filter(([, b]) => !apart(a, b)).map(([other]) => `${one} and ${other} are not apart`))
}

const ask = async (where, body) => (await fetch(new URL(where, options['--server']), body && { method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } })).text()

/** Queues an API graph without the editor, and waits until it ran. */
async function run(graph) {
  const { prompt_id: id, ...refused } = JSON.parse(await ask('/prompt', { prompt: graph }))
  for (let told = {}; id; await new Promise((done) => setTimeout(done, 300)), told = JSON.parse(await ask(`/history/${id}`))[id] ?? {}) {
    if (told.status?.status_str === 'success') return
    if (told.status) throw new Error(JSON.stringify(told.status.messages.at(-1)))
  }
  throw new Error(JSON.stringify(refused))
}

/** A shipped API graph with other values. */
function changed(name, changes) {
  const graph = read(path.join(options['--api'], `${name}.json`))
  for (const node of Object.values(graph)) for (const key of Object.keys(changes)) if (key in node.inputs) node.inputs[key] = changes[key]
  return graph
}

/** Empties ComfyUI's caches, so that every node runs again: it does so after a prompt. */
async function forget() {
  await ask('/free', { unload_models: true, free_memory: true })
  await run({ 1: { class_type: 'EmptyImage', inputs: { width: 16, height: 16, batch_size: 1, color: 0 } }, 2: { class_type: 'PreviewImage', inputs: { images: ['1', 0] } } })
}

/** Two characters, with LoRAs for each model family that a graph wants one for, and a training set. */
async function fill() {
  const lora = 'mara_voss_sd15.safetensors'
  for (const name of ['My Character', 'My Other Character']) await run(changed('create_character', { name, lora }))
  const profile = path.join(options['--base'], 'models', 'characters', 'my_character', 'profile.toml')
  const more = [['sd15', 2, 'my_character'], ['sdxl', 3, 'mara_voss'], ['flux2', 3, 'mara_voss'], ['wan', 3, 'mara_voss']]
  const tables = more.map(([family, version, file]) => `\n[[base.${family}.loras]]\nfile = "${file}_${family}.safetensors"\nversion = ${version}\n`)
  // Version 1 is of one family, so that its number is enough, and is not the active one, so that it can be compared.
  fs.writeFileSync(profile, fs.readFileSync(profile, 'utf8').replace('\nversion = 1\n', '\nversion = 1\nactive = false\n') + tables.join(''))
  await run(changed('training_set', { dry_run: false, drawn_faces: 'measure', side: 256, rules: 'face_width=24\nsmallest=64' }))
}

/** Opens a template as users do: the dialog, the pack, a few letters, the card; again where the dialog was not ready. */
async function open(page, title) {
  const opened = () => page.evaluate(() => window.app.extensionManager.workflow.activeWorkflow?.filename ?? '')
  const dialog = page.getByRole('dialog')
  for (let attempt = 0; !(await opened()).startsWith(title); attempt += 1) {
    if (attempt === 5) throw new Error('the dialog does not open it')
    if (!(await dialog.count())) await page.evaluate(() => window.app.extensionManager.command.execute('Comfy.BrowseTemplates'))
    const press = (where) => where.click({ timeout: 8000 })
    try {
      await press(dialog.getByText('likeness', { exact: true }).first())
      await dialog.locator('input').first().fill(title) // cards come as one scrolls
      await page.waitForTimeout(1000)
      await press(dialog.getByText(title, { exact: true }).last())
      for (let i = 0; i < 40 && !(await opened()).startsWith(title); i += 1) await page.waitForTimeout(250)
    } catch { /* once more */ }
  }
  await dialog.waitFor({ state: 'hidden', timeout: 10000 })
  await page.waitForTimeout(1500)
}

/** Everything that is wrong with one template. */
async function tried(page, name, title, shot) {
  await open(page, title)
  await fit(page)
  const { problems, prompt } = await page.evaluate(inspect)
  problems.push(...differences(canonical(prompt), canonical(read(path.join(options['--api'], name + '.json')))))
  problems.push(...(await page.evaluate(overlaps)))
  await shot('opened')
  await page.evaluate(quicken, { ...QUICK, ...QUICK_IN[name] })
  const [kind, text] = await queue(page, 300)
  if (kind !== 'execution_success') problems.push(`${kind}: ${text}`)
  await page.waitForTimeout(1000)
  await fit(page)
  problems.push(...(await page.evaluate(overlaps)).map((text) => `${text} after the run`))
  await shot('run')
  return problems
}

async function check() {
  let failed = 0, passed = 0
  await fill()
  for (const nodes2 of [false, true]) {
    await forget()
    const { page, errors, close } = await openEditor(options['--server'], nodes2)
    for (const [name, title] of WANTED) {
      const mode = nodes2 ? 'nodes2' : 'litegraph', begun = Date.now()
      const shot = async (when) => { if (options['--shots']) await page.screenshot({ path: path.join(options['--shots'], `${name}.${mode}.${when}.png`) }) }
      const problems = await tried(page, name, title, shot).catch(async (error) => { await shot('failed'); return [String(error.message ?? error).split('\n')[0]] })
      problems.push(...errors.splice(0))
      console.log(`${problems.length ? 'FAILED' : 'ok'}  ${title} (${nodes2 ? 'Nodes 2.0' : 'LiteGraph'}), ${((Date.now() - begun) / 1000).toFixed(0)} s`)
      for (const problem of problems) console.log(`        ${problem}`)
      problems.length ? failed++ : passed++
    }
    await close()
  }
  console.log(`${passed} passed, ${failed} failed`)
  process.exitCode = failed ? 1 : 0
}

await { build, check }[command]()
