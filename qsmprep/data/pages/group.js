'use strict'
const table = document.getElementById('rows')
const body = table.tBodies[0]
const head = table.tHead.rows[0]
const rows = Array.from(body.rows, (row) => ({
  row,
  cells: Array.from(row.cells, (cell) => cell.textContent.trim()),
  index: Number(row.dataset.row),
}))
const values = JSON.parse(document.getElementById('values').textContent)
const columns = ['participant', 'acquisition', 'session', 'site', 'scanner', 'field_strength_t', 'status', 'warnings', 'far']
const filters = Array.from(document.querySelectorAll('select[data-column]'))
const search = document.getElementById('search')
const measure = document.getElementById('measure')
const count = document.getElementById('count')
let order = { column: -1, up: true }

function matches(item) {
  const wanted = search.value.trim().toLowerCase()
  const words = (item.cells[0] + ' ' + item.cells[1]).toLowerCase()
  return words.includes(wanted) && filters.every((one) =>
    one.value === '' || item.cells[columns.indexOf(one.dataset.column)] === one.value)
}

function filter() {
  let shown = 0
  for (const item of rows) {
    const fits = matches(item)
    item.row.hidden = !fits
    shown += fits ? 1 : 0
  }
  count.textContent = shown + ' of ' + rows.length + ' acquisitions'
}

function keyOf(item, column) {
  if (column === columns.length) return (values[measure.value] || [])[item.index] ?? -Infinity
  if (column === 8) return item.row.cells[8].childElementCount
  const number = Number(item.cells[column])
  return item.cells[column] !== '' && Number.isFinite(number) ? number : item.cells[column]
}

function sort(column) {
  order = { column, up: order.column === column ? !order.up : true }
  const keys = new Map(rows.map((item) => [item, keyOf(item, column)]))
  const compare = (a, b) => typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true })
  rows.sort((a, b) => (order.up ? 1 : -1) * compare(keys.get(a), keys.get(b)) || a.index - b.index)
  body.append(...rows.map((item) => item.row))
  Array.from(head.cells, (cell, place) => cell.setAttribute('aria-sort', place === column ? (order.up ? 'ascending' : 'descending') : 'none'))
}

function addButton(cell, column) {
  const button = document.createElement('button')
  button.type = 'button'
  button.textContent = cell.textContent
  button.addEventListener('click', () => sort(column))
  cell.replaceChildren(button)
}

function showMeasure() {
  for (const row of table.rows) if (row.cells.length > columns.length) row.lastElementChild.remove()
  const found = values[measure.value]
  if (!found) return
  const title = document.createElement('th')
  title.scope = 'col'
  title.textContent = measure.selectedOptions[0].textContent
  head.append(title)
  addButton(title, columns.length)
  for (const item of rows) {
    const cell = document.createElement('td')
    cell.className = 'number'
    cell.textContent = found[item.index] ?? ''
    item.row.append(cell)
  }
}

function openNearest(event) {
  const plot = event.currentTarget
  const found = values[plot.dataset.measure]
  if (!found || event.target.closest('a')) return
  const box = plot.getBoundingClientRect()
  const finite = found.filter((value) => value !== null)
  const low = Math.min(...finite)
  const high = Math.max(...finite)
  const pad = 0.05 * (high - low) || 0.05 * Math.abs(high) || 1
  const wanted = low - pad + ((event.clientX - box.left) / box.width * 300 - 12) / 276 * (high - low + 2 * pad)
  let nearest = null
  for (const item of rows) {
    const value = found[item.index]
    if (value !== null && (!nearest || Math.abs(value - wanted) < Math.abs(found[nearest.index] - wanted))) nearest = item
  }
  const link = nearest && nearest.row.querySelector('a')
  if (link) link.click()
}

document.getElementById('controls').hidden = false
count.hidden = false
Array.from(head.cells, addButton)
for (const one of filters) one.addEventListener('change', filter)
search.addEventListener('input', filter)
measure.addEventListener('change', showMeasure)
for (const plot of document.querySelectorAll('svg[data-measure]')) plot.addEventListener('click', openNearest)
filter()
