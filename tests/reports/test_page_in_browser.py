"""The page of a report in Chromium, as a file and without a network."""

import re
from dataclasses import replace

import numpy as np
import pytest
from _browser import HOW_TO_INSTALL, open_browser
from evaluation import document_of, pair_unchecked, perturbed_detections
from playwright.sync_api import expect
from support.report_pages import (
    CLASSES,
    LONG_NAME,
    page_of,
    read_pixels,
    rows_of,
    synthetic_pairs,
    with_lower_scores,
)

from mmcell.evaluation.error_types import count_errors, judge_predictions
from mmcell.evaluation.per_image import worst_images
from mmcell.images.image_file import read_image
from mmcell.layouts.class_maps import find_train_folders, read_train_image
from mmcell.reports.gallery import gallery_of
from mmcell.visualization.colors import class_colors

PHONE, DESKTOP = {'width': 375, 'height': 667}, {'width': 1280, 'height': 900}
WHITE = 'rgb(255, 255, 255)'
# The lowest contrast of text, WCAG 2.2, success criterion 1.4.3.
MIN_CONTRAST = 4.5
CONTRASTS = """() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const luminance = rgb => rgb.slice(0, 3).map(value => value / 255)
    .map(share => share <= .04045 ? share / 12.92 : ((share + .055) / 1.055) ** 2.4)
    .reduce((sum, share, channel) => sum + share * [.2126, .7152, .0722][channel], 0);
  const background = element => {
    for (let parent = element; parent; parent = parent.parentElement) {
      const color = parse(getComputedStyle(parent).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
  };
  const contrasts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest('script, style, noscript')) continue;
    const style = getComputedStyle(element);
    const [low, high] = [luminance(parse(style.color)), luminance(background(element))].sort((a, b) => a - b);
    contrasts.push([(high + .05) / (low + .05), walker.currentNode.textContent.trim()]);
  }
  return contrasts;
}"""
NAMELESS = """() => [...document.querySelectorAll('button, select, input, [tabindex]')].filter(element =>
  !(element.labels?.length || element.textContent.trim() || element.getAttribute('aria-label'))).length"""


@pytest.fixture(scope='module')
def browser():
    with open_browser() as chromium:
        if chromium is None:
            pytest.skip(f'no Chromium to open the page in; to get it: {HOW_TO_INSTALL}')
        yield chromium


@pytest.fixture(scope='module')
def pairs():
    first = synthetic_pairs(np.random.default_rng(0))
    return [first, with_lower_scores(first)]


@pytest.fixture(scope='module')
def page_file(pairs, tmp_path_factory):
    path = tmp_path_factory.mktemp('page') / 'report.html'
    path.write_text(page_of(gallery_of(['first.pkl', 'second.pkl'], pairs, .5, read_pixels)), encoding='utf-8')
    return path


@pytest.fixture
def open_page(browser, page_file):
    """A function that opens the page; at the end of the test, there was no message, no error and no other address."""
    contexts, messages, opened, addresses = [], [], set(), set()

    def open_page(path=page_file, viewport=DESKTOP, script='', **options):
        contexts.append(browser.new_context(viewport=viewport, **options))
        contexts[-1].add_init_script(script)
        contexts[-1].set_default_timeout(5000)
        page = contexts[-1].new_page()
        page.on('console', lambda message: messages.append(message.text))
        page.on('pageerror', lambda error: messages.append(str(error)))
        page.on('request', lambda request: addresses.add(request.url.split(',')[0]))
        opened.add(path.as_uri())
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []
    assert opened <= addresses <= opened | {'data:image/webp;base64'}


def counts_of(text):
    """Returns the numbers of a line of counts by their names; F1 is None if the line has none."""
    numbers = re.findall(r'(\d+) (true|predicted|hit|missed|spurious|wrong class)', text)
    counts = {name: int(number) for number, name in numbers}
    f1 = re.search(r'F1 ([\d.]+)$', text)
    return {'wrong class': 0, **counts, 'F1': f1 and float(f1[1])}


def expected_counts(row):
    f1 = None if np.isnan(row['F1']) else pytest.approx(row['F1'], abs=.00051)
    names = {'true_cells': 'true', 'detections': 'predicted', 'hits': 'hit', 'wrong_class': 'wrong class'}
    return {'F1': f1, **{names.get(name, name): row[name] for name in (
        'true_cells', 'detections', 'hits', 'missed', 'spurious', 'wrong_class')}}


def set_threshold(page, threshold):
    page.locator('#threshold').fill(str(threshold))
    expect(page.locator('#total')).to_contain_text(f'score at least {threshold}:')


def names_in_strip(page):
    return page.locator('.card .name').all_text_contents()


def shown_verdicts(page, side):
    return page.locator(f'#{side}-pane .cell').evaluate_all(
        'cells => cells.filter(cell => cell.style.display === "").map(cell => cell.dataset.verdict)')


def view_of(page):
    views = {page.locator(f'#{side}-pane').get_attribute('viewBox') for side in ('true', 'predicted')}
    assert len(views) == 1
    return [float(number) for number in views.pop().split()]


@pytest.mark.parametrize(('run', 'thresholds'), [(0, ['0.5', '0', '0.81']), (1, ['0.33', '1'])])
def test_counts_equal_the_evaluation_at_every_score(open_page, pairs, run, thresholds):
    page = open_page()
    page.locator('#run').select_option(str(run))
    for threshold in thresholds:
        set_threshold(page, threshold)
        rows = {row['file_name']: row for row in rows_of(pairs[run], float(threshold))}
        totals = count_errors(judge_predictions(pairs[run], float(threshold)))
        total = counts_of(page.locator('#total').text_content())
        assert (total['true'], total['predicted'], total['hit']) == (
            totals['n_true'], totals['n_predicted'], totals['n_correct'])
        assert total['F1'] == pytest.approx(totals['F1'], abs=.00051)
        for place, name in enumerate(names_in_strip(page)):
            page.locator('.card').nth(place).click()
            expect(page.locator('#name')).to_have_text(name)
            counts = counts_of(page.locator('#counts').text_content())
            assert counts == expected_counts(rows.pop(name))
            true, predicted = (shown_verdicts(page, side) for side in ('true', 'predicted'))
            assert true.count('hit') == predicted.count('hit') == counts['hit']
            assert len(true) == counts['true'] and len(predicted) == counts['predicted']
            assert predicted.count('wrong class') == counts['wrong class']
        assert not rows


def test_true_cells_are_marked_as_in_the_pictures_of_the_tables(open_page, pairs):
    page = open_page()
    page.locator('.card', has_text='one.tif').click()
    expect(page.locator('#name')).to_have_text('one.tif')
    true, predicted = judge_predictions(pairs[0], .5).of_cells
    for side, verdicts, image_index in (('true', true, pairs[0].truth.image_index),
                                        ('predicted', predicted, judge_predictions(pairs[0], .5).image_index)):
        assert shown_verdicts(page, side) == verdicts[image_index == 0].tolist()


def test_images_are_in_the_order_of_their_f1(open_page, pairs):
    page = open_page()
    for run, threshold in ((0, .5), (0, .9), (1, .1)):
        page.locator('#run').select_option(str(run))
        set_threshold(page, threshold)
        worst = [row['file_name'] for row in worst_images(rows_of(pairs[run], threshold), 4)]
        expect(page.locator('.card').last).to_contain_text('no cells')
        assert names_in_strip(page) == [*worst, 'empty.tif']
    page.locator('#order').select_option('by name')
    assert names_in_strip(page) == ['<b>&"quoted"</b>.tif', 'empty.tif', 'one.tif', LONG_NAME]


def test_one_class_or_all_are_shown_in_colours_that_are_always_the_same(open_page, pairs):
    page = open_page()
    colors = ['rgb({}, {}, {})'.format(*color) for color in class_colors(len(CLASSES))]
    for name in ('one.tif', LONG_NAME):
        page.locator('.card', has_text=name).click()
        expect(page.locator('#name')).to_have_text(name)
        own = pairs[0].truth.class_index[pairs[0].truth.image_index == pairs[0].truth.file_names.index(name)]
        strokes = 'cells => cells.filter(cell => cell.style.display === "").map(cell => getComputedStyle(cell).stroke)'
        for label in (None, *range(len(CLASSES))):
            page.get_by_label('all' if label is None else CLASSES[label]['name'], exact=True).check()
            shown = own if label is None else own[own == label]
            expect(page.locator('#counts')).to_contain_text(re.compile(rf'^{len(shown)} true'))
            assert page.locator('#true-pane .cell').evaluate_all(strokes) == [colors[place] for place in shown]
            predicted = set(page.locator('#predicted-pane .cell').evaluate_all(strokes))
            assert predicted <= (set(colors) if label is None else {colors[label]})
        expect(page.locator('#total')).to_have_text(f'4 images, {CLASSES[-1]["name"]}, score at least 0.5: 0 true, '
                                                    '0 predicted, 0 hit, 0 missed, 0 spurious')
        page.get_by_label('all', exact=True).check()
    assert page.locator('.choices .swatch').evaluate_all(
        'swatches => swatches.map(swatch => getComputedStyle(swatch).backgroundColor)') == colors


def test_the_wheel_the_buttons_and_the_keys_zoom_both_panes(open_page):
    page = open_page()
    stage = page.locator('#predicted-stage')
    expect(page.locator('#counts')).not_to_be_empty()
    whole = view_of(page)
    assert whole == [0, 0, 150, 110]
    stage.scroll_into_view_if_needed()
    stage.hover(position={'x': 5, 'y': 5})
    page.mouse.wheel(0, -200)
    page.wait_for_timeout(50)
    left, top, width, height = view_of(page)
    # The upper left corner is under the pointer, and stays there.
    assert width < 120 and height / width == pytest.approx(110 / 150) and max(left, top) < 2
    page.mouse.wheel(0, 2000)
    page.wait_for_timeout(50)
    assert view_of(page) == whole
    page.locator('#zoom-in').click()
    assert view_of(page) == pytest.approx([15, 11, 120, 88])
    stage.focus()
    for key, expected in (('ArrowRight', [27, 11, 120, 88]), ('ArrowUp', [27, 2.2, 120, 88]),
                          ('+', [39, 11, 96, 70.4]), ('-', [27, 2.2, 120, 88]), ('0', whole)):
        page.keyboard.press(key)
        assert view_of(page) == pytest.approx(expected)
    # The image cannot be moved out of sight, and there is an end to zooming in.
    for key in ['+'] + ['ArrowLeft'] * 8:
        page.keyboard.press(key)
    assert view_of(page) == pytest.approx([-60, 11, 120, 88])
    for _ in range(13):
        page.keyboard.press('+')
    assert min(view_of(page)[2:]) == pytest.approx(8)
    page.locator('#zoom-all').click()
    assert view_of(page) == whole
    page.locator('#panes').select_option('predicted')
    expect(page.locator('#true-stage')).to_be_hidden()


def test_two_fingers_zoom_and_one_moves(open_page):
    page = open_page(viewport=PHONE, has_touch=True)
    expect(page.locator('#counts')).not_to_be_empty()
    page.locator('#true-stage').scroll_into_view_if_needed()
    box = page.locator('#true-stage').bounding_box()
    x, y = box['x'] + box['width'] / 2, box['y'] + box['height'] / 2
    session = page.context.new_cdp_session(page)

    def touch(kind, *points):
        session.send('Input.dispatchTouchEvent', {'type': kind, 'touchPoints': [
            {'x': x + dx, 'y': y + dy, 'id': number} for number, (dx, dy) in enumerate(points)]})

    touch('touchStart', (-20, 0), (20, 0))
    for distance in (25, 30, 40):
        touch('touchMove', (-distance, 0), (distance, 0))
    touch('touchEnd')
    page.wait_for_timeout(50)
    left, _, width, _ = view_of(page)
    assert width == pytest.approx(75, rel=.02)
    touch('touchStart', (0, 0))
    touch('touchMove', (-10, 0))
    touch('touchMove', (-40, 0))
    touch('touchEnd')
    page.wait_for_timeout(50)
    assert view_of(page)[0] > left + 5 and view_of(page)[2] == width


def test_pointing_at_a_cell_says_what_it_is_and_shows_its_partner(open_page):
    page = open_page()
    page.locator('.card', has_text='one.tif').click()
    expect(page.locator('#name')).to_have_text('one.tif')
    page.locator('#predicted-pane .cell[data-verdict=hit]').first.dispatch_event('pointerover')
    expect(page.locator('#cell')).to_have_text(
        re.compile(r'^predicted (lymphocyte|epithelial|neutrophil), score 0\.\d+: hit$'))
    assert page.locator('.pointed').evaluate_all('cells => cells.map(cell => cell.dataset.verdict)') == ['hit', 'hit']
    page.locator('#true-pane .cell[data-verdict=missed]').first.dispatch_event('pointerover')
    expect(page.locator('#cell')).to_have_text(re.compile(r'^true (lymphocyte|epithelial|neutrophil): missed$'))
    assert page.locator('.pointed').count() == 1


def test_everything_is_reached_by_keyboard_and_has_a_name(open_page):
    page = open_page()
    expect(page.locator('#counts')).not_to_be_empty()
    assert page.evaluate(NAMELESS) == 0
    assert page.locator('[role=img]:not([aria-label]), img:not([alt])').count() == 0
    reached = set()
    for _ in range(40):
        page.keyboard.press('Tab')
        focus = page.evaluate("""() => {
          const element = document.activeElement, frame = element.closest('.choices label') ?? element;
          return [element.id || element.name || element.className || element.tagName,
                  parseFloat(getComputedStyle(frame).outlineWidth), getComputedStyle(frame).outlineStyle];
        }""")
        if focus[0] == 'BODY':
            break
        assert focus[1] >= 2 and focus[2] != 'none', focus
        reached.add(focus[0])
    assert reached >= {'theme', 'A', 'run', 'order', 'panes', 'paint', 'threshold', 'class', 'card', 'previous', 'next',
                       'zoom-in', 'zoom-out', 'zoom-all', 'true-stage', 'predicted-stage', 'SUMMARY'}
    names = names_in_strip(page)
    page.locator('.card').nth(1).press('Enter')
    expect(page.locator('#name')).to_have_text(names[1])
    # The keys now work on the picture.
    page.keyboard.press('n')
    expect(page.locator('#name')).to_have_text(names[2])
    page.keyboard.press('p')
    page.keyboard.press('p')
    expect(page.locator('#name')).to_have_text(names[0])
    page.locator('#threshold').press('ArrowRight')
    expect(page.locator('#total')).to_contain_text('score at least 0.51:')


def test_the_page_is_light_or_dark_and_all_text_is_legible(open_page):
    for scheme, other in (('light', 'dark'), ('dark', 'light')):
        page = open_page(color_scheme=scheme)
        expect(page.locator('#counts')).not_to_be_empty()
        page.locator('summary').first.click()
        for name in (scheme, other):
            is_light = page.locator('body').evaluate('body => getComputedStyle(body).backgroundColor') == WHITE
            assert is_light == (name == 'light')
            contrasts = page.evaluate(CONTRASTS)
            assert len(contrasts) > 50
            assert [entry for entry in contrasts if entry[0] < MIN_CONTRAST] == []
            page.get_by_role('button', name='dark page' if name == 'light' else 'light page').click()


@pytest.mark.parametrize('path', ['gallery', 'no gallery'])
def test_nothing_is_wider_than_a_phone(open_page, tmp_path, page_file, path):
    if path == 'no gallery':
        page_file = tmp_path / 'text.html'
        page_file.write_text(page_of(None), encoding='utf-8')
    page = open_page(page_file, PHONE)
    if path == 'gallery':
        page.locator('.card', has_text=LONG_NAME).click()
        expect(page.locator('#name')).to_have_text(LONG_NAME)
    page.locator('summary').last.click()
    assert page.evaluate('document.documentElement.scrollWidth') == PHONE['width']
    # Names are text: the name with tags made no element.
    assert page.locator('h1 b, .name b').count() == 0


def test_paper_is_white_and_has_no_controls(open_page):
    page = open_page(color_scheme='dark')
    expect(page.locator('#counts')).not_to_be_empty()
    page.get_by_role('button', name='light page').click()
    page.get_by_role('button', name='dark page').click()
    page.emulate_media(media='print')
    assert page.locator('body').evaluate('body => getComputedStyle(body).backgroundColor') == WHITE
    for hidden in ('#theme', '#threshold', '#cards', '#zoom-in', 'nav'):
        expect(page.locator(hidden)).to_be_hidden()
    for shown in ('#counts', '#total', '#true-pane', '#predicted-pane', '.choices', '.tile >> nth=0', 'h2 >> nth=0'):
        expect(page.locator(shown)).to_be_visible()
    assert min(contrast for contrast, _ in page.evaluate(CONTRASTS)) >= MIN_CONTRAST


def test_one_image_and_images_without_any_cell(open_page, pairs, tmp_path):
    only_empty = replace(pairs[0], truth=pairs[0].truth.of_images(np.arange(4) == 2),
                         predictions=pairs[0].predictions.of_images(np.arange(4) == 2))
    path = tmp_path / 'one.html'
    path.write_text(page_of(gallery_of(['first.pkl'], [only_empty], .123456, read_pixels)), encoding='utf-8')
    page = open_page(path)
    expect(page.locator('#total')).to_have_text(
        'One image, score at least 0.123456: 0 true, 0 predicted, 0 hit, 0 missed, 0 spurious')
    expect(page.locator('#name')).to_have_text('empty.tif')
    assert page.locator('#run').count() == 0 and page.locator('.card').count() == 1
    page.locator('#next').click()
    expect(page.locator('#name')).to_have_text('empty.tif')


def test_real_images_with_predictions_that_are_made_from_their_cells(real_data, open_page, rng, tmp_path):
    root = real_data / 'hw3'
    document = document_of([read_train_image(folder, root) for folder in find_train_folders(root)[:5]])
    pairs = pair_unchecked(document, perturbed_detections(document, rng, 150))
    truth = pairs.truth
    path = tmp_path / 'real.html'
    path.write_text(page_of(gallery_of(['perturbed'], [pairs], .5, lambda place: read_image(
        root / truth.file_names[place], 'bgr'))), encoding='utf-8')
    page = open_page(path)
    expected = count_errors(judge_predictions(pairs, .5))
    expect(page.locator('#total')).to_have_text(re.compile('^5 images, '))
    total = counts_of(page.locator('#total').text_content())
    assert (total['true'], total['predicted'], total['hit']) == (
        expected['n_true'], expected['n_predicted'], expected['n_correct']) and total['hit'] > 100
    for side, n_cells in (('true', len(truth.rles)), ('predicted', len(pairs.predictions))):
        assert 0 < page.locator(f'#{side}-pane .cell').count() < n_cells
    height, width = truth.sizes[truth.file_names.index(page.locator('#name').text_content())]
    picture = page.locator('#true-pane image')
    assert [picture.get_attribute(key) for key in ('width', 'height')] == [str(width), str(height)]


def test_a_browser_that_cannot_unpack_the_images_says_so(open_page):
    page = open_page(script='delete window.DecompressionStream')
    expect(page.locator('#counts')).to_contain_text('too old to show the images')
