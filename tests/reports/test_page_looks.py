"""Pages in a browser: nothing in a record acts, all fits, can be reached by keyboard and read."""

import json
import re
from importlib import resources

import pytest

from qsmprep.reports.catalogue import MEASURES
from qsmprep.reports.cohort import write_group_page
from qsmprep.reports.pages import PANELS, write_participant_page
from tests.reports.pages import group_rows, put_figures, put_record

HOSTILE = (
    '<script>window.hacked=1</script>',
    '"><img src=x onerror="window.hacked=1">',
    "'><svg onload=window.hacked=1>",
    '</pre></details><iframe src="http://example.com/"></iframe>',
    '{{ 7 * 7 }}{% raw %}',
    '\x1b[31mred\x1b[0m \x00 \ud800',
    '[a](javascript:window.hacked=1) [b](https://example.com/"onmouseover="window.hacked=1)',
)


def hostile_output(tmp_path):
    """Output folder in which every name and text attacks."""
    attack = ' '.join(HOSTILE)
    label = 'x"><img src=x onerror=window.hacked=1>'
    stem = f'sub-{label}_acq-\'"><script>window.hacked=1<'
    record = put_record(
        tmp_path,
        **dict.fromkeys(('participant', 'qsmprep_version', 'run_uuid', 'command'), attack),
        errors=[{'node': attack, 'message': attack, 'traceback': attack}],
        acquisition={
            'stem': f'{stem}_MEGRE',
            'inputs': [attack],
            'rules': {attack: attack},
            'parameters': {attack: attack},
            'warnings': [attack],
            'quality': {attack: attack, 'chi_sd_ppb': attack, 'brain_volume_ml': 1400},
        },
    )
    failed = record['acquisitions'][0] | {'stem': attack, 'status': attack, 'error': attack}
    record['acquisitions'].append(failed)
    (tmp_path / 'logs' / f'sub-{label}.json').write_text(json.dumps(record))
    (tmp_path / 'logs' / 'CITATION.md').write_text(
        f'# {attack}\n\n- {attack}'.encode('utf-8', 'replace').decode()
    )
    put_figures(tmp_path / f'sub-{label}' / 'figures', stem, [*PANELS, '<script>'])
    return label, attack


def assert_harmless(browser, pictures, scripts=0):
    assert browser.evaluate('typeof window.hacked') == 'undefined'
    tags = 'iframe, object, embed, link:not([href="data:,"]), form, base'
    assert browser.evaluate(f'document.querySelectorAll(`{tags}`).length') == 0
    assert browser.evaluate('document.scripts.length') == scripts
    widths = browser.evaluate('[...document.images].map(i => i.complete ? i.naturalWidth : 0)')
    assert len(widths) == pictures
    assert all(width > 0 for width in widths)
    sources = browser.evaluate(
        '[...document.querySelectorAll("[src]")].map(e => e.getAttribute("src").slice(0, 15))'
    )
    assert set(sources) <= {'data:image/png;'}
    handlers = browser.evaluate(
        '[...document.querySelectorAll("*")].flatMap(e => e.getAttributeNames())'
        '.filter(n => n.startsWith("on") || n === "srcdoc")'
    )
    assert handlers == []
    links = browser.evaluate('[...document.links].map(a => a.protocol)')
    assert set(links) <= {'file:', 'http:', 'https:'}
    requests = [r['request']['url'] for r in browser.seen('Network.requestWillBeSent')]
    assert [url for url in requests if not url.startswith(('file:', 'data:'))] == []
    assert sum(url.startswith('file:') for url in requests) <= 1
    assert browser.seen('Log.entryAdded') == []
    browser.evaluate(
        'var s = document.createElement("script"); s.textContent = "window.hacked = 1"; '
        'document.head.append(s); s.remove()'
    )
    assert browser.evaluate('typeof window.hacked') == 'undefined', 'the policy lets scripts run'


def test_hostile_names_and_records_do_nothing(tmp_path, browser):
    label, attack = hostile_output(tmp_path)
    browser.open(write_participant_page(tmp_path, label))
    assert_harmless(browser, pictures=len(PANELS) + 1)
    text = browser.evaluate('document.body.textContent')
    for panel in PANELS.values():
        assert panel.caption in text
    assert '<script>window.hacked=1</script>' in text
    assert '{{ 7 * 7 }}' in text
    assert browser.evaluate('document.title').startswith(f'sub-{label}')


def test_hostile_rows_do_nothing(tmp_path, browser):
    attack = ' '.join(HOSTILE)
    rows = [row | {'participant_id': attack, 'acquisition': attack} for row in group_rows()]
    rows[1] |= {'status': attack, 'chi_sd_ppb': attack}
    browser.open(write_group_page(tmp_path, rows))
    assert_harmless(browser, pictures=0, scripts=2)
    assert browser.evaluate('document.querySelectorAll("svg path.far").length') == 1


@pytest.mark.parametrize('width', [320, 800, 1280])
def test_pages_fit_their_window(tmp_path, browser, width):
    label, _ = hostile_output(tmp_path)
    rows = [{'participant_id': 'sub-01', 'acquisition': 'sub-01_MEGRE', 'status': 'completed'}]
    for m in MEASURES:
        rows[0][m.key] = 1234.5
    for page in (write_participant_page(tmp_path, label), write_group_page(tmp_path, rows)):
        browser.open(page, width=width)
        assert browser.evaluate('document.documentElement.scrollWidth') <= width


def test_before_and_after_change_by_keyboard(tmp_path, browser):
    put_record(tmp_path)
    put_figures(tmp_path / 'sub-01' / 'figures', 'sub-01_run-1', PANELS)
    browser.open(write_participant_page(tmp_path, '01'))
    shift = 'getComputedStyle(document.querySelector(".half img")).transform'
    reached = 'document.activeElement.id.startsWith("after-")'
    for _ in range(200):
        if browser.evaluate(reached):
            break
        browser.press('Tab')
    assert browser.evaluate(reached)
    assert browser.evaluate(shift) != 'none'
    browser.press('ArrowLeft')
    assert browser.evaluate('document.activeElement.id').startswith('before-')
    assert browser.evaluate(shift) == 'none'


def test_tab_reaches_all_that_can_be_used(tmp_path, browser):
    put_record(tmp_path)
    put_figures(tmp_path / 'sub-01' / 'figures', 'sub-01_run-1', ['chi', 'unwrapping'])
    for page in (write_participant_page(tmp_path, '01'), write_group_page(tmp_path, group_rows())):
        browser.open(page)
        count = browser.evaluate(
            'var all = [...document.querySelectorAll("a, button, summary, select, [tabindex], '
            'input:not([type=radio]), input:checked")]; all.length'
        )
        assert count > 5
        for _ in range(count):
            browser.press('Tab')
            browser.evaluate('document.activeElement.dataset.reached = "yes"')
        assert browser.evaluate('all.filter(e => !e.dataset.reached).map(e => e.outerHTML)') == []


def test_printed_pages_show_both_halves_dark_on_light(tmp_path, browser):
    put_record(tmp_path)
    put_figures(tmp_path / 'sub-01' / 'figures', 'sub-01_run-1', PANELS)
    page = write_participant_page(tmp_path, '01')
    browser.show_as('print', 'dark')
    try:
        browser.open(page, width=794)  # A4
        assert browser.evaluate('document.documentElement.scrollWidth') <= 794
        height = 'document.querySelector(".half").getBoundingClientRect().height'
        picture = height.replace('.half', '.half img')
        assert browser.evaluate(height) == pytest.approx(browser.evaluate(picture), abs=1)
        style = 'getComputedStyle(document.querySelector("{}")).{}'
        assert browser.evaluate(style.format('.bar', 'display')) == 'none'
        assert browser.evaluate(style.format('body', 'backgroundColor')) == 'rgb(255, 255, 255)'
        assert browser.evaluate(style.format('body', 'color')) == 'rgb(0, 0, 0)'
        scanner = {'site': 'Oslo', 'scanner': 'Philips Ingenia Elition X', 'field_strength_t': 3}
        browser.open(write_group_page(tmp_path, [row | scanner for row in group_rows()]), width=794)
        right = '[...document.querySelectorAll("td")].map(c => c.getBoundingClientRect().right)'
        assert max(browser.evaluate(right)) <= 794
    finally:
        browser.show_as()


def _luminance(colour):
    digits = colour if len(colour) == 6 else ''.join(2 * c for c in colour)
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_colours_can_be_read_in_both_schemes():
    style = resources.files('qsmprep.data.pages').joinpath('style.css').read_text()
    schemes = [
        dict(re.findall(r'--([\w-]+): #([0-9a-f]+)', line)) for line in style.splitlines()[:2]
    ]
    assert schemes[0].keys() == schemes[1].keys()
    pairs = [
        *((text, paper) for text in ('ink', 'soft', 'blue') for paper in ('paper', 'tint')),
        *(('ink', paper) for paper in ('warn', 'bad-tint', 'good-tint')),
        *((text, 'paper') for text in ('bad', 'good', 'mark', 'dot', 'far')),
    ]
    for scheme in schemes:
        for text, paper in pairs:
            light, dark = sorted((_luminance(scheme[x]) for x in (text, paper)), reverse=True)
            least = 3.0 if text in ('mark', 'dot', 'far') else 4.5  # WCAG 2.1, 1.4.11 and 1.4.3
            assert (light + 0.05) / (dark + 0.05) >= least, (text, paper)
