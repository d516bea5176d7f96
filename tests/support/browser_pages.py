"""Opens a report in Chromium and operates its gallery as a reader does."""

import pytest
from _browser import HOW_TO_INSTALL, open_browser
from playwright.sync_api import expect


def check_page_works(path):
    """Opens a page; its controls work, nothing is said on the console, and no other address is asked for."""
    with open_browser() as browser:
        if browser is None:
            pytest.skip(f'no Chromium to open the page in; to get it: {HOW_TO_INSTALL}')
        messages, addresses = [], set()
        page = browser.new_page(viewport={'width': 1280, 'height': 900})
        page.on('console', lambda message: messages.append(message.text))
        page.on('pageerror', lambda error: messages.append(str(error)))
        page.on('request', lambda request: addresses.add(request.url.split(',')[0]))
        page.goto(path.as_uri())
        _operate(page)
        page.set_viewport_size({'width': 375, 'height': 667})
        assert page.evaluate('document.documentElement.scrollWidth') == 375
        assert messages == []
        assert path.as_uri() in addresses and addresses <= {path.as_uri(), 'data:image/webp;base64'}


def _operate(page):
    total, view = page.locator('#total'), page.locator('#true-pane')
    expect(page.locator('#counts')).to_contain_text(' true, ')
    shown = [text.split('F1 ')[1] for text in page.locator('.card').all_text_contents() if 'F1 ' in text]
    f1 = [float(text[:5]) for text in shown]
    assert f1 and f1 == sorted(f1)
    before = total.text_content()
    page.locator('input[name=class]').nth(1).check()
    expect(total).to_contain_text(page.locator('.choices label').nth(1).text_content().strip())
    page.locator('input[name=class]').first.check()
    expect(total).to_have_text(before)
    page.locator('#threshold').fill('1')
    expect(total).to_contain_text('score at least 1:')
    whole = view.get_attribute('viewBox')
    page.locator('#zoom-in').click()
    assert view.get_attribute('viewBox') == page.locator('#predicted-pane').get_attribute('viewBox') != whole
    page.locator('#zoom-all').click()
    assert view.get_attribute('viewBox') == whole
