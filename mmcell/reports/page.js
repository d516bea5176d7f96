'use strict';
// The page works without this script, except for the gallery: its pictures and cells are in this file as compressed
// text. Verdicts on predicted cells come from mmcell; the script only counts those that reach the chosen score.
(() => {
  const byId = id => document.getElementById(id);

  const prefersDark = matchMedia('(prefers-color-scheme: dark)');
  const isDark = () => (document.documentElement.dataset.theme ?? (prefersDark.matches ? 'dark' : 'light')) === 'dark';
  const nameTheme = () => { byId('theme').textContent = isDark() ? 'light page' : 'dark page'; };
  byId('theme').hidden = false;
  byId('theme').addEventListener('click', () => {
    document.documentElement.dataset.theme = isDark() ? 'light' : 'dark';
    nameTheme();
  });
  prefersDark.addEventListener('change', nameTheme);
  nameTheme();

  if (!byId('gallery-data')) return;
  const gallery = JSON.parse(byId('gallery-data').textContent);
  const {images} = gallery;
  const sides = ['true', 'predicted'];
  const panes = Object.fromEntries(sides.map(side => [side, {
    stage: byId(`${side}-stage`), svg: byId(`${side}-pane`), shapes: [], cells: []}]));
  // place: the image that is shown. label: the class that is shown, null for all. view: the part of the image that is
  // shown, [left, top, width, height] in its px. truth and predicted: the labels and predictions of all images.
  const state = {place: 0, run: 0, threshold: gallery.threshold, label: null, view: null, truth: null, predicted: null};

  // ---- Cells, verdicts and counts

  const unpacked = new Map();
  async function unpack(text) {
    if (!unpacked.has(text)) {
      const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
      unpacked.set(text, JSON.parse(await new Response(stream).text()));
    }
    return unpacked.get(text);
  }

  const isShown = label => state.label === null || label === state.label;

  // Returns the cells of both panes: their classes and verdicts, and which cell of the other pane belongs to each.
  function judge(place) {
    const {labels, scores, kinds, true: trueCells} = state.predicted[place];
    const truth = state.truth[place].map(label => ({label, verdict: 'missed', partner: -1, isShown: isShown(label)}));
    const predicted = labels.map((label, index) => {
      const kind = gallery.kinds[kinds[index]];
      const verdict = {correct: 'hit', classification: 'wrong class'}[kind] ?? 'spurious';
      const cell = {label, verdict, kind, score: scores[index], partner: verdict === 'spurious' ? -1 : trueCells[index],
                    isKept: scores[index] >= state.threshold};
      cell.isShown = cell.isKept && isShown(label);
      const partner = cell.isKept && truth[cell.partner];
      if (partner && partner.verdict !== 'hit') Object.assign(partner, {verdict, partner: index});
      return cell;
    });
    return {truth, predicted};
  }

  function count(place) {
    const {labels, scores, kinds} = state.predicted[place];
    const counts = {true: state.truth[place].filter(isShown).length, predicted: 0, hits: 0, wrong: 0};
    labels.forEach((label, index) => {
      if (scores[index] < state.threshold || !isShown(label)) return;
      counts.predicted += 1;
      counts.hits += gallery.kinds[kinds[index]] === 'correct';
      counts.wrong += gallery.kinds[kinds[index]] === 'classification';
    });
    return counts;
  }

  function f1Of({true: nTrue, predicted, hits}) {
    return nTrue + predicted ? 2 * hits / (nTrue + predicted) : null;
  }

  function describe(counts) {
    const f1 = f1Of(counts);
    return `${counts.true} true, ${counts.predicted} predicted, ${counts.hits} hit, ${counts.true - counts.hits} missed, `
      + `${counts.predicted - counts.hits} spurious${counts.wrong ? ` (of which ${counts.wrong} wrong class)` : ''}${f1 === null ? '' : `, F1 ${f1.toFixed(3)}`}`;
  }

  // ---- Panes

  function makeSvg(name, attributes = {}) {
    const element = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  function build(pane, image, paths) {
    // A dark line below each outline makes light colours visible on light images. (One path with the lines of all
    // cells would take browsers ten times as long to draw.)
    pane.casings = paths.map(path => makeSvg('path', {class: 'casing', d: path}));
    pane.shapes = paths.map(path => makeSvg('path', {class: 'cell', d: path}));
    const {width, height, picture} = image;
    pane.stage.style.aspectRatio = `${width} / ${height}`;
    pane.svg.replaceChildren(makeSvg('image', {href: picture, width, height}), ...pane.casings, ...pane.shapes);
  }

  function paint(side, cells) {
    const pane = panes[side], byVerdict = byId('paint').value === 'verdicts';
    pane.cells = cells;
    pane.shapes.forEach((shape, index) => {
      const {label, verdict, isShown: shown} = cells[index];
      const style = gallery.verdicts[verdict], color = byVerdict ? style.color : gallery.classes[label].color;
      shape.style.display = pane.casings[index].style.display = shown ? '' : 'none';
      shape.style.stroke = shape.style.fill = color;
      shape.style.setProperty('--dash', style.dash_px);
      shape.setAttribute('class', `cell ${verdict === 'hit' ? '' : 'mistake'} ${style.dash_px ? 'dashed' : ''}`);
      shape.dataset.verdict = verdict;
    });
  }

  let drawings = 0, built = null;
  async function draw() {
    const drawing = ++drawings, {place, run} = state, image = images[place];
    const [truth, predicted, truePaths, predictedPaths] = await Promise.all(
      [gallery.truth, gallery.runs[run].cells, image.truth, image.predicted[run]].map(unpack));
    if (drawing !== drawings) return;
    Object.assign(state, {truth, predicted});
    if (built !== `${place} ${run}`) {
      build(panes.true, image, truePaths);
      build(panes.predicted, image, predictedPaths);
      built = `${place} ${run}`;
    }
    const cells = judge(place);
    paint('true', cells.truth);
    paint('predicted', cells.predicted);
    applyView();
    const counts = count(place);
    for (const side of sides) {
      panes[side].svg.setAttribute('aria-label', `${image.name}: ${counts[side]} ${side} cells`);
    }
    byId('name').textContent = image.name;
    byId('counts').textContent = describe(counts);
    byId('verdicts').classList.toggle('colored', byId('paint').value === 'verdicts');
    byId('threshold-value').textContent = String(state.threshold);
    describeAll();
    markCard();
  }

  function describeAll() {
    const total = {true: 0, predicted: 0, hits: 0, wrong: 0};
    images.forEach((_, place) => {
      for (const [key, value] of Object.entries(count(place))) total[key] += value;
    });
    byId('total').textContent = (images.length === 1 ? 'One image' : `${images.length} images`)
      + (state.label === null ? '' : `, ${gallery.classes[state.label].name}`)
      + `, score at least ${state.threshold}: ${describe(total)}`;
  }

  function show(place) {
    state.place = place;
    state.view = [0, 0, images[place].width, images[place].height];
    return draw();
  }

  // ---- The strip of small pictures

  let order = [];
  function sortImages() {
    const counts = images.map((_, place) => count(place));
    const mistakes = ({true: nTrue, predicted, hits}) => nTrue + predicted - 2 * hits;
    order = images.map((_, place) => place).sort(byId('order').value === 'name'
      ? (a, b) => images[a].name.localeCompare(images[b].name, 'en', {numeric: true})
      : (a, b) => (f1Of(counts[a]) ?? 2) - (f1Of(counts[b]) ?? 2) || mistakes(counts[b]) - mistakes(counts[a]) || a - b);
    byId('cards').replaceChildren(...order.map(place => makeCard(place, f1Of(counts[place]))));
    markCard();
  }

  function makeCard(place, f1) {
    const item = document.createElement('li'), card = document.createElement('button');
    const picture = document.createElement('img'), name = document.createElement('span');
    Object.assign(picture, {src: images[place].thumbnail, alt: '', loading: 'lazy'});
    Object.assign(name, {className: 'name', textContent: images[place].name});
    Object.assign(card, {type: 'button', className: 'card', title: images[place].name});
    card.dataset.place = place;
    card.append(picture, f1 === null ? 'no cells' : `F1 ${f1.toFixed(3)}`, name);
    card.addEventListener('click', () => {
      Object.values(panes).find(({stage}) => !stage.hidden).stage.focus({preventScroll: true});
      show(place);
    });
    item.append(card);
    return item;
  }

  function markCard() {
    for (const card of document.querySelectorAll('.card')) {
      const isCurrent = Number(card.dataset.place) === state.place;
      card.setAttribute('aria-current', String(isCurrent));
      // Only the strip is scrolled, never the page.
      if (isCurrent) {
        const strip = byId('cards'), left = card.offsetLeft - strip.offsetLeft;
        const isVisible = left >= strip.scrollLeft && left + card.offsetWidth <= strip.scrollLeft + strip.clientWidth;
        if (!isVisible) strip.scrollLeft = left - 8;
      }
    }
  }

  function step(by) {
    show(order[(order.indexOf(state.place) + by + order.length) % order.length]);
  }

  // ---- Zoom. Both panes always show the same part of the image.

  function applyView() {
    const {width, height} = images[state.place];
    let [left, top, viewWidth, viewHeight] = state.view;
    if (viewWidth >= width) [left, top, viewWidth, viewHeight] = [0, 0, width, height];
    const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
    left = clamp(left, -viewWidth / 2, width - viewWidth / 2);
    top = clamp(top, -viewHeight / 2, height - viewHeight / 2);
    state.view = [left, top, viewWidth, viewHeight];
    for (const {svg, stage} of Object.values(panes)) {
      svg.setAttribute('viewBox', state.view.join(' '));
      // Lines are thinner where a px of the image is less than a px of the screen, or small cells would be all line.
      const scale = Math.min(svg.clientWidth / viewWidth, svg.clientHeight / viewHeight);
      svg.style.setProperty('--line-width', clamp(scale, .45, 1));
      // A finger on the whole image scrolls the page; on a part of it, it moves the part.
      stage.classList.toggle('zoomed', viewWidth < width);
    }
  }

  function zoom(factor, x, y) {
    const [left, top, width, height] = state.view, image = images[state.place];
    const scale = Math.max(factor, Math.min(8 / Math.min(width, height), 1));
    const [atX, atY] = [x ?? left + width / 2, y ?? top + height / 2];
    state.view = scale * width >= image.width ? [0, 0, image.width, image.height]
      : [atX - (atX - left) * scale, atY - (atY - top) * scale, width * scale, height * scale];
    applyView();
  }

  function move(dx, dy) {
    state.view[0] += dx;
    state.view[1] += dy;
    applyView();
  }

  function toImage(svg, event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [point.x, point.y];
  }

  function listen({stage, svg}) {
    const pointers = new Map();
    stage.addEventListener('wheel', event => {
      // At the whole image, turning the wheel back scrolls the page.
      if (event.deltaY > 0 && state.view[2] >= images[state.place].width) return;
      event.preventDefault();
      zoom(1.002 ** Math.max(Math.min(event.deltaY * (event.deltaMode ? 33 : 1), 200), -200), ...toImage(svg, event));
    }, {passive: false});
    stage.addEventListener('pointerdown', event => {
      stage.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event);
    });
    stage.addEventListener('pointermove', event => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      pointers.set(event.pointerId, event);
      const other = [...pointers.values()].find(pointer => pointer.pointerId !== event.pointerId);
      if (other) {
        const distance = pointer => Math.hypot(pointer.clientX - other.clientX, pointer.clientY - other.clientY);
        zoom(distance(before) / Math.max(distance(event), 1), ...toImage(svg, other));
      } else {
        const [x0, y0] = toImage(svg, before), [x1, y1] = toImage(svg, event);
        move(x0 - x1, y0 - y1);
      }
    });
    for (const end of ['pointerup', 'pointercancel']) {
      stage.addEventListener(end, event => pointers.delete(event.pointerId));
    }
    stage.addEventListener('keydown', event => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const [, , width, height] = state.view;
      const actions = {
        'ArrowLeft': () => move(-width / 10, 0), 'ArrowRight': () => move(width / 10, 0),
        'ArrowUp': () => move(0, -height / 10), 'ArrowDown': () => move(0, height / 10),
        '+': () => zoom(.8), '=': () => zoom(.8), '-': () => zoom(1.25), '0': () => zoom(Infinity),
        'n': () => step(1), 'p': () => step(-1)};
      if (!actions[event.key]) return;
      actions[event.key]();
      event.preventDefault();
    });
  }

  // ---- What the cell under the pointer is

  function pointAt(side, index) {
    for (const pane of Object.values(panes)) for (const shape of pane.shapes) shape.classList.remove('pointed');
    const cell = panes[side].cells[index];
    byId('cell').textContent = '';
    if (!cell) return;
    panes[side].shapes[index].classList.add('pointed');
    panes[side === 'true' ? 'predicted' : 'true'].shapes[cell.partner]?.classList.add('pointed');
    byId('cell').textContent = `${side} ${gallery.classes[cell.label].name}`
      + (side === 'true' ? '' : `, score ${cell.score.toFixed(3)}`) + `: ${cell.verdict}`
      + (cell.verdict === 'spurious' ? ` (${cell.kind})` : '');
  }

  // ---- Start

  async function sortAndDraw() {
    await draw();
    sortImages();
  }

  addEventListener('resize', () => { if (state.view) applyView(); });
  for (const side of sides) {
    listen(panes[side]);
    panes[side].svg.addEventListener('pointerover', event => pointAt(side, panes[side].shapes.indexOf(event.target)));
  }
  byId('zoom-in').addEventListener('click', () => zoom(.8));
  byId('zoom-out').addEventListener('click', () => zoom(1.25));
  byId('zoom-all').addEventListener('click', () => zoom(Infinity));
  byId('next').addEventListener('click', () => step(1));
  byId('previous').addEventListener('click', () => step(-1));
  byId('threshold').addEventListener('input', event => { state.threshold = Number(event.target.value); draw(); });
  byId('threshold').addEventListener('change', sortAndDraw);
  byId('order').addEventListener('change', sortImages);
  byId('paint').addEventListener('change', draw);
  byId('run')?.addEventListener('change', event => { state.run = Number(event.target.value); sortAndDraw(); });
  byId('panes').addEventListener('change', event => {
    byId('viewer').classList.toggle('single', event.target.value !== 'both');
    for (const side of sides) panes[side].stage.hidden = ![side, 'both'].includes(event.target.value);
    applyView();
  });
  for (const choice of document.querySelectorAll('input[name=class]')) {
    choice.addEventListener('change', () => { state.label = choice.value === '' ? null : Number(choice.value); sortAndDraw(); });
  }
  (async () => {
    if (!('DecompressionStream' in window)) {
      byId('counts').textContent = 'This browser is too old to show the images: browsers since 2023 do.';
      return;
    }
    [state.truth, state.predicted] = await Promise.all([gallery.truth, gallery.runs[0].cells].map(unpack));
    sortImages();
    await show(order[0]);
  })();
})();
