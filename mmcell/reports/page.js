'use strict';
// The gallery: images with true and predicted cells. Everything is computed from the outlines and scores in this file.
(() => {
  const root = document.documentElement;
  const byId = id => document.getElementById(id);
  byId('theme').addEventListener('click', () => {
    const isDark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    root.dataset.theme = isDark ? 'light' : 'dark';
  });
  const source = byId('gallery-data');
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const state = {image: 0, run: 0, threshold: data.threshold, order: 'worst', paint: 'classes', panes: 'both',
                 hidden: new Set(), view: null};
  const unpacked = new Map();

  // Cells are stored as compressed JSON: one list per image and set. Browsers unpack them themselves.
  async function unpack(text) {
    if (!unpacked.has(text)) {
      const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
      unpacked.set(text, JSON.parse(await new Response(stream).text()));
    }
    return unpacked.get(text);
  }

  // As in the tables: by falling score, a prediction takes the free true cell of its class with the largest IoU above .5.
  // One that takes none, but has such an IoU with a cell of another class, has the wrong class.
  function judge(truth, predicted, threshold) {
    const verdicts = predicted.cells.map(() => 'spurious');
    const found = truth.map(() => 'missed');
    const candidates = predicted.pairs.filter(([index, , iou]) => iou > .5 && predicted.cells[index][1] >= threshold)
      .sort((a, b) => predicted.cells[b[0]][1] - predicted.cells[a[0]][1] || a[0] - b[0] || b[2] - a[2]);
    for (const [index, cell] of candidates) {
      const sameClass = predicted.cells[index][0] === truth[cell][0];
      if (sameClass && verdicts[index] !== 'hit' && found[cell] !== 'hit') {
        verdicts[index] = found[cell] = 'hit';
      } else if (!sameClass && verdicts[index] === 'spurious') {
        verdicts[index] = 'wrong';
      }
    }
    return {verdicts, found};
  }

  function colorOf(label, verdict) {
    return state.paint === 'classes' ? data.classes[label].color : `var(--${verdict})`;
  }

  function drawPane(svg, image, cells, title) {
    svg.replaceChildren();
    const picture = document.createElementNS('http://www.w3.org/2000/svg', 'image');
    picture.setAttribute('href', image.picture);
    picture.setAttribute('width', image.width);
    picture.setAttribute('height', image.height);
    svg.append(picture);
    for (const {label, verdict, path, text} of cells) {
      if (state.hidden.has(label)) continue;
      const shape = document.createElementNS('http://www.w3.org/2000/svg', 'path');
      shape.setAttribute('d', path);
      shape.setAttribute('class', `cell ${state.paint === 'verdicts' ? verdict : ''}`);
      shape.style.stroke = shape.style.fill = colorOf(label, verdict);
      const tip = document.createElementNS('http://www.w3.org/2000/svg', 'title');
      tip.textContent = text;
      shape.append(tip);
      svg.append(shape);
    }
    svg.setAttribute('aria-label', title);
    svg.setAttribute('viewBox', state.view.join(' '));
  }

  async function draw() {
    const image = data.images[state.image];
    const truth = await unpack(image.truth);
    const predicted = await unpack(image.predicted[state.run]);
    if (image !== data.images[state.image]) return;
    const {verdicts, found} = judge(truth, predicted, state.threshold);
    const names = data.classes.map(entry => entry.name);
    const words = {hit: 'hit', wrong: 'wrong class', missed: 'missed', spurious: 'spurious'};
    const trueCells = truth.map(([label, path], i) => ({
      label, path, verdict: found[i], text: `true ${names[label]}, ${words[found[i]]}`}));
    const predictedCells = predicted.cells.map(([label, score, path], i) => ({
      label, path, score, verdict: verdicts[i], text: `${names[label]} ${score.toFixed(2)}, ${words[verdicts[i]]}`
    })).filter(cell => cell.score >= state.threshold);
    drawPane(byId('true-pane'), image, trueCells, `${image.name}: ${trueCells.length} true cells`);
    drawPane(byId('predicted-pane'), image, predictedCells, `${image.name}: ${predictedCells.length} predicted cells`);
    const hits = found.filter(verdict => verdict === 'hit').length;
    const total = trueCells.length + predictedCells.length;
    byId('caption').textContent = `${image.name}: ${trueCells.length} true, ${predictedCells.length} predicted, `
      + `${hits} hit, ${trueCells.length - hits} missed, ${predictedCells.length - hits} spurious`
      + (total ? `, F1 ${(2 * hits / total).toFixed(3)}` : '');
    byId('threshold-value').textContent = state.threshold.toFixed(2);
    for (const card of document.querySelectorAll('.card')) {
      card.setAttribute('aria-current', String(Number(card.dataset.index) === state.image));
    }
  }

  function show(index) {
    state.image = (index + data.images.length) % data.images.length;
    const {width, height} = data.images[state.image];
    state.view = [0, 0, width, height];
    draw();
  }

  function ordered() {
    const indices = data.images.map((_, index) => index);
    const key = index => data.images[index].scores[state.run];
    if (state.order === 'name') return indices.sort((a, b) => data.images[a].name.localeCompare(data.images[b].name));
    return indices.sort((a, b) => (key(a) ?? 2) - (key(b) ?? 2) || a - b);
  }

  function drawCards() {
    byId('cards').replaceChildren(...ordered().map(index => {
      const image = data.images[index], item = document.createElement('li'), card = document.createElement('button');
      card.className = 'card';
      card.dataset.index = index;
      const picture = document.createElement('img');
      picture.src = image.thumbnail ?? image.picture;
      picture.alt = '';
      picture.loading = 'lazy';
      const score = image.scores[state.run];
      card.append(picture, `F1 ${score === null ? '–' : score.toFixed(2)} ${image.name}`);
      card.addEventListener('click', () => { show(index); byId('viewer').scrollIntoView({block: 'nearest'}); });
      item.append(card);
      return item;
    }));
  }

  // Zooms by a factor around a point of the image; both panes always show the same part.
  function zoom(factor, x, y) {
    const [left, top, width, height] = state.view, image = data.images[state.image];
    const scale = Math.min(Math.max(factor, 8 / width), Math.max(image.width / width, 1) * 1.2);
    const at = [x ?? left + width / 2, y ?? top + height / 2];
    state.view = [at[0] - (at[0] - left) * scale, at[1] - (at[1] - top) * scale, width * scale, height * scale];
    applyView();
  }
  function applyView() {
    for (const id of ['true-pane', 'predicted-pane']) byId(id).setAttribute('viewBox', state.view.join(' '));
  }
  function toImage(svg, event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [point.x, point.y];
  }
  for (const stage of document.querySelectorAll('.stage')) {
    const svg = stage.querySelector('svg'), pointers = new Map();
    stage.addEventListener('wheel', event => {
      event.preventDefault();
      zoom(event.deltaY < 0 ? .8 : 1.25, ...toImage(svg, event));
    }, {passive: false});
    stage.addEventListener('pointerdown', event => {
      stage.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event);
    });
    stage.addEventListener('pointermove', event => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      if (pointers.size === 2) {
        const other = [...pointers.values()].find(pointer => pointer.pointerId !== event.pointerId);
        const distance = pointer => Math.hypot(pointer.clientX - other.clientX, pointer.clientY - other.clientY);
        zoom(distance(before) / Math.max(distance(event), 1), ...toImage(svg, other));
      } else {
        const [x0, y0] = toImage(svg, before), [x1, y1] = toImage(svg, event);
        state.view[0] += x0 - x1;
        state.view[1] += y0 - y1;
        applyView();
      }
      pointers.set(event.pointerId, event);
    });
    for (const end of ['pointerup', 'pointercancel']) {
      stage.addEventListener(end, event => pointers.delete(event.pointerId));
    }
    stage.addEventListener('keydown', event => {
      const [left, top, width, height] = state.view;
      const moves = {ArrowLeft: [-.1, 0], ArrowRight: [.1, 0], ArrowUp: [0, -.1], ArrowDown: [0, .1]};
      if (event.key === '+' || event.key === '=') zoom(.8);
      else if (event.key === '-') zoom(1.25);
      else if (event.key === '0') show(state.image);
      else if (event.key === 'n' || event.key === 'p') {
        const order = ordered(), place = order.indexOf(state.image) + (event.key === 'n' ? 1 : -1);
        show(order[(place + order.length) % order.length]);
      } else if (moves[event.key]) {
        state.view = [left + moves[event.key][0] * width, top + moves[event.key][1] * height, width, height];
        applyView();
      } else return;
      event.preventDefault();
    });
  }

  byId('zoom-in').addEventListener('click', () => zoom(.8));
  byId('zoom-out').addEventListener('click', () => zoom(1.25));
  byId('zoom-all').addEventListener('click', () => show(state.image));
  byId('threshold').addEventListener('input', event => { state.threshold = Number(event.target.value); draw(); });
  byId('order').addEventListener('change', event => { state.order = event.target.value; drawCards(); draw(); });
  byId('paint').addEventListener('change', event => { state.paint = event.target.value; draw(); });
  byId('panes').addEventListener('change', event => {
    byId('viewer').className = event.target.value === 'both' ? 'panes' : 'panes single';
    byId('true-stage').hidden = event.target.value === 'predicted';
    byId('predicted-stage').hidden = event.target.value === 'true';
  });
  byId('run')?.addEventListener('change', event => { state.run = Number(event.target.value); drawCards(); draw(); });
  for (const box of document.querySelectorAll('.class-box')) {
    box.addEventListener('change', () => {
      state.hidden[box.checked ? 'delete' : 'add'](Number(box.value));
      draw();
    });
  }
  drawCards();
  show(ordered()[0]);
})();
