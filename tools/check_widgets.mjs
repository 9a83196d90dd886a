#!/usr/bin/env node
// What Likeness shows on nodes, in the real editor, in both renderers: picker, scores, heat map, training set, settings.
//
//   node check_widgets.mjs --server URL --base DIR --sample DIR --many N [--only PARTS] [--shots DIR]
//
// --base is ComfyUI's base directory with an empty library and the graphs scores.json, training.json and tune.json;
// --sample is a character's folder. Prints a line for each check; exit code 1 when one fails. Needs what browser.mjs needs.

import fs from 'node:fs'
import path from 'node:path'
import * as browser from './browser.mjs'
import { answers, openEditor, optionsOf, read } from './browser.mjs'

const options = optionsOf(process.argv.slice(2))
const server = options['--server'], base = options['--base'], many = Number(options['--many'])
const library = path.join(base, 'models', 'characters')
const HOSTILE = '<img src=x onerror="window.pwned=1">'
const LOAD = 'LikenessLoadCharacter', GALLERY = 'likeness_gallery'
const SCORES = 'likeness_scores', PLAN = 'likeness_plan', HEAT = 'likeness_heat'
const SET = 'LikenessBuildTrainingSet', TUNE = 'LikenessTuneStrengths'
const results = answers()
const { must, same } = results
let page, errors, start, mode

const until = (test, text, seconds) => results.until(page, test, text, seconds)
const check = (name, run) => results.check(`${mode}: ${name}`, run, () => shot(`failed-${results.failures.length}`))

const shot = async (name) => { if (options['--shots']) await page.screenshot({ path: path.join(options['--shots'], `${mode}-${name}.png`) }) }
const command = (id) => page.evaluate((one) => window.app.extensionManager.command.execute(one), id)
const fit = () => browser.fit(page)

// Functions that run in the page find nodes by their type, also inside subgraphs.
const FIND = `window.likenessNodes = (type, graph = window.app.rootGraph ?? window.app.graph) => graph.nodes.flatMap((n) => [...(n.type === type ? [n] : []), ...(n.subgraph ? window.likenessNodes(type, n.subgraph) : [])])`
const onNode = async (type, run, arg) => { await page.evaluate(FIND); return page.evaluate(`(${run})(window.likenessNodes(${JSON.stringify(type)})[0], ${JSON.stringify(arg ?? null)})`) }
const view = async (type, widget) => { await page.evaluate(FIND); return (await page.evaluateHandle(([t, w]) => window.likenessNodes(t)[0]?.widgets.find((one) => one.name === w)?.element, [type, widget])).asElement() }
const inView = async (type, widget, selector) => (await view(type, widget))?.$(selector)
const texts = async (type, widget, selector) => { const element = await view(type, widget); return element ? element.$$eval(selector, (all) => all.map((one) => one.textContent)) : [] }
const value = () => onNode(LOAD, (node) => node?.widgets.find((w) => w.name === 'character').value)
const prompted = () => page.evaluate(async () => Object.values((await window.app.graphToPrompt()).output).filter((n) => n.class_type === 'LikenessLoadCharacter').map((n) => n.inputs))
// Nodes grow when they show results; the canvas goes to one of them for a click.
const spread = () => page.evaluate(() => (window.app.rootGraph ?? window.app.graph).nodes.forEach((node, i) => { node.pos = [(i % 5) * 560, Math.floor(i / 5) * 1300] }))
const focusOn = async (type, widget, width = 420) => {
  const go = (y) => onNode(type, (node, [w, top]) => { node.setSize([w, node.size[1]]); const { ds } = window.app.canvas; ds.scale = 1; ds.offset = [120 - node.pos[0], top - node.pos[1]]; window.app.canvas.setDirty(true, true) }, [width, y])
  await go(90)
  await page.waitForTimeout(700)
  const below = await onNode(type, (node, name) => node.widgets.find((w) => w.name === name).y ?? 0, widget)
  const rect = await (await view(type, widget)).evaluate((e) => e.getBoundingClientRect().top)
  await go(90 + 400 - (rect > 0 ? rect : 90 + below))
  await page.waitForTimeout(700)
}
/** A new tab, and back to this one. */
const otherTab = async () => {
  const open = () => page.evaluate(() => window.app.extensionManager.workflow.activeWorkflow.path)
  const here = await open()
  await command('Comfy.NewBlankWorkflow')
  await until(async () => (await open()) !== here, 'a new tab')
  for (let i = 0; i < 20 && (await open()) !== here; i += 1) { await command('Workspace.PreviousOpenedWorkflow'); await page.waitForTimeout(1500) }
  same(await open(), here, 'the tab')
}

/** The page anew; the editor keeps its own draft of the graph when it has seen a change. */
const reload = async () => {
  await page.evaluate(() => { window.app.canvas.emitBeforeChange(); window.app.canvas.emitAfterChange() })
  await page.waitForTimeout(2500)
  await start()
}
const load = async (name) => { await browser.load(page, read(path.join(base, `${name}.json`)), name); await spread(); await fit() }

async function run(seconds = 120) {
  const [kind, text] = await browser.queue(page, seconds)
  must(kind === 'execution_success', `${kind} ${text}`)
  await page.waitForTimeout(1000)
}

/** The last run's outputs of a node, as the server keeps them. */
async function history(type) {
  const all = Object.values(await (await fetch(`${server}/history?max_items=1`)).json())[0]
  const id = Object.keys(all.prompt[2]).find((key) => all.prompt[2][key].class_type === type)
  return Object.entries(all.outputs).find(([key, told]) => key.split('.')[0] === id && Object.keys(told).some((name) => name.startsWith('likeness')))[1]
}

/** The sample, one with a hostile name, and many more. */
function fill() {
  const copy = (slug, name) => {
    fs.cpSync(options['--sample'], path.join(library, slug), { recursive: true })
    const file = path.join(library, slug, 'profile.toml')
    const text = fs.readFileSync(file, 'utf8').replace('slug = "mara_voss"', `slug = "${slug}"`)
    fs.writeFileSync(file, text.replace('name = "Mara Voss"', `name = ${JSON.stringify(name)}`))
  }
  fs.cpSync(options['--sample'], path.join(library, 'mara_voss'), { recursive: true })
  copy('hostile', HOSTILE)
  for (let i = 0; i < many; i += 1) copy(`copy_${String(i).padStart(4, '0')}`, `Copy ${i}`)
}

const cards = () => texts(LOAD, GALLERY, '.likeness-card strong')
const pick = async (slug) => { await search(slug); await (await inView(LOAD, GALLERY, `[data-slug="${slug}"]`)).click(); await page.waitForTimeout(250); await search('') }
const search = async (text) => { await (await inView(LOAD, GALLERY, '.likeness-search')).fill(text); await page.waitForTimeout(600) }

async function emptyLibrary() {
  await check('an empty library says what to do, and opens the panel', async () => {
    await command('Likeness.AddCharacter')
    await fit()
    await until(async () => (await texts(LOAD, GALLERY, '.likeness-empty p')).join().includes('no character yet'), 'the empty state')
    await shot('empty')
    await (await inView(LOAD, GALLERY, '[data-action="panel"]')).click()
    await page.waitForSelector('.likeness-panel', { timeout: 5000 })
    await command('Likeness.OpenPanel')
  })
  fill()
  await check('R finds the characters that were made since', async () => {
    await command('Comfy.RefreshNodeDefinitions')
    await until(async () => (await cards()).length > 3, 'cards', 30)
  })
}

async function picker() {
  await check(`a picker of ${many + 2} characters is filled in a second`, async () => {
    await load('scores')
    await page.evaluate(() => window.app.graph.clear())
    const took = await page.evaluate(async () => {
      const begun = performance.now()
      await window.app.extensionManager.command.execute('Likeness.AddCharacter')
      while (!document.querySelector('.likeness-node .likeness-card')) { if (performance.now() - begun > 9000) return 9000; await new Promise((done) => requestAnimationFrame(done)) }
      return performance.now() - begun
    })
    must(took < 1000, `${Math.round(took)} ms`)
    return `${Math.round(took)} ms`
  })
  await load('scores')
  await until(async () => (await cards()).length > 3, 'cards')
  await focusOn(LOAD, GALLERY)
  await shot('picker')
  await check('names are text', async () => {
    must((await cards()).includes(HOSTILE), 'the hostile name is not shown as it is')
    must(!(await page.evaluate(() => window.pwned)), 'a name was taken for markup')
  })
  await check('a click changes the value and the prompt, and nothing else', async () => {
    const [before] = await prompted()
    await pick('copy_0001')
    same(await prompted(), [{ ...before, character: 'copy_0001' }], 'the prompt')
    same(await value(), 'copy_0001', 'the list')
    same(Object.keys(before).sort(), ['character', 'lora_version'], 'inputs')
  })
  await check('undo and redo', async () => {
    await page.mouse.click(760, 960)
    const key = async (keys, wanted) => { // the canvas makes a step of its own of a node that a click brings to the front
      for (let i = 0; i < 2 && (await value()) !== wanted; i += 1) { await page.keyboard.press(keys); await until(async () => (await value()) === wanted, keys, 4).catch(() => {}) }
      same(await value(), wanted, keys)
      await page.waitForTimeout(1000)
    }
    await key('Control+z', 'mara_voss')
    await key('Control+y', 'copy_0001')
    await until(async () => (await inView(LOAD, GALLERY, '[data-slug="copy_0001"][aria-pressed="true"]')), 'the mark')
  })
  await check('the search finds, and keys choose', async () => {
    await search('COPY_0017 nobody')
    await until(async () => (await cards()).length === 0, 'every word counts')
    await search('COPY_0017')
    await until(async () => JSON.stringify(await cards()) === '["Copy 17"]', 'found')
    await (await inView(LOAD, GALLERY, '.likeness-search')).focus()
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('Enter')
    await page.waitForTimeout(300)
    same(await value(), 'copy_0017', 'chosen by Enter')
    await search('no such person')
    must((await texts(LOAD, GALLERY, '.likeness-empty')).join().includes('no such person'), 'nothing found')
    await search('')
  })
  await check('the wheel scrolls the list and not the canvas', async () => {
    await pick('copy_0002')
    const box = await (await inView(LOAD, GALLERY, '.likeness-scroll')).boundingBox()
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2)
    const scale = await page.evaluate(() => window.app.canvas.ds.scale)
    await page.mouse.wheel(0, 600)
    await page.waitForTimeout(400)
    same(await page.evaluate(() => window.app.canvas.ds.scale), scale, 'zoom')
    must(await (await inView(LOAD, GALLERY, '.likeness-scroll')).evaluate((e) => e.scrollTop > 100), 'it did not scroll')
  })
  await check('copy and paste', async () => {
    await page.evaluate(() => { const node = window.likenessNodes('LikenessLoadCharacter')[0]; window.app.canvas.selectItems([node]); window.app.canvas.copyToClipboard(); window.app.canvas.pasteFromClipboard() })
    await page.waitForTimeout(800)
    same((await page.evaluate(() => window.likenessNodes('LikenessLoadCharacter').map((n) => n.widgets[0].value))), ['copy_0002', 'copy_0002'], 'values')
    await page.evaluate(() => { const node = window.likenessNodes('LikenessLoadCharacter')[1]; node.graph.remove(node) })
  })
  await check('the other renderer, live', async () => {
    for (const on of [mode === 'litegraph', mode !== 'litegraph']) {
      await page.evaluate((v) => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', v), on)
      await page.waitForTimeout(2000)
      await fit()
      await until(async () => (await cards()).length > 3, 'cards')
      same(await value(), 'copy_0002', 'the value')
    }
  })
  await check('another tab and back', async () => {
    await otherTab()
    same(await value(), 'copy_0002', 'the value')
    await fit()
    await until(async () => (await cards()).length > 3, 'cards')
  })
  await check('a page reload', async () => {
    await page.waitForTimeout(1500)
    await start()
    same(await value(), 'copy_0002', 'the value')
    await fit()
    await until(async () => (await cards()).length > 3, 'cards')
  })
  await check('inside a subgraph', async () => {
    await onNode(LOAD, (node) => window.app.canvas.selectItems([node]))
    await command('Comfy.Graph.ConvertToSubgraph')
    await page.waitForTimeout(1500)
    same(await value(), 'copy_0002', 'the value')
    same((await prompted())[0].character, 'copy_0002', 'the prompt')
    await onNode(LOAD, (node) => { const { canvas } = window.app; const holder = window.app.rootGraph.nodes.find((n) => n.subgraph === node.graph); canvas.openSubgraph ? canvas.openSubgraph(node.graph, holder) : canvas.setGraph(node.graph) })
    await page.waitForTimeout(1500)
    await fit()
    await until(async () => (await cards()).length > 3, 'cards')
    await pick('copy_0003')
    same((await prompted())[0].character, 'copy_0003', 'the prompt after a click')
    await shot('subgraph')
  })
  await check('inside a subgraph: another tab and back, and a page reload', async () => {
    for (const away of [otherTab, reload]) {
      await away()
      same([await value(), (await prompted())[0].character], ['copy_0003', 'copy_0003'], `value and prompt after ${away.name}`)
    }
  })
}

const SCORED = ['LikenessScoreLikeness', 'LikenessGate', 'LikenessPickBest', 'LikenessConsistencyReport']
const pictureShown = (type, widget) => until(async () => (await inView(type, widget, '.likeness-stage img'))?.evaluate((i) => i.naturalWidth > 0), `${type}: its picture`, 5)
const scoreRows = (type) => texts(type, SCORES, '.likeness-score .likeness-name')

async function scores() {
  await load('scores')
  await check('nodes without results say so', async () => {
    for (const type of SCORED) must((await texts(type, SCORES, '.likeness-hint')).length === 1, type)
  })
  await run()
  const shown = {}
  await check('every score node shows what the server sent', async () => {
    for (const type of SCORED) {
      const told = (await history(type)).likeness_scores
      same(await scoreRows(type), told.map((row) => row.name), `${type} names`)
      const values = await texts(type, SCORES, '.likeness-value')
      same(values, told.map((row) => (row.similarity === null ? '–' : row.similarity.toFixed(3))), `${type} values`)
      shown[type] = values
      must((await texts(type, SCORES, '.likeness-verdict')).every((text, i) => text.includes(told[i].verdict)), `${type} verdicts`)
    }
  })
  await check('a click shows the picture, Escape goes back to the row', async () => {
    for (const type of SCORED.slice(0, 3)) {
      await focusOn(type, SCORES)
      if (mode === 'litegraph' || type !== SCORED[0]) await shot(type)
      await (await inView(type, SCORES, '.likeness-score')).click()
      await pictureShown(type, SCORES)
      await page.keyboard.press('Escape')
      must(await page.evaluate(() => document.activeElement?.classList.contains('likeness-score')), `${type}: the focus`)
      await page.keyboard.press('ArrowDown')
      must(await page.evaluate(() => [...document.activeElement.closest('ul').querySelectorAll('button')].indexOf(document.activeElement) === 1), `${type}: the next row`)
    }
  })
  const still = async (when) => { for (const type of SCORED) same(await texts(type, SCORES, '.likeness-value'), shown[type], `${type} ${when}`) }
  await check('undo keeps them', async () => {
    await page.mouse.click(760, 960)
    for (const keys of ['Control+z', 'Control+y']) {
      await page.keyboard.press(keys)
      await page.waitForTimeout(1500)
      await still(`after ${keys}`)
    }
  })
  await check('another tab and back keeps them', async () => {
    await otherTab()
    await still('after a tab')
  })
  await check('a page reload keeps them', async () => {
    await reload()
    await still('after a reload')
    await fit()
    await shot('scores-reload')
  })
  await check('only their own widgets and small properties are in the file', async () => {
    const graph = await page.evaluate(() => (window.app.rootGraph ?? window.app.graph).serialize())
    const node = graph.nodes.find((n) => n.type === SCORED[0])
    const native = await onNode(SCORED[0], (n) => n.widgets.filter((w) => w.serialize !== false && !w.element).length)
    same(node.widgets_values.length, native, 'values')
    must(!Object.keys(node.widgets_values_named ?? {}).some((key) => key.startsWith('likeness')), 'a view is among the values')
    must(JSON.stringify(node.properties).length < 4000 && !/box|embedding|detector/.test(JSON.stringify(node.properties)), 'properties')
  })
  await check('a file of somebody else is text, whatever it holds', async () => {
    await page.evaluate((bad) => {
      const graph = (window.app.rootGraph ?? window.app.graph).serialize()
      const node = graph.nodes.find((n) => n.type === 'LikenessGate')
      node.properties.likeness_scores = { likeness_scores: [{ name: bad, verdict: 'toString', reason: bad, similarity: 'x' }, null, 7], likeness_pictures: [{ filename: bad, type: 'javascript:' }], total: bad }
      const other = graph.nodes.find((n) => n.type === 'LikenessPickBest')
      other.properties.likeness_scores = { likeness_scores: 'x', likeness_pictures: 5 }
      return window.app.loadGraphData(graph)
    }, HOSTILE)
    await page.waitForTimeout(1500)
    same(await scoreRows('LikenessGate'), [HOSTILE], 'names')
    must(!(await page.evaluate(() => window.pwned)), 'it was taken for markup')
  })
}

async function training() {
  await load('training')
  await run()
  await fit()
  const rows = () => texts(SET, PLAN, '.likeness-picked .likeness-name')
  await check('a training set shows what is taken and left out, with a filter', async () => {
    const [plan] = (await history(SET)).likeness_plan
    same(await rows(), plan.rows.map((row) => row.source), 'rows')
    await focusOn(SET, PLAN)
    await shot('training')
    must(plan.left_out > 0, 'nothing was left out, so nothing is shown of it')
    const [code] = Object.keys(plan.codes)
    await (await inView(SET, PLAN, 'select')).selectOption(`=${code}`)
    await page.waitForTimeout(300)
    same(await rows(), plan.rows.filter((row) => row.code === code).map((row) => row.source), 'filtered')
    await (await inView(SET, PLAN, '.likeness-picked')).click()
    await pictureShown(SET, PLAN)
    await shot('training-picture')
    return `${plan.taken} taken, ${plan.left_out} left out`
  })
  await check('the training set is there after a page reload', async () => {
    const before = (await history(SET)).likeness_plan[0].rows.map((row) => row.source)
    await reload()
    await fit()
    same(await rows(), before, 'rows')
  })
}

async function tuner() {
  const cells = () => texts(TUNE, HEAT, '.likeness-cell')
  await load('tune')
  await run(240)
  await fit()
  let before
  await check('a sweep shows every cell with its number, and the pictures of a cell', async () => {
    const [told] = (await history(TUNE)).likeness_heat
    before = await cells()
    same(before.length, told.cells.length, 'cells')
    const wanted = told.cells.map((cell) => `${cell.winner ? 'W' : ''}${cell.control ? 'C' : ''}${cell.winner || cell.control ? ' ' : ''}${cell.likeness?.toFixed(3) ?? 'n/m'}`)
    same([...before].sort(), wanted.sort(), 'numbers')
    await focusOn(TUNE, HEAT)
    await shot('tuner')
    await (await inView(TUNE, HEAT, '.likeness-cell')).click()
    await pictureShown(TUNE, HEAT)
    await shot('tuner-picture')
    await page.keyboard.press('Escape')
    await page.keyboard.press('ArrowRight')
    must(await page.evaluate(() => document.activeElement?.closest('td')?.cellIndex === 2), 'the next cell')
  })
  await check('the heat map is there after a page reload', async () => {
    await reload()
    same(await cells(), before, 'cells')
  })
}

async function settings() {
  const kept = async () => (await (await fetch(`${server}/likeness/settings`)).json())
  await check('settings go to the server, and come from it', async () => {
    const set = (id, to) => page.evaluate(([one, v]) => window.app.extensionManager.setting.set(one, v), [id, to])
    await set('Likeness.KeepCrops', false)
    await set('Likeness.Provider', 'auto')
    await until(async () => { const now = await kept(); return now.keep_crops === false && now.provider === 'auto' }, 'the server has them', 5)
    await start()
    same(await page.evaluate(() => [window.app.extensionManager.setting.get('Likeness.KeepCrops'), window.app.extensionManager.setting.get('Likeness.Provider')]), [false, 'auto'], 'after a reload')
    await set('Likeness.KeepCrops', true)
    await set('Likeness.Provider', 'cpu')
    await until(async () => (await kept()).keep_crops === true, 'the server has them', 5)
  })
  await check('what the page remembers from another time does not reach the server', async () => {
    const before = await kept()
    await page.evaluate(() => window.comfyAPI.api.api.storeSetting('Likeness.DeleteForGood', true))
    await start()
    same(await kept(), before, 'the server')
    same(await page.evaluate(() => window.app.extensionManager.setting.get('Likeness.DeleteForGood')), false, 'the page')
  })
  await check('the dialog shows them', async () => {
    await command('Comfy.ShowSettingsDialog')
    await page.waitForTimeout(1500)
    await page.getByText('Likeness', { exact: true }).first().click()
    await page.waitForTimeout(1000)
    await shot('settings')
    must(await page.getByText(library).count(), 'the library folder is not shown')
    await page.keyboard.press('Escape')
  })
}

for (const [name, nodes2] of [['litegraph', false], ['nodes2', true]]) {
  mode = name
  const only = options['--only']?.split(',')
  const opened = await openEditor(server, nodes2)
  ;({ page, errors, start } = opened)
  if (!fs.existsSync(path.join(library, 'mara_voss'))) await emptyLibrary()
  for (const part of [picker, scores, training, tuner, settings]) if (!only || only.includes(part.name)) await part().catch((error) => check(part.name, () => { throw error }))
  await check('nothing went wrong in the page', () => must(!errors.length, errors.join(' | ')))
  await opened.close()
}
results.finish()
