// The keyboard: / filters, j and k move, Enter opens (it is a link), Esc closes, g and a
// letter goes to a page, ? helps.
const pages = { o: '/', t: '/traffic', p: '/processes', f: '/findings', a: '/actions', r: '/rules', s: '/system' }

export function keys(does, panel) {
  let went = -Infinity // when g was pressed
  addEventListener('keydown', (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing || document.querySelector('dialog[open]')) return
    const typing = e.target.matches('input, select, textarea')
    if (e.key === 'Escape') {
      if (typing) e.target.blur()
      else if (panel.close()) e.preventDefault()
      return
    }
    if (typing) return
    if (e.timeStamp - went < 1500 && pages[e.key]) {
      location.href = pages[e.key]
      return
    }
    went = e.key === 'g' ? e.timeStamp : -Infinity
    if (e.key === '/') {
      const field = document.querySelector('[data-filter]')
      if (field) { e.preventDefault(); field.focus(); field.select() }
    } else if (e.key === 'j' || e.key === 'k') {
      const links = [...document.querySelectorAll('main a.open')]
      const at = links.findIndex((a) => a.closest('tr').contains(document.activeElement) || a.closest('tr').classList.contains('is-open'))
      const to = links[at < 0 ? 0 : at + (e.key === 'j' ? 1 : -1)]
      if (!to) return
      to.focus()
      to.closest('tr').scrollIntoView({ block: 'nearest' })
      if (panel.el?.firstChild) to.click() // what is open follows
    } else if (e.key === '?') does.help()
    else if (e.key === 'p') does.pause?.()
  })
}
