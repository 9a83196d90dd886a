#!/usr/bin/env node
// The Characters panel in the real editor: every action by click or key, each with a look at the disk.
//
//   node panel.mjs --server URL --base DIR --pictures DIR --many N [--shots DIR]
//
// --base is ComfyUI's base directory, --pictures holds photos to make a character of, --many says how many characters
// the library has besides. Prints a line for each check; exit code 1 when one fails. Needs what browser.mjs needs.

import fs from 'node:fs'
import path from 'node:path'
import { answers, openBrowser, optionsOf } from './browser.mjs'
import { panelOn } from './panel_page.mjs'

const options = optionsOf(process.argv.slice(2))
const server = options['--server'], base = options['--base'], many = Number(options['--many'])
const library = path.join(base, 'models', 'characters')
const HOSTILE = '<img src=x onerror="window.pwned=1">'
const results = answers()
const { must } = results
const { page, errors, folder, start, close } = await openBrowser(server)

const until = (test, text, seconds) => results.until(page, test, text, seconds)
const check = (name, run) => results.check(name, run, () => shot(`failed ${results.failures.length}`))

const inLibrary = (...parts) => path.join(library, ...parts)
const exists = (...parts) => fs.existsSync(inLibrary(...parts))
const profile = (slug) => fs.readFileSync(inLibrary(slug, 'profile.toml'), 'utf8')

async function shot(name) {
  if (options['--shots']) await page.screenshot({ path: path.join(options['--shots'], `${name}.png`) })
}
const { act, answer, back, field, idle, open, openPanel, status, title } = panelOn(page, until)

await start()
await check(`the list of ${many + 1} characters is there in a second`, async () => {
  const begun = Date.now()
  await openPanel()
  const took = Date.now() - begun
  must(took < 1000, `${took} ms`)
  must((await page.locator('.likeness-panel .likeness-count').textContent()).startsWith(String(many + 1)), await page.locator('.likeness-panel .likeness-count').textContent())
  return `${took} ms, ${await page.locator('.likeness-panel .likeness-card').count()} cards drawn`
})
await shot('list')
await check('scrolling through all of them stays smooth', async () => {
  const frames = await page.evaluate(async () => {
    const list = document.querySelector('.likeness-panel .likeness-scroll'), gaps = []
    let before = performance.now()
    for (let i = 0; i < 120; i += 1) {
      list.scrollTop += 600
      await new Promise(requestAnimationFrame)
      gaps.push(performance.now() - before)
      before = performance.now()
    }
    return { longest: Math.max(...gaps), median: gaps.sort((a, b) => a - b)[60], cards: document.querySelectorAll('.likeness-panel .likeness-card').length }
  })
  must(frames.cards < 60, `${frames.cards} cards are in the page`)
  must(frames.median < 50, `a frame takes ${frames.median.toFixed(0)} ms`)
  return `median frame ${frames.median.toFixed(0)} ms, longest ${frames.longest.toFixed(0)} ms, ${frames.cards} cards`
})
await check('keys move through the list and open a card', async () => {
  await field().fill('')
  await page.waitForTimeout(400)
  await page.locator('.likeness-panel .likeness-scroll').evaluate((list) => { list.scrollTop = 0 })
  await page.waitForTimeout(200)
  await page.locator('.likeness-panel .likeness-card').first().focus()
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('End')
  const focused = () => page.evaluate(() => document.activeElement.closest('[data-index]')?.dataset.index)
  await until(async () => Number(await focused()) === many, 'the focus is on the last row')
  await page.keyboard.press('Enter')
  await page.waitForSelector('.likeness-panel .likeness-head h2')
  await back()
})
await check('search finds by name', async () => {
  await field().fill('mara')
  await until(async () => (await page.locator('.likeness-panel .likeness-card').count()) === 1, 'one card')
  await field().fill('nobody at all')
  await page.waitForSelector('.likeness-panel .likeness-empty')
  await field().fill('')
  await until(async () => (await page.locator('.likeness-panel .likeness-card').count()) > Math.min(5, many), 'the whole list')
})

const pictures = fs.readdirSync(options['--pictures']).filter((name) => name.endsWith('.png')).sort().map((name) => path.join(options['--pictures'], name))
await check('New makes a character of pictures', async () => {
  await page.locator('.likeness-panel .likeness-page input[type=file]').first().setInputFiles(pictures.slice(0, 3))
  await answer('Panel Test')
  await until(() => exists('panel_test', 'profile.toml'), 'the profile', 60)
  await idle()
  await until(async () => (await title()) === 'Panel Test', 'its page')
  must(fs.readdirSync(inLibrary('panel_test', 'references')).length === 3, 'three references')
  await until(async () => (await page.locator('.likeness-panel .likeness-tile').count()) === 3, 'three tiles')
})
await shot('page')
await check('Add pictures adds a reference', async () => {
  await page.locator('.likeness-panel .likeness-page input[type=file]').first().setInputFiles(pictures.slice(3, 4))
  await until(() => fs.readdirSync(inLibrary('panel_test', 'references')).length === 4, 'four references', 60)
  await idle()
  await until(async () => (await page.locator('.likeness-panel .likeness-tile').count()) === 4, 'four tiles')
})
// Other characters of another face model are analysed again for it, which takes minutes for a thousand.
if (many <= 50) await check('Calibrate writes the band', async () => {
  await act('calibrate')
  await until(() => profile('panel_test').includes('[[calibrations]]'), 'a calibration', 60)
  await idle()
  await until(async () => (await page.locator('.likeness-panel .likeness-body').textContent()).includes('calibrated'), 'the page says so')
})
await check('Remove takes a reference out', async () => {
  await page.locator('[data-action="remove"]').last().click()
  await answer()
  await until(() => !exists('panel_test', 'references', '004.png'), 'the picture is gone')
  must(exists('.trash', 'panel_test-references', '004.png'), 'it is in the trash')
  await idle()
})
await check('Duplicate copies everything', async () => {
  await act('duplicate')
  await answer('Panel Copy')
  await until(() => exists('panel_copy', 'faces'), 'the copy', 30)
  await until(async () => (await title()) === 'Panel Copy', 'its page')
})
await check('Rename gives it another name, which stays text', async () => {
  await act('rename')
  await answer(HOSTILE)
  await until(() => exists('img_src_x_onerror_window_pwned_1', 'profile.toml'), 'its new folder')
  await until(async () => (await title()) === HOSTILE, 'its new title')
  must(!(await page.evaluate(() => window.pwned)), 'the name ran as code')
  must((await page.locator('.likeness-panel img[src="x"]').count()) === 0, 'the name became an element')
})
await check('Delete moves it to the trash', async () => {
  await act('trash')
  await answer()
  await until(() => !exists('img_src_x_onerror_window_pwned_1'), 'it is gone')
  must(fs.readdirSync(inLibrary('.trash')).some((name) => name.startsWith('img_src')), 'it is in the trash')
  await page.waitForSelector('.likeness-panel .likeness-search')
})
await check('Export and Import bring one back', async () => {
  await field().fill('panel test')
  await until(async () => (await page.locator('.likeness-panel .likeness-card').count()) === 1, 'one card')
  await open('panel_test')
  const download = page.waitForEvent('download', { timeout: 30000 })
  await act('export')
  const file = path.join(folder, 'panel_test.zip')
  await (await download).saveAs(file)
  await idle()
  await act('trash')
  await answer()
  await until(() => !exists('panel_test'), 'it is gone')
  await page.waitForSelector('.likeness-panel .likeness-search')
  await page.locator('.likeness-panel .likeness-page input[type=file]').nth(1).setInputFiles(file)
  await until(() => exists('panel_test', 'profile.toml'), 'it is back', 30)
  await idle()
  await until(async () => (await title()) === 'Panel Test', 'its page')
})
await check('Use in graph adds the node with the character', async () => {
  await act('use')
  const values = () => page.evaluate(() => (window.app.rootGraph ?? window.app.graph).nodes.filter((n) => n.type === 'LikenessLoadCharacter').map((n) => n.widgets.find((w) => w.name === 'character').value))
  await until(async () => (await values()).includes('panel_test'), 'the node')
})
await check('Compile is queued', async () => {
  await act('compile')
  await idle()
  must(/queued/.test(await status()), await status())
})
await check('Open example opens the portrait with the character', async () => {
  await act('example')
  await idle()
  const found = await page.evaluate(() => (window.app.rootGraph ?? window.app.graph).nodes.map((n) => [n.type, n.widgets?.find((w) => w.name === 'character')?.value]))
  must(found.some(([type, value]) => type === 'LikenessLoadCharacter' && value === 'panel_test'), JSON.stringify(found))
  must(found.some(([type]) => type === 'LikenessApplyCharacter'), 'the rest of the graph')
})
await check('the doctor names what the graph lacks', async () => {
  await back()
  await act('doctor')
  await page.waitForSelector('.likeness-panel .likeness-check')
  const text = await page.locator('.likeness-panel .likeness-body').textContent()
  must(/checkpoints/.test(text), text.slice(0, 200))
})
await shot('doctor')
await check('a character made elsewhere is found after a reload', async () => {
  fs.cpSync(inLibrary('mara_voss'), inLibrary('made_elsewhere'), { recursive: true })
  const text = profile('made_elsewhere').replace('slug = "mara_voss"', 'slug = "made_elsewhere"').replace('name = "Mara Voss"', 'name = "Made Elsewhere"')
  fs.writeFileSync(inLibrary('made_elsewhere', 'profile.toml'), text)
  await start()
  await page.waitForTimeout(3000) // ComfyUI may open the tab that was open before
  if (!(await page.locator('.likeness-panel .likeness-search').count())) await openPanel()
  await field().fill('made elsewhere')
  await until(async () => (await page.locator('.likeness-panel .likeness-card').count()) === 1, 'its card')
})
await check('the page has headings, labels and names for a screen reader', async () => {
  await open('made_elsewhere')
  const unnamed = await page.evaluate(() => [...document.querySelectorAll('.likeness-panel button, .likeness-panel input:not([hidden]), .likeness-panel img')].filter((e) => !(e.textContent.trim() || e.getAttribute('aria-label') || e.hasAttribute('alt') || e.title)).length)
  must(unnamed === 0, `${unnamed} controls have no name`)
})
await check('the theme is followed', async () => {
  const colour = () => page.locator('.likeness-panel').evaluate((e) => getComputedStyle(e).backgroundColor)
  const dark = await colour()
  await page.evaluate(() => window.app.extensionManager.setting.set('Comfy.ColorPalette', 'light'))
  await page.waitForTimeout(800)
  const light = await colour()
  await shot('light')
  await page.evaluate(() => window.app.extensionManager.setting.set('Comfy.ColorPalette', 'dark'))
  must(dark !== light, `${dark} in both`)
})
await check('nothing was written to the console', async () => must(errors.length === 0, errors.join(' | ')))

await close()
results.finish()
