// The live list: lines come in by server-sent events, are kept for a moment and put in
// together, so that the page stays calm however fast they come.
const most = 200 // lines that stay
const pace = 250 // milliseconds between two changes of the list
const when = (tr) => Date.parse(tr.querySelector('time').dateTime)

export function live(does, htmx) {
  const rows = document.querySelector('#rows[sse-swap]')
  if (!rows) return
  const state = document.getElementById('live')
  const text = document.getElementById('live-text')
  const say = document.getElementById('live-say')
  const button = state.querySelector('[data-do=pause]')
  let waiting = [] // newest last
  let answers = new Map()
  let held = 0
  let skipped = 0
  let paused = false
  let over = false // the pointer is over the list, or the keyboard in it
  let open = false
  let missed = false // there is more than the messages brought
  let ended = ''
  let told = 0
  let news = { all: 0, blocked: 0 }

  const holding = () => paused || over
  function show() {
    const name = ended ? 'off' : !open ? 'wait' : holding() ? 'held' : 'on'
    state.dataset.liveState = name
    const more = held ? `, ${held} new` : ''
    text.textContent = { off: ended, wait: 'Connecting', held: (paused ? 'Paused' : 'Held while you point at it') + more, on: 'Live' }[name] +
      (skipped && name === 'on' ? `, ${skipped} too many to show` : '')
    button.textContent = paused ? 'Resume' : 'Pause'
    button.setAttribute('aria-pressed', paused)
  }

  // take puts lines of a page or a message in at their time, but those that are there.
  // What is parsed this way is the server's markup, and runs no script.
  function take(markup) {
    const page = new DOMParser().parseFromString(markup, 'text/html')
    for (const tr of [...page.querySelectorAll('tr[id]')].reverse()) {
      if (document.getElementById(tr.id)) continue
      const at = when(tr)
      let next = rows.firstElementChild
      while (next && when(next) > at) next = next.nextElementSibling
      rows.insertBefore(tr, next)
      tr.classList.add('is-new')
      htmx.process(tr)
      news.all++
      if (tr.classList.contains('v-deny')) news.blocked++
    }
    while (rows.rows.length > most) rows.lastElementChild.remove()
    if (rows.rows.length) {
      document.getElementById('empty')?.remove()
      rows.closest('table').classList.remove('is-empty')
    }
  }

  // catchUp asks for the list anew: what came before the stream was open, or while it was
  // not, is in no message.
  async function catchUp() {
    missed = false
    try {
      const res = await fetch(location.href, { headers: { 'HX-Request': 'true' } })
      if (res.ok) take(await res.text())
    } catch { missed = true }
  }

  function flush() {
    if (!holding()) {
      if (missed && open) catchUp()
      if (waiting.length) take(`<table>${waiting.reverse().join('')}</table>`)
      waiting = []
      held = 0
    }
    for (const [id, [status]] of answers) {
      const cell = document.querySelector(`#e-${CSS.escape(id)} .status`)
      if (!cell) continue
      const code = document.createElement('span')
      code.className = `code s${status[0]}`
      code.textContent = status
      if (status !== '0') cell.replaceChildren(code)
      answers.delete(id)
    }
    if (!holding()) answers = new Map()
    if (news.all && Date.now() - told > 10000) { // what a screen reader says, not too often
      told = Date.now()
      say.textContent = `${news.all} new requests, ${news.blocked} blocked`
      news = { all: 0, blocked: 0 }
    }
    show()
  }

  rows.addEventListener('htmx:sseBeforeMessage', (e) => {
    e.preventDefault() // put in by flush
    const { type, data } = e.detail
    if (type === 'rows') {
      waiting.push(data)
      held += (data.match(/<tr /g) || []).length
      if (waiting.length > most) waiting = waiting.slice(-most)
    } else if (type === 'answers') {
      for (const line of data.split('\n')) {
        const [id, ...rest] = line.split(' ')
        answers.set(id, rest)
        if (answers.size > 2000) answers.delete(answers.keys().next().value)
      }
    } else if (type === 'skipped') {
      skipped += Number(data.replaceAll(',', ''))
    } else if (type === 'reload') {
      missed = true
    } else if (type === 'bye') {
      ended = `Ended: ${data}`
    }
  })
  document.addEventListener('htmx:sseOpen', () => { open = missed = true; ended = ''; flush() })
  document.addEventListener('htmx:sseError', () => { open = false; show() })

  const list = document.getElementById('list')
  list.addEventListener('pointerenter', (e) => { if (e.pointerType === 'mouse') { over = true; show() } })
  list.addEventListener('pointerleave', () => { over = list.matches(':focus-within'); flush() })
  list.addEventListener('focusin', () => { over = true; show() })
  list.addEventListener('focusout', () => { over = list.matches(':hover'); show() })
  does.pause = () => { paused = !paused; flush() }
  setInterval(flush, pace)
  show()
}
