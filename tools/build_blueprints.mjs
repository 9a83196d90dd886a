#!/usr/bin/env node
// The blueprints in subgraphs/, written and tried by the real ComfyUI editor in a headless Chromium.
//
//   node build_blueprints.mjs build --server URL --api DIR --out DIR
//       loads a graph, lets the editor make one node of a part of it, and writes what the editor publishes
//   node build_blueprints.mjs check --server URL --api DIR [--shots DIR]
//       finds each blueprint by its name, as a user does, connects it, and compares the prompt with the flat graph's
//
// Needs what browser.mjs needs.

import fs from 'node:fs'
import path from 'node:path'
import { canonical, differences, fit, load, openEditor, optionsOf, prompt, read } from './browser.mjs'

const [command, ...rest] = process.argv.slice(2)
const options = optionsOf(rest)
const node = (class_type, title, inputs) => ({ class_type, inputs, _meta: { title } })

// graph: of api_graphs. inside: titles of the nodes that become one. show: [title, widget].
// outside: nodes beside those of the graph, so that every input and output of the blueprint has a link to be made from.
export const BLUEPRINTS = [
  {
    file: 'Likeness consistent portrait',
    graph: 'portrait',
    inside: ['Checkpoint', 'Load Character', 'Apply Character', 'Character Prompt', 'Positive', 'Negative', 'Character Sampling', 'Size', 'Sample', 'Decode'],
    show: [['Checkpoint', 'ckpt_name'], ['Load Character', 'character'], ['Character Prompt', 'text'], ['Character Prompt', 'negative'], ['Size', 'batch_size'], ['Sample', 'seed']],
    outside: { 20: node('LikenessCalibrateCharacter', 'Calibrate', { character: ['2', 0], face_model: 'auto', provider: 'cpu', backend: 'likeness' }) },
    description: "Draws a character with the strengths and the sampling of its profile: choose a checkpoint and a character, and write the scene.",
    aliases: ['likeness', 'consistent portrait', 'consistent character', 'faceid', 'portrait']
  },
  {
    file: 'Likeness score and gate',
    graph: 'score_gate',
    inside: ['Score Likeness', 'Gate'],
    show: [['Score Likeness', 'face_model'], ['Score Likeness', 'threshold'], ['Gate', 'when_empty']],
    outside: {
      20: node('PreviewImage', 'Faces', { images: ['11', 2] }),
      21: node('PreviewAny', 'Report', { source: ['11', 3] }),
      22: node('PreviewAny', 'Rate', { source: ['11', 4] })
    },
    description: 'Measures how alike each picture is to the character and splits the batch into accepted, rejected and not measurable.',
    aliases: ['likeness', 'score and gate', 'similarity', 'filter', 'face score']
  },
  {
    file: 'Likeness training set',
    graph: 'training_set',
    inside: ['Load Character', 'Build Training Set'],
    show: [['Load Character', 'character'], ['Build Training Set', 'name'], ['Build Training Set', 'folder'], ['Build Training Set', 'family'], ['Build Training Set', 'caption_from'], ['Build Training Set', 'dry_run']],
    inputs: { 2: { images: ['20', 0] } },
    outside: {
      20: node('EmptyImage', 'Pictures', { width: 512, height: 512, batch_size: 1, color: 0 }),
      21: node('PreviewImage', 'Sheet', { images: ['2', 0] }),
      22: node('PreviewAny', 'Report', { source: ['2', 1] }),
      23: node('PreviewAny', 'Count', { source: ['2', 3] }),
      24: node('PreviewAny', 'Set', { source: ['2', 4] })
    },
    description: 'Picks, crops and captions the pictures that show a character, and writes a kohya training set. With dry_run on it only shows what it would do.',
    aliases: ['likeness', 'training set', 'dataset', 'kohya', 'lora']
  }
]

/** The flat graph, with what stands outside of the blueprint. */
function flat({ graph, outside, inputs = {} }) {
  const nodes = read(path.join(options['--api'], graph + '.json'))
  for (const [id, more] of Object.entries(inputs)) Object.assign(nodes[id].inputs, more)
  return { ...nodes, ...outside }
}

// Runs in the page: what the editor's "Convert to subgraph", "promote widget" and "publish" do, for a part of the graph.
function convert({ file, inside, show, description, aliases }) {
  const graph = window.app.rootGraph ?? window.app.graph
  const chosen = graph.nodes.filter((n) => inside.includes(n.title))
  if (chosen.length !== inside.length) throw new Error(`${file}: found ${chosen.map((n) => n.title)}`)
  const { subgraph, node } = graph.convertToSubgraph(new Set(chosen))
  for (const [title, name] of show) {
    const inner = subgraph.nodes.find((n) => n.title === title)
    const slot = inner.getSlotFromWidget(inner.widgets.find((w) => w.name === name))
    const shown = subgraph.inputs.find((input) => input.linkIds.includes(slot.link)) // the editor shows some by itself, first
    if (shown) subgraph.removeInput(shown)
    if (!subgraph.addInput(name, String(slot.type)).connect(slot, inner)) throw new Error(`${file}: ${title}.${name} cannot be shown`)
  }
  const columns = [], depths = new Map()
  const depth = (n) => {
    if (!depths.has(n)) depths.set(n, Math.max(0, ...n.inputs.map((_, i) => n.getInputNode(i)).filter((m) => subgraph.nodes.includes(m)).map((m) => 1 + depth(m))))
    return depths.get(n)
  }
  for (const n of subgraph.nodes) (columns[depth(n)] ??= []).push(n)
  let x = 0
  for (const column of columns) {
    let y = 0
    for (const n of column) {
      n.setSize([Math.max(n.computeSize()[0], 320), n.computeSize()[1]])
      n.pos = [x, y]
      y += n.size[1] + 80
    }
    x += Math.max(...column.map((n) => n.size[0])) + 80
  }
  subgraph.inputNode.pos = [-240, 0]
  subgraph.outputNode.pos = [x + 40, 0]
  subgraph.name = node.title = file
  subgraph.description = description
  window.blueprint = () => {
    for (const other of [...graph.nodes]) if (other !== node) graph.remove(other)
    node.pos = [0, 0]
    node.setSize([Math.max(node.computeSize()[0], 340), node.computeSize()[1]])
    const { nodes, subgraphs } = window.app.canvas._serializeItems([node])
    for (const definition of subgraphs) definition.category = 'Likeness'
    return {
      revision: 0, last_node_id: node.id, last_link_id: 0, nodes, links: [], version: 0.4, definitions: { subgraphs },
      extra: { BlueprintDescription: description, BlueprintSearchAliases: aliases }
    }
  }
}

// The same file from the same graph: random ids give way to ones that follow from the name.
function settled(text, file) {
  let count = 0
  const known = new Map()
  const base = [...file].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) >>> 0, 7).toString(16).padStart(8, '0')
  return text.replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, (id) => {
    if (!known.has(id)) known.set(id, `${base}-0000-4000-8000-${String(count++).padStart(12, '0')}`)
    return known.get(id)
  })
}

async function build() {
  fs.mkdirSync(options['--out'], { recursive: true })
  for (const blueprint of BLUEPRINTS) {
    const { page, errors, close } = await openEditor(options['--server'], false)
    await load(page, flat(blueprint), blueprint.file)
    const before = canonical(await prompt(page))
    await page.evaluate(convert, blueprint)
    await page.waitForTimeout(500)
    const found = [...differences(canonical(await prompt(page)), before), ...errors]
    if (found.length) throw new Error(`${blueprint.file}: ${found.join('; ')}`)
    const workflow = await page.evaluate(() => window.blueprint())
    fs.writeFileSync(path.join(options['--out'], blueprint.file + '.json'), settled(JSON.stringify(workflow, null, 1), blueprint.file) + '\n')
    await close()
  }
}

// Adds a blueprint as users do: a double click on the empty canvas, its name, Enter.
async function insert(page, name) {
  await page.evaluate(() => { const { ds } = window.app.canvas; ds.offset = [3000, 3000]; ds.scale = 1; window.app.canvas.setDirty(true, true) })
  await page.mouse.dblclick(800, 500)
  await page.waitForTimeout(600)
  await page.keyboard.type(name, { delay: 15 })
  await page.waitForTimeout(1200)
  await page.keyboard.press('Enter')
  await page.waitForTimeout(1000)
}

// Runs in the page: connects the blueprint with what stands outside, by the links that the flat graph has across its border.
function connect([whole, inside, shown]) {
  const graph = window.app.rootGraph ?? window.app.graph
  const one = graph.nodes.filter((n) => n.subgraph)
  if (one.length !== 1) throw new Error(`the search added ${one.length} blueprints`)
  const { subgraph } = one[0]
  const titled = (title, from = graph) => from.nodes.find((n) => n.title === title)
  const inner = (id) => titled(whole[id]._meta.title, subgraph).id
  const links = (slot) => slot.linkIds.map((id) => subgraph.getLink(id))
  const isIn = (id) => inside.includes(whole[id]?._meta.title)
  for (const [id, { inputs, _meta }] of Object.entries(whole))
    for (const [name, value] of Object.entries(inputs)) {
      if (!Array.isArray(value) || isIn(id) === isIn(value[0])) continue
      const source = titled(whole[value[0]]._meta.title), target = titled(_meta.title)
      if (isIn(id)) {
        const slot = (link) => subgraph.getNodeById(link.target_id).inputs[link.target_slot].name.split('.')[0]
        const at = subgraph.inputs.findIndex((input) => links(input).some((link) => String(link.target_id) === String(inner(id)) && slot(link) === name))
        source.connect(value[1], one[0], at)
      } else {
        const at = subgraph.outputs.findIndex((output) => links(output).some((link) => String(link.origin_id) === String(inner(value[0])) && link.origin_slot === value[1]))
        one[0].connect(at, target, target.inputs.findIndex((input) => input.name === name))
      }
    }
  const names = one[0].widgets.filter((w) => w.options?.serialize !== false).map((w) => w.name)
  const wanted = shown.map(([, name]) => name)
  return names.join() === wanted.join() ? [] : [`the blueprint shows ${names}, not ${wanted}`]
}

async function check() {
  let failed = 0
  const listed = Object.values(await (await fetch(new URL('/api/global_subgraphs', options['--server']))).json()).map((entry) => entry.name)
  for (const nodes2 of [false, true]) {
    for (const blueprint of BLUEPRINTS) {
      const { page, errors, close } = await openEditor(options['--server'], nodes2, { 'Comfy.NodeSearchBoxImpl': 'default' })
      const whole = flat(blueprint), isIn = (id) => blueprint.inside.includes(whole[id]?._meta.title)
      const outside = Object.fromEntries(Object.entries(whole).filter(([id]) => !isIn(id)).map(([id, one]) => [id, { ...one, inputs: Object.fromEntries(Object.entries(one.inputs).filter(([, v]) => !Array.isArray(v) || !isIn(v[0]))) }]))
      await load(page, outside, blueprint.file)
      await insert(page, blueprint.file)
      const problems = listed.includes(blueprint.file) ? [] : ['/api/global_subgraphs does not list it']
      try {
        problems.push(...(await page.evaluate(connect, [whole, blueprint.inside, blueprint.show])))
        problems.push(...differences(canonical(await prompt(page)), canonical(whole)))
      } catch (error) { problems.push(String(error).slice(0, 300)) }
      problems.push(...errors)
      if (options['--shots']) {
        await fit(page)
        await page.screenshot({ path: path.join(options['--shots'], `${blueprint.file}.${nodes2 ? 'nodes2' : 'litegraph'}.png`) })
      }
      await close()
      console.log(`${problems.length ? 'FAILED' : 'ok'}  ${blueprint.file} (${nodes2 ? 'Nodes 2.0' : 'LiteGraph'})`)
      for (const problem of problems) console.log(`        ${problem}`)
      failed += problems.length ? 1 : 0
    }
  }
  process.exitCode = failed ? 1 : 0
}

await { build, check }[command]()
