// The scripts of the console. Pages are whole without them; these make lists live,
// draw charts, count down and listen to the keyboard. None makes markup of data.
import htmx from 'htmx.org'
import 'htmx-ext-sse'
import 'uplot/dist/uPlot.min.css'
import { charts } from './chart.js'
import { keys } from './keys.js'
import { live } from './live.js'
import { times } from './time.js'

const root = document.documentElement
root.classList.add('js')

const does = {
  theme() {
    const dark = getComputedStyle(root).colorScheme === 'dark' ||
      (!root.dataset.theme && matchMedia('(prefers-color-scheme: dark)').matches)
    root.dataset.theme = dark ? 'light' : 'dark'
    document.cookie = `theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict; secure`
    charts(true)
  },
  help() { document.getElementById('keys')?.showModal() },
  close() { panel.close() },
  async copy(button) { // the text below the button's line
    const text = button.closest('.change')?.querySelector('pre')?.textContent
    if (!text) return
    try {
      await navigator.clipboard.writeText(text)
      button.textContent = 'Copied'
    } catch { button.textContent = 'Not allowed: select and copy' }
    setTimeout(() => { button.textContent = 'Copy' }, 2500)
  },
}

// panel is what is open beside a list.
export const panel = {
  el: document.getElementById('panel'),
  from: null,
  opened() {
    this.from = document.querySelector('tr.is-open a.open')
    this.el.querySelector('h2')?.focus({ preventScroll: true })
    this.el.scrollTop = 0
  },
  close() {
    if (!this.el?.firstChild) return false
    this.el.replaceChildren()
    const row = document.querySelector('tr.is-open')
    row?.classList.remove('is-open')
    row?.querySelector('a.open')?.focus()
    return true
  },
}

document.addEventListener('click', (e) => {
  const button = e.target.closest?.('[data-do]')
  does[button?.dataset.do]?.(button)
})

document.addEventListener('htmx:beforeRequest', (e) => {
  const { elt, requestConfig } = e.detail
  if (elt.hasAttribute('data-live')) return paced(e, elt, requestConfig.triggeringEvent?.type)
  const row = elt.closest('tr')
  if (!row || elt.getAttribute('hx-target') !== '#panel') return
  document.querySelector('tr.is-open')?.classList.remove('is-open')
  row.classList.add('is-open')
})

// Parts that come anew ask once in a while, and never leave out the last change: the
// server's own view of it may be a second old, so that a change is asked for twice.
const asked = new WeakMap() // when an element last asked
const later = new WeakMap() // its timer
function again(elt, wait) {
  if (later.has(elt)) return
  later.set(elt, setTimeout(() => { later.delete(elt); htmx.trigger(elt, 'refresh') }, wait))
}
function paced(e, elt, why) {
  const wait = (asked.get(elt) ?? -1e9) + 700 - performance.now()
  if (wait > 0) {
    e.preventDefault()
    return again(elt, wait)
  }
  asked.set(elt, performance.now())
  if (why?.startsWith('sse:')) again(elt, 1100)
}

// What changed before the stream was open came in no message.
document.addEventListener('htmx:sseOpen', (e) => {
  for (const elt of e.target.querySelectorAll('[data-live]')) htmx.trigger(elt, 'refresh')
})

// They must not take away what is being pressed, typed in or chosen.
let pressed = false
addEventListener('pointerdown', () => { pressed = true }, true)
addEventListener('pointerup', () => { setTimeout(() => { pressed = false }, 50) }, true)
addEventListener('pointercancel', () => { pressed = false }, true)
document.addEventListener('htmx:beforeSwap', (e) => {
  const { target, elt, requestConfig } = e.detail
  if (target.id === 'panel') { // a problem is a page, and shown as such
    e.detail.shouldSwap = true
    e.detail.isError = false
    return
  }
  const by = requestConfig?.elt ?? elt
  if (!by.hasAttribute('data-live')) return
  const busy = document.activeElement
  if (pressed || (target.contains(busy) && busy.matches('input, select, textarea'))) {
    e.detail.shouldSwap = false
    again(by, 1000)
  }
})
document.addEventListener('htmx:afterSwap', (e) => {
  if (e.detail.target?.id === 'panel') panel.opened()
})
document.addEventListener('htmx:afterSettle', () => { times(); charts() })

live(does, htmx)
keys(does, panel)
times()
charts()
setInterval(times, 1000)
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => charts(true))
