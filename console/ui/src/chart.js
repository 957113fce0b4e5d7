// Charts are drawn from the tables that stand below them.
import uPlot from 'uplot'

const drawn = new Map()
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()

function color(what) { // a class, or a property such as --line, as the style sheet has it now
  const probe = document.createElement('i')
  probe.className = `probe ${what}`
  if (what.startsWith('--')) probe.style.color = `var(${what})`
  document.body.append(probe)
  const c = getComputedStyle(probe).color
  probe.remove()
  return c
}

function read(box) {
  const table = document.querySelector(`#${box.dataset.from} table`)
  const heads = [...table.querySelectorAll('thead th[data-color]')].map((th) => ({ name: th.textContent, color: th.dataset.color }))
  const data = [[], ...heads.map(() => [])]
  for (const tr of table.tBodies[0].rows) {
    data[0].push(Date.parse(tr.querySelector('time').dateTime) / 1000)
    heads.forEach((_, i) => data[i + 1].push(Number(tr.cells[i + 1].textContent) / box.dataset.per))
  }
  return { heads, data: data.map((column) => column.slice(0, -1)) } // the last step is not over yet
}

const short = (v) => v === 0 ? '0' : v < 1 ? v.toFixed(2) : v < 10 ? v.toFixed(1) : String(Math.round(v))

function options(box, heads, legend) {
  const bars = box.dataset.chart === 'bars'
  const axis = { stroke: color('--soft'), grid: { stroke: color('--line'), width: 1 }, ticks: { show: false }, font: `11px ${css('--sans')}` }
  return {
    width: box.clientWidth, height: 190, padding: [10, 18, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
    scales: { y: { range: (_, lo, hi) => [0, hi > 0 ? hi * 1.1 : 1] } },
    axes: [
      { ...axis, size: 26, space: 70, values: '{HH}:{mm}' },
      { ...axis, size: 42, space: 36, values: (_, vs) => vs.map(short) },
    ],
    series: [{}, ...heads.map((h, i) => {
      const c = color(h.color)
      return {
        label: h.name, stroke: c, width: bars && i > 0 ? 0 : 1.6, points: { show: false },
        fill: bars && i > 0 ? c : c.replace(')', ' / 0.1)').replace(/^rgb\((\d+), (\d+), (\d+)/, 'rgb($1 $2 $3'),
        paths: bars && i > 0 ? uPlot.paths.bars({ size: [0.7, 14] }) : uPlot.paths.linear(),
      }
    })],
    hooks: {
      setCursor: [(u) => {
        const i = u.cursor.idx
        for (const li of legend().querySelectorAll('[data-series]')) {
          const b = li.querySelector('b')
          li.dataset.now ??= b.textContent
          b.textContent = i == null ? li.dataset.now : short(u.data[Number(li.dataset.series) + 1][i])
        }
      }],
    },
  }
}

// charts draws what is new and brings the rest up to date; again draws all anew.
export function charts(again) {
  for (const box of document.querySelectorAll('[data-chart]')) {
    const { heads, data } = read(box)
    const key = heads.map((h) => h.name).join()
    let u = drawn.get(box)
    if (u && (again || u.key !== key)) {
      u.destroy()
      u = null
    }
    if (u) {
      if (u.last !== data.join()) u.setData(data)
    } else {
      u = new uPlot(options(box, heads, () => box.closest('section').querySelector('.legend')), data, box)
      u.key = key
      if (!drawn.has(box)) new ResizeObserver(() => drawn.get(box).setSize({ width: box.clientWidth, height: 190 })).observe(box)
      drawn.set(box, u)
    }
    u.last = data.join()
  }
}
