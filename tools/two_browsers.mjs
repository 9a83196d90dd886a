#!/usr/bin/env node
// Two browsers and a program on one library at once: each sees what the others do, and nothing is lost on disk.
//
//   node two_browsers.mjs --server URL --base DIR --pictures DIR [--shots DIR]
//
// --base is ComfyUI's base directory, --pictures holds many different photos of one person. Prints a line for each
// check; exit code 1 when one fails. Needs what browser.mjs needs.

import fs from 'node:fs'
import path from 'node:path'
import { answers, openBrowser, optionsOf } from './browser.mjs'
import { panelOn } from './panel_page.mjs'

const options = optionsOf(process.argv.slice(2))
const server = options['--server'], base = options['--base']
const library = path.join(base, 'models', 'characters'), input = path.join(base, 'input')
const pictures = fs.readdirSync(options['--pictures']).sort().map((name) => path.join(options['--pictures'], name))
const results = answers()
const { check, must, same } = results
const WORKERS = 3, ROUNDS = 6, SHARED = 'renamed_by_one'
const wanted = new Map([['mara_voss', references('mara_voss').length]]) // slug -> references that it must have in the end
const inTrash = [] // what must have come into the trash: slugs, and pictures as "<slug>-references/<name>"

const slugs = () => fs.readdirSync(library).filter((name) => fs.existsSync(path.join(library, name, 'profile.toml'))).sort()
const below = (folder) => (fs.existsSync(folder) ? fs.readdirSync(folder, { recursive: true, withFileTypes: true }).filter((one) => one.isFile()) : [])
const slugOf = (name) => name.toLowerCase().replaceAll(' ', '_')
const grow = (slug, by = 1) => wanted.set(slug, (wanted.get(slug) ?? 0) + by)

function references(slug) {
  return [...fs.readFileSync(path.join(library, slug, 'profile.toml'), 'utf8').matchAll(/^file = "(.+)"$/gm)].map((found) => found[1])
}

// ---- the program

async function ask(route, body) {
  const headers = { 'Content-Type': 'application/json', 'X-Likeness': '1' }
  const answer = await fetch(`${server}/likeness/${route}`, body && { method: 'POST', headers, body: JSON.stringify(body) })
  const told = await answer.json()
  must(answer.ok, `${route}: ${answer.status} ${told.error}`)
  return told
}

/** Puts a picture where programs of the user's do: it is theirs, and stays. */
async function put(file) {
  const form = new FormData()
  form.append('image', new Blob([fs.readFileSync(file)]), path.basename(file))
  form.append('subfolder', 'mine')
  const told = await (await fetch(`${server}/upload/image`, { method: 'POST', body: form })).json()
  return `${told.subfolder}/${told.name}`
}

async function addTo(slug, file) {
  const told = await ask(`characters/${slug}/references`, { images: [await put(file)], unlike: true })
  must(told.report.includes('1 picture(s) added'), told.report)
  grow(slug)
}

/** One of several at once. `own`: pictures that nobody else takes. */
async function work(worker, own) {
  for (let round = 0; round < ROUNDS; round += 1) {
    const name = `Program ${worker} ${round}`, slug = slugOf(name)
    await ask('characters', { name, images: [await put(own[0]), await put(own[1])] })
    grow(slug, 2)
    await addTo(SHARED, own[2 + round])
    await ask('settings', worker ? { provider: round % 2 ? 'auto' : 'cpu' } : { face_model: round % 2 ? 'standin' : '' })
    if (round % 3 === 0) {
      await ask(`characters/${slug}/duplicate`, { name: `${name} copy` })
      await ask(`characters/${slug}_copy/rename`, { name: `${name} moved` })
      grow(`${slug}_moved`, 2)
    } else if (round % 3 === 1) {
      await ask(`characters/${slug}/trash`, {})
      wanted.delete(slug)
      inTrash.push(slug)
    } else {
      await ask(`characters/${slug}/remove_reference`, { file: 'references/001.png' })
      await ask(`characters/${slug}/rename`, { name: `${name} less` })
      wanted.delete(slug)
      grow(`${slug}_less`)
      inTrash.push(`${slug}_less-references/001.png`)
    }
  }
}

// ---- a browser

async function person() {
  const opened = await openBrowser(server)
  await opened.start()
  const until = (test, text, seconds) => results.until(opened.page, test, text, seconds)
  const panel = panelOn(opened.page, until)
  await panel.openPanel()
  return { ...opened, ...panel, until }
}

async function find(one, slug) {
  await one.field().fill(slug.replaceAll('_', ' '))
  await one.until(async () => (await one.cards()) === 1, `one card for ${slug}`)
  await one.open(slug)
}

/** What a person does by click, while the others do the same. */
async function click(one, name, own) {
  const slug = slugOf(name), exists = (what, is = true) => one.until(() => fs.existsSync(path.join(library, what, 'profile.toml')) === is, `${what} on disk`, 60)
  await one.files(own.slice(0, 2))
  await one.answer(name)
  await exists(slug)
  await one.until(async () => (await one.title().catch(() => '')) === name, `the page of ${name}`, 60)
  grow(slug, 2)
  await one.act('duplicate')
  await one.answer(`${name} copy`)
  await exists(`${slug}_copy`)
  await one.until(async () => (await one.title()) === `${name} copy`, 'the page of the copy')
  await one.act('rename')
  await one.answer(`${name} moved`)
  await exists(`${slug}_moved`)
  await one.until(async () => (await one.title()) === `${name} moved`, 'its new title')
  await one.idle()
  await one.act('trash')
  await one.answer()
  await exists(`${slug}_moved`, false)
  await one.page.waitForSelector('.likeness-panel .likeness-search')
  inTrash.push(`${slug}_moved`)
  await find(one, SHARED)
  for (const file of own.slice(2, 5)) {
    await one.files([file])
    await one.until(async () => (await one.status()).includes('1 picture(s) added'), 'the picture was added', 60)
    await one.idle()
    grow(SHARED)
    await one.page.evaluate(() => { document.querySelector('.likeness-panel .likeness-status').textContent = '' })
  }
  await one.back()
  await one.field().fill('')
}

const first = await person(), second = await person()
const shown = async (one) => Number((await one.count()).split(' ')[0])

await check('what one browser makes, the other shows without being touched', async () => {
  await second.until(async () => (await shown(second)) === slugs().length, 'all of them')
  await first.files(pictures.slice(0, 2))
  await first.answer('Made by one')
  grow('made_by_one', 2)
  const begun = Date.now()
  await second.until(async () => (await second.page.locator('.likeness-panel .likeness-card[data-slug="made_by_one"]').count()) === 1, 'its card', 60)
  await first.until(async () => (await first.title().catch(() => '')) === 'Made by one', 'its page')
  return `${Date.now() - begun} ms after the name was given`
})
await check('a page of a character that another browser has renamed says that it is gone', async () => {
  await find(second, 'made_by_one')
  await first.act('rename')
  await first.answer('Renamed by one')
  await second.until(async () => (await second.page.locator('.likeness-panel .likeness-body').textContent()).includes('no character'), 'the sentence')
  wanted.set('renamed_by_one', 2)
  wanted.delete('made_by_one')
  for (const one of [first, second]) { await one.back(); await one.field().fill('') }
})
await check('a picture that a program adds appears on a page that is open', async () => {
  await find(second, 'renamed_by_one')
  await addTo('renamed_by_one', pictures[2])
  await second.until(async () => (await second.page.locator('.likeness-panel .likeness-tile').count()) === 3, 'three tiles')
  await second.back()
  await second.field().fill('')
})
await check('two browsers and a program work on one library at once', async () => {
  const begun = Date.now(), own = (n) => pictures.slice(4 + 9 * n, 13 + 9 * n)
  const people = [click(first, 'Hand one', own(0)), click(second, 'Hand two', own(1))]
  const done = await Promise.allSettled([...people, ...Array.from({ length: WORKERS }, (_, i) => work(i, own(2 + i)))])
  const failed = done.filter((one) => one.status === 'rejected').map((one) => String(one.reason.message).split('\n')[0])
  must(!failed.length, failed.join('; '))
  return `${(Date.now() - begun) / 1000} s, ${wanted.size} characters`
})
await check('every character and every reference is on the disk, and its face beside it', async () => {
  same(slugs(), [...wanted.keys()].sort(), 'characters')
  for (const [slug, count] of wanted) {
    same([references(slug).length, new Set(references(slug)).size], [count, count], `references of ${slug}`)
    for (const file of references(slug)) must(fs.existsSync(path.join(library, slug, file)), `${slug}/${file} is gone`)
    const page = await ask(`characters/${slug}`)
    must(page.references_list.every((one) => one.face) && !page.problems.length, `${slug}: ${page.problems}`)
  }
})
await check('what was taken away is in the trash, and nothing half done is left', async () => {
  const trash = path.join(library, '.trash')
  for (const one of inTrash) must(one.includes('/') ? fs.existsSync(path.join(trash, one)) : fs.readdirSync(trash).some((name) => name.startsWith(`${one}-20`)), `${one} is not in the trash`)
  same(fs.readdirSync(trash).length, inTrash.length, 'things in the trash')
  same(below(library).filter((one) => one.name.startsWith('.likeness-')).map((one) => one.name), [], 'temporary files')
})
await check('settings that were changed at once are all kept', async () => {
  const { provider, face_model } = await ask('settings')
  same([provider, face_model], ['auto', 'standin'], 'settings')
})
await check('the panel leaves nothing in the input folder, and what programs put there stays', async () => {
  same(below(path.join(input, 'likeness')).map((one) => one.name), [], 'files of the panel')
  must(below(path.join(input, 'mine')).length > WORKERS * ROUNDS, 'files of the program')
})
await check('both browsers show all of it in the end', async () => {
  for (const one of [first, second]) await one.until(async () => (await shown(one)) === wanted.size, `${wanted.size} characters`)
})
await check("ComfyUI's log has no fault", async () => {
  const faults = fs.readFileSync(path.join(base, 'comfyui.log'), 'utf8').split('Traceback').slice(1)
  must(!faults.length, faults.map((text) => text.match(/^\w+(Error|Exception).*$/m)?.[0] ?? text.slice(0, 400)).join('; '))
})
for (const [i, one] of [first, second].entries()) {
  if (options['--shots']) await one.page.screenshot({ path: path.join(options['--shots'], `browser ${i + 1}.png`) })
  await check(`nothing was written to the console of browser ${i + 1}`, async () => must(one.errors.length === 0, one.errors.join(' | ')))
  await one.close()
}
results.finish()
