// The Characters panel on a page, as somebody uses it.

const IN = '.likeness-panel'

/** `until(test, text, seconds)` waits, as `answers()` in browser.mjs does. */
export function panelOn(page, until) {
  const act = (name) => page.click(`${IN} [data-action="${name}"]`)
  const title = () => page.locator(`${IN} .likeness-head h2`).textContent()
  const status = () => page.locator(`${IN} .likeness-status`).textContent()
  const count = () => page.locator(`${IN} .likeness-count`).textContent()
  const field = () => page.locator(`${IN} .likeness-search`)
  const cards = () => page.locator(`${IN} .likeness-card`).count()
  const files = (given, nth = 0) => page.locator(`${IN} .likeness-page input[type=file]`).nth(nth).setInputFiles(given)
  const idle = () => until(async () => !(await page.locator(`${IN} .likeness-main[aria-busy]`).count()), 'the action ended', 60)
  const listed = () => page.waitForSelector(`${IN} .likeness-card, ${IN} .likeness-empty`)
  const back = async () => { await act('back'); await listed() }
  const open = async (slug) => { await page.click(`${IN} .likeness-card[data-slug="${slug}"]`); await page.waitForSelector(`${IN} .likeness-body .likeness-part`) }

  async function openPanel() {
    await page.evaluate(() => window.app.extensionManager.command.execute('Likeness.OpenPanel'))
    await listed()
  }

  /** Answers ComfyUI's own dialog: writes the text, if one is given, and confirms. */
  async function answer(text) {
    const dialog = page.locator('[role="dialog"], [role="alertdialog"]').last()
    await dialog.waitFor()
    if (text !== undefined) {
      await dialog.locator('input').first().fill(text)
      await dialog.locator('input').first().press('Enter')
    } else {
      await dialog.locator('button').filter({ hasText: /confirm|delete|ok|yes/i }).last().click()
    }
    await dialog.waitFor({ state: 'hidden' })
  }

  return { act, answer, back, cards, count, field, files, idle, open, openPanel, status, title }
}
