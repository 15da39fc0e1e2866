'use strict'
const element = (id) => document.getElementById(id)
const layers = JSON.parse(element('images').textContent)
const maps = layers.filter((layer) => !layer.mask)
const masks = layers.filter((layer) => layer.mask)
const cells = new Map()
let chosen = Math.max(0, maps.findIndex((layer) => layer.first))
let viewer = null

function fail(reason) {
  element('problem').hidden = false
  element('problem').textContent = 'The images cannot be drawn: ' + reason +
    ' The viewer needs a browser with WebGL 2; the images are NIfTI files beside this page.'
}

function option(parent, kind, layer, checked, change) {
  const label = document.createElement('label')
  const input = document.createElement('input')
  input.type = kind
  input.name = parent.id
  input.checked = checked
  input.addEventListener('change', change)
  label.append(input, ' ' + layer.title)
  parent.append(label)
  layer.input = input
}

function row(layer) {
  const line = document.createElement('tr')
  const head = document.createElement('th')
  head.scope = 'row'
  head.textContent = layer.title
  const cell = document.createElement('td')
  line.append(head, cell)
  element('values').append(line)
  cells.set(layer, { line, cell })
}

function show() {
  const current = maps[chosen]
  for (const layer of maps) {
    layer.input.checked = layer === current
    cells.get(layer).line.setAttribute('aria-current', String(layer === current))
  }
  current.image.cal_min = current.low
  current.image.cal_max = current.high
  element('low').value = current.low
  element('high').value = current.high
  element('unit').textContent = current.unit ? '[' + current.unit + ']' : ''
  // what is not seen is not drawn: many large images would be slow
  viewer.volumes = [current, ...masks.filter((layer) => layer.input.checked)].map((layer) => layer.image)
  viewer.back = viewer.volumes[0]
  viewer.overlays = viewer.volumes.slice(1)
  viewer.updateGLVolume()
}

function choose(index) {
  if (index >= 0 && index < maps.length) {
    chosen = index
    show()
  }
}

function setWindow(low, high) {
  if (Number.isFinite(low) && Number.isFinite(high) && low < high) {
    maps[chosen].low = Number(low.toPrecision(4))
    maps[chosen].high = Number(high.toPrecision(4))
    show()
  }
}

function widen(factor) {
  const { low, high } = maps[chosen]
  const middle = low < 0 && high > 0 ? 0 : low
  setWindow(middle + (low - middle) * factor, middle + (high - middle) * factor)
}

function textOf(layer, value) {
  if (layer.table) return layer.table.labels[Math.round(value)] || '–'
  if (layer.mask) return value > 0.5 ? 'inside' : '–'
  return value.toFixed(layer.digits).replace('-', '\u2212') + (layer.unit ? ' ' + layer.unit : '')
}

// values of a layer on a lattice of 1 mm within 3 mm of a place
function around(layer, [x, y, z]) {
  const values = []
  for (let i = -3; i <= 3; i++) for (let j = -3; j <= 3; j++) for (let k = -3; k <= 3; k++) {
    if (i * i + j * j + k * k <= 9) values.push(layer.image.getValue(...layer.image.mm2vox([x + i, y + j, z + k])))
  }
  return values
}

// which sign the strongest source near a place has: the question of a dark spot in the magnitude
function tellSign(place) {
  const chi = maps.find((layer) => layer.name === 'chi')
  if (!chi) return
  const values = around(chi, place)
  const low = Math.min(...values), high = Math.max(...values)
  const clear = Math.max(-low, high) >= 0.1
  let text = 'Within 3 mm: ' + textOf(chi, low).replace(' ppm', '') + ' to ' + textOf(chi, high) + '. '
  if (clear && high > -2 * low) text += 'Paramagnetic, as blood products, iron or a vein; calcium would be dark in the map.'
  else if (clear && -low > 2 * high) text += 'Diamagnetic, as calcium; blood products would be bright in the map.'
  else text += 'No sign stands out (beyond 0.1 ppm, and twice the other).'
  const estimated = masks.find((layer) => layer.name === 'estimated_mask')
  const share = estimated ? around(estimated, place).filter((x) => x > 0.5).length / values.length : 0
  if (share > 0) text += ' ' + Math.round(100 * share) + ' % of it has no field of its own: its sign comes from the field around, its size is less certain.'
  element('sign').textContent = text
}

function tellValues(location) {
  const place = location.mm
  cells.get('place').cell.textContent = Array.from(place).slice(0, 3).map((x) => x.toFixed(1)).join(', ').replaceAll('-', '\u2212') + ' mm'
  for (const layer of layers) {
    const value = layer.image.getValue(...layer.image.mm2vox(place))
    cells.get(layer).cell.textContent = textOf(layer, value)
  }
  tellSign(place)
}

function setView(name) {
  const types = { multi: viewer.sliceTypeMultiplanar, axial: viewer.sliceTypeAxial, coronal: viewer.sliceTypeCoronal, sagittal: viewer.sliceTypeSagittal }
  element('view').value = name
  viewer.setSliceType(types[name])
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return
  const side = element('view').value
  const through = { axial: [0, 0, 1], multi: [0, 0, 1], coronal: [0, 1, 0], sagittal: [1, 0, 0] }[side]
  const across = side === 'sagittal' ? [0, 1, 0] : [1, 0, 0]
  const up = side === 'axial' || side === 'multi' ? [0, 1, 0] : [0, 0, 1]
  const steps = { ArrowLeft: [across, -1], ArrowRight: [across, 1], ArrowUp: [up, 1], ArrowDown: [up, -1], PageUp: [through, 1], PageDown: [through, -1] }
  const onCanvas = event.target === element('canvas') || event.target === document.body
  if (event.key in steps && onCanvas) {
    const [axis, sign] = steps[event.key]
    viewer.moveCrosshairInVox(...axis.map((x) => sign * x))
  } else if (/^[1-9]$/.test(event.key) && event.target.type !== 'number') {
    choose(Number(event.key) - 1)
  } else if (event.key === '+' && onCanvas) {
    widen(0.8)
  } else if (event.key === '-' && onCanvas) {
    widen(1.25)
  } else if (event.key === 'v' && onCanvas) {
    const names = ['multi', 'axial', 'coronal', 'sagittal']
    setView(names[(names.indexOf(side) + 1) % 4])
  } else if (event.key === 'm' && onCanvas) {
    const on = masks.some((layer) => layer.input.checked)
    for (const layer of masks) layer.input.checked = !on
    show()
  } else {
    return
  }
  event.preventDefault()
  event.stopPropagation()
}

async function start() {
  for (const layer of layers) layer.given = [layer.low, layer.high]
  const place = { title: 'Position' }
  row(place)
  cells.set('place', cells.get(place))
  maps.forEach((layer, index) => option(element('layers'), 'radio', layer, index === chosen, () => choose(index)))
  for (const layer of masks) option(element('masks'), 'checkbox', layer, false, show)
  layers.forEach(row)
  viewer = new niivue.Niivue({
    backColor: [0, 0, 0, 1], fontColor: [1, 0.85, 0.5, 1], showAllOrientationMarkers: true, crosshairColor: [1, 0.7, 0.3, 0.8], crosshairWidth: 0.5, crosshairWidthUnit: 'mm', show3Dcrosshair: false,
    isRadiologicalConvention: false, isColorbar: true, dragAndDropEnabled: false, loadingText: '',
    multiplanarShowRender: niivue.SHOW_RENDER.NEVER, multiplanarPadPixels: 12, isResizeCanvas: true, clipPlaneHotKey: '', cycleClipPlaneHotKey: '', viewModeHotKey: '', logLevel: 'error',
  })
  viewer.onLocationChange = tellValues
  await viewer.attachToCanvas(element('canvas'))
  if (!viewer.gl) throw new Error('WebGL 2 is missing.')
  for (const layer of layers) {
    const image = await niivue.NVImage.loadFromBase64({ base64: layer.data, name: layer.name + '.nii.gz', colormap: layer.colours, cal_min: layer.low, cal_max: layer.high, opacity: layer.mask ? 0.45 : 1 })
    image.colorbarVisible = !layer.mask
    if (layer.table) image.setColormapLabel(layer.table)
    layer.image = image
    layer.data = ''
  }
  document.addEventListener('keydown', onKey, true)
  for (const id of ['low', 'high']) element(id).addEventListener('change', () => setWindow(Number(element('low').value), Number(element('high').value)))
  element('reset').addEventListener('click', () => setWindow(...maps[chosen].given))
  element('view').addEventListener('change', () => setView(element('view').value))
  element('smooth').addEventListener('change', () => viewer.setInterpolation(!element('smooth').checked))
  show()
  setView('multi')
  viewer.moveCrosshairInVox(0, 0, 0)
  document.body.dataset.ready = 'yes'
}

start().catch((error) => fail(error.message))
