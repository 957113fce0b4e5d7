// Times come in UTC with words for them; here they get the zone of who looks, and move on.
const two = (n) => String(n).padStart(2, '0')
const day = (d) => `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`
const clock = (d) => `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`
const months = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ')

function coarse(s) {
  if (s < 60) return `${s} s`
  if (s < 3600) return `${Math.floor(s / 60)} min`
  if (s < 172800) return `${Math.floor(s / 3600)} h`
  return `${Math.floor(s / 86400)} days`
}

function fine(s) {
  const h = Math.floor(s / 3600)
  const m = Math.floor(s / 60) % 60
  if (s >= 86400) return `${Math.floor(s / 86400)} d ${h % 24} h`
  return s < 3600 ? `${m}:${two(s % 60)}` : `${h}:${two(m)}:${two(s % 60)}`
}

const say = {
  clock: (d, now) => day(d) === day(now) ? clock(d) : `${months[d.getMonth()]} ${d.getDate()} ${clock(d).slice(0, 5)}`,
  full: (d) => `${day(d)} ${clock(d)}`,
  ago: (d, now) => now - d < 2000 ? 'just now' : `${coarse(Math.floor((now - d) / 1000))} ago`,
  left: (d, now) => d <= now ? 'over' : fine(Math.floor((d - now) / 1000)),
}

export function times() {
  const now = new Date()
  for (const el of document.querySelectorAll('time[data-t]')) {
    const kind = el.dataset.t
    if (el.dataset.done && (kind === 'clock' || kind === 'full')) continue
    const d = new Date(el.dateTime)
    const text = say[kind](d, now)
    if (el.textContent !== text) el.textContent = text
    if (!el.dataset.done) {
      el.dataset.done = '1'
      el.title = `${el.dateTime.slice(0, 19).replace('T', ' ')} UTC`
    }
  }
  for (const el of document.querySelectorAll('[data-zone]')) el.textContent = ''
}
