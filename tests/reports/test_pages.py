"""Pages show all there is, say what is missing, and let nothing in a record act."""

import json
import re
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from qsmprep.reports.catalogue import MEASURES
from qsmprep.reports.cohort import write_group_page
from qsmprep.reports.pages import (
    PANELS,
    write_participant_page,
    write_participant_pages,
)

HOSTILE = (
    '<script>window.hacked=1</script>',
    '"><img src=x onerror="window.hacked=1">',
    "'><svg onload=window.hacked=1>",
    '</pre></details><iframe src="http://example.com/"></iframe>',
    '{{ 7 * 7 }}{% raw %}',
    '\x1b[31mred\x1b[0m \x00 \ud800',
    '[a](javascript:window.hacked=1) [b](https://example.com/"onmouseover="window.hacked=1)',
)


class Parsed(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(path.read_text(encoding='utf-8'))
        self.text = ' '.join(' '.join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] != 'style':
            self.words.append(data)

    def having(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def put_figures(folder, stem, panels):
    folder.mkdir(parents=True, exist_ok=True)
    for panel in panels:
        ramp = np.tile(np.arange(120, dtype=np.uint8), (40, 8))
        Image.fromarray(ramp).save(folder / f'{stem}_desc-{panel}_MEGRE.png')


def put_record(output_dir, **changes):
    acquisition = {
        'stem': 'sub-01_run-1_MEGRE',
        'status': 'completed',
        'inputs': ['bids:raw:sub-01/anat/sub-01_run-1_echo-1_part-mag_MEGRE.nii.gz'],
        'rules': {'Field strength': 'from ImagingFrequency'},
        'parameters': {'Echo times [ms]': '2.3, 4.6'},
        'warnings': ['Something is odd.'],
        'notes': ['There is one echo.'],
        'steps': {'mask': {'seconds': 2.5, 'memory_gb': 1.5}, 'reports': {'seconds': 1.0}},
        'error': None,
        'quality': {'chi_sd_ppb': 333.0, 'brain_volume_ml': 1400.0, 'r2star_median_hz': 20.0},
    }
    record = {
        'participant': '01',
        'qsmprep_version': '9.8.7',
        'run_uuid': 'abc',
        'started': '2030-01-01T00:00:00+00:00',
        'finished': None,
        'command': 'qsmprep /in /out participant',
        'settings_file': 'logs/abc.toml',
        'acquisitions': [acquisition | changes.pop('acquisition', {})],
        'errors': [],
    } | changes
    (output_dir / 'logs').mkdir(exist_ok=True)
    (output_dir / 'logs' / 'sub-01.json').write_text(json.dumps(record))
    return record


def test_page_shows_everything_that_there_is(tmp_path):
    put_record(tmp_path)
    put_figures(tmp_path / 'sub-01' / 'figures', 'sub-01_run-1', PANELS)
    (tmp_path / 'logs' / 'CITATION.md').write_text(
        '# Methods\n\nPhase was unwrapped with *ROMEO* (https://doi.org/10.1002/mrm.28563).\n\n'
        '### References\n\n- First\n- Second\n'
    )
    page = write_participant_page(tmp_path, '01')
    assert page == tmp_path / 'sub-01.html'
    parsed = Parsed(page)
    for words in (
        'sub-01_run-1_MEGRE completed',
        'qsmprep version 9.8.7',
        'Command qsmprep /in /out participant',
        'Finished not finished',
        'Time and memory of each step: 4 s in all',
        'mask 2.5 1.50 reports 1.0',
        'Echo times [ms] 2.3, 4.6',
        'Field strength from ImagingFrequency',
        '2 warnings:',
        'Something is odd.',
        'which ask for nothing: There is one echo.',
        'Spread of susceptibility: 333 ppb, expected 10 to 120 ppb. Susceptibility of other size',
        'What to do: Factors of 6.28',
        '1400 ml 800 to 2000 as expected',
        '333 ppb 10 to 120 \u2020 \u25b2 outside',
        'Phase was unwrapped with ROMEO ( https://doi.org/10.1002/mrm.28563 ).',
        'No errors were recorded.',
        *(panel.title for panel in PANELS.values()),
        *(panel.caption for panel in PANELS.values()),
    ):
        assert words in parsed.text, words
    assert 'missing' not in parsed.text
    assert len(parsed.having('img')) == len(PANELS)


def test_page_can_be_read_by_all(tmp_path):
    put_record(tmp_path)
    put_figures(tmp_path / 'sub-01' / 'figures', 'sub-01_run-1', PANELS)
    put_figures(tmp_path / 'sub-01' / 'figures', 'sub-01_run-2', ['chi'])
    parsed = Parsed(write_participant_page(tmp_path, '01'))
    levels = [int(tag[1]) for tag, _ in parsed.tags if tag in ('h1', 'h2', 'h3', 'h4')]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    assert parsed.having('html') == [{'lang': 'en'}]
    assert all(image['alt'] for image in parsed.having('img'))
    ids = {attributes.get('id') for _, attributes in parsed.tags}
    anchors = [a['href'][1:] for a in parsed.having('a') if a['href'].startswith('#')]
    assert set(anchors) <= ids
    assert {'summary', 'acquisition-1', 'methods', 'errors', 'content'} <= set(anchors)


def test_missing_panels_of_completed_acquisitions_are_told(tmp_path):
    put_record(tmp_path)
    put_figures(tmp_path / 'sub-01' / 'figures', 'sub-01_run-1', ['echoes', 'mask', 'unwrapped'])
    text = Parsed(write_participant_page(tmp_path, '01')).text
    for panel in ('chi', 'localfield', 'totalfield', 'r2star'):
        assert f'This panel is missing: {PANELS[panel].title}' in text
    for panel in ('mask', 'truth'):
        assert f'This panel is missing: {PANELS[panel].title}' not in text
    put_record(tmp_path, acquisition={'status': 'failed', 'error': 'It broke.'})
    text = Parsed(write_participant_page(tmp_path, '01')).text
    assert 'This panel is missing' not in text
    assert 'Error. It broke.' in text


def test_pictures_go_to_their_acquisition(tmp_path):
    record = put_record(tmp_path)
    second = record['acquisitions'][0] | {'stem': 'sub-01_run-11_MEGRE'}
    put_record(tmp_path, acquisitions=[record['acquisitions'][0], second])
    figures = tmp_path / 'sub-01' / 'figures'
    put_figures(figures, 'sub-01_run-11', ['chi'])
    put_figures(figures, 'sub-01_run-3', ['chi'])
    text = Parsed(write_participant_page(tmp_path, '01')).text
    one, rest, end = text.split('sub-01_run-11_MEGRE completed', 2)
    assert f'This panel is missing: {PANELS["chi"].title}' in one
    assert f'This panel is missing: {PANELS["chi"].title}' not in rest
    assert 'Other pictures These belong to no acquisition' in end


def test_page_is_written_when_nothing_worked(tmp_path):
    assert 'There is no record' in Parsed(write_participant_page(tmp_path, '02')).text
    put_record(
        tmp_path,
        acquisitions=[],
        errors=[{'node': 'input', 'message': 'No images.', 'traceback': 'Traceback: here'}],
    )
    text = Parsed(write_participant_page(tmp_path, '01')).text
    assert 'Nothing was processed' in text
    assert 'input No images. Traceback Traceback: here' in text
    assert 'There is no methods text' in text
    for content in ('{"participant": ', '[1, 2]', '\xff', '{"acquisitions": 5, "errors": [3]}'):
        (tmp_path / 'logs' / 'sub-01.json').write_bytes(content.encode('latin-1'))
        assert 'sub-01' in Parsed(write_participant_page(tmp_path, '01')).text


def test_records_of_unexpected_kinds_do_not_stop_the_page(tmp_path):
    odd = {
        'stem': None,
        'status': 7,
        'inputs': [1, None],
        'rules': ['a'],
        'parameters': {'Matrix': [80, 80, 53], 'Nothing': None},
        'warnings': 'no list',
        'notes': {'no': 'list'},
        'steps': {'mask': 'long', 'reports': {'seconds': 'none'}, 'one': [1]},
        'error': {'a': 1},
        'quality': {'chi_sd_ppb': 'n/a', 'other': [1, 2], 'brain_volume_ml': float('nan')},
    }
    put_record(tmp_path, acquisition=odd)
    text = Parsed(write_participant_page(tmp_path, '01')).text
    assert 'Matrix 80, 80, 53' in text
    assert 'not a number' in text


def test_pictures_that_cannot_be_shown_are_told(tmp_path):
    put_record(tmp_path)
    figures = tmp_path / 'sub-01' / 'figures'
    put_figures(figures, 'sub-01_run-1', PANELS)
    (figures / 'sub-01_run-1_desc-chi_MEGRE.png').write_text('<svg onload="window.hacked=1">')
    parsed = Parsed(write_participant_page(tmp_path, '01'))
    assert 'sub-01_run-1_desc-chi_MEGRE.png is not a PNG picture.' in parsed.text
    assert len(parsed.having('img')) == len(PANELS) - 1


@pytest.mark.parametrize('label', ['', '../x', 'a/b', 'a\0'], ids=repr)
def test_labels_that_leave_the_folder_are_refused(tmp_path, label):
    with pytest.raises(ValueError, match='label of a participant'):
        write_participant_page(tmp_path, label)


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


def group_rows():
    rows = [
        {
            'participant_id': f'sub-{i:02d}',
            'acquisition': f'sub-{i:02d}_MEGRE',
            'status': 'completed',
            'chi_sd_ppb': 30.0 + i,
            'site': 'London' if i % 2 else 'Oslo',
            'brain_volume_ml': 1400.0,
        }
        for i in range(8)
    ]
    rows[3]['chi_sd_ppb'] = 200.0
    rows[5] |= {'status': 'failed', 'chi_sd_ppb': 'n/a', 'brain_volume_ml': None}
    return rows


def test_group_page_marks_outliers_and_links_participants(tmp_path):
    (tmp_path / 'sub-03.html').write_text('')
    page = write_group_page(tmp_path, group_rows(), MEASURES)
    assert page == tmp_path / 'group.html'
    parsed = Parsed(page)
    assert '8 acquisitions, of which 7 completed.' in parsed.text
    assert 'Spread of susceptibility : sub-03_MEGRE: 200 ppb' in parsed.text
    assert '\u25b2 Spread of susceptibility 200' in parsed.text
    assert 'sub-05 MEGRE London failed' in parsed.text
    # the row and the diamond
    assert [a['href'] for a in parsed.having('a') if '#' not in a['href']] == ['sub-03.html'] * 2
    dots, far = (
        [path['d'] for path in parsed.having('path') if path.get('class') == name]
        for name in ('dots', 'far')
    )
    assert [path.count('h0') for path in dots] == [7, 6]
    assert len(far) == 1


def test_group_page_without_measures(tmp_path):
    assert 'No acquisition has quality measures yet.' in Parsed(write_group_page(tmp_path, [])).text


def test_hostile_rows_do_nothing(tmp_path, browser):
    attack = ' '.join(HOSTILE)
    rows = [row | {'participant_id': attack, 'acquisition': attack} for row in group_rows()]
    rows[1] |= {'status': attack, 'chi_sd_ppb': attack}
    browser.open(write_group_page(tmp_path, rows))
    assert_harmless(browser, pictures=0, scripts=2)
    assert browser.evaluate('document.querySelectorAll("svg path.far").length') == 1


def test_many_sessions_get_a_page_each(tmp_path):
    stems = [f'sub-01_ses-{session}_MEGRE' for session in ('a', 'b', 'c')]
    (tmp_path / 'logs').mkdir()
    record = {'acquisitions': [{'stem': stem, 'status': 'completed'} for stem in stems]}
    (tmp_path / 'logs' / 'sub-01.json').write_text(json.dumps(record))
    assert [p.name for p in write_participant_pages(tmp_path, '01', 3)] == ['sub-01.html']
    pages = write_participant_pages(tmp_path, '01', 2)
    assert [page.name for page in pages] == [f'sub-01_ses-{s}.html' for s in ('a', 'b', 'c')]
    assert stems[1] in pages[1].read_text()
    assert stems[0] not in pages[1].read_text()


def test_the_cohort_is_sorted_and_filtered(tmp_path, browser):
    rows = [row | {'site': 'x'} if i == 2 else row for i, row in enumerate(group_rows())]
    browser.open(write_group_page(tmp_path, rows))
    names = (
        '[...document.querySelectorAll("#rows tbody tr:not([hidden]) th")].map(c => c.textContent)'
    )
    change = '.dispatchEvent(new Event("change"))'
    measure = 'document.getElementById("measure")'
    browser.evaluate(f'{measure}.value = "chi_sd_ppb"; {measure}{change}')
    press = '[...document.querySelectorAll("#rows th button")].at(-1).click()'
    browser.evaluate(press)
    browser.evaluate(press)
    assert browser.evaluate(names)[:2] == ['sub-03', 'sub-07']
    site = 'document.querySelector("select[data-column=site]")'
    browser.evaluate(f'{site}.value = "x"; {site}{change}')
    assert browser.evaluate(names) == ['sub-02']
    assert browser.evaluate('document.getElementById("count").textContent').startswith('1 of 8')


def test_dark_spots_are_told_in_words(tmp_path):
    spot = {
        'Position_mm': [1.0, -20.5, 33.0],
        'Volume_mm3': 120.0,
        'Sign': 'diamagnetic',
        'Lowest_ppm': -0.61,
        'Highest_ppm': 0.04,
        'Estimated_percent': 40.0,
    }
    odd = [{'Sign': 'x'}, 3, spot | {'Volume_mm3': '<b>'}]
    put_record(tmp_path, acquisition={'spots': [spot, spot | {'Sign': 'not told'}, *odd]})
    text = write_participant_page(tmp_path, '01').read_text()
    assert text.count('diamagnetic: calcium; 40 % of it has no field of its own') == 1
    assert text.count('cannot be told: neither sign stands out') == 1
    assert text.count('1, \u221220.5, 33') == 2
    put_record(tmp_path, acquisition={'spots': 'none'})
    assert 'Dark spots' not in write_participant_page(tmp_path, '01').read_text()


def test_spectra_are_drawn_and_odd_ones_left_out(tmp_path):
    power = [0.1, 0.01, 0.001]
    sides = [f'{kind}_{side}_cone' for kind in ('measured', 'expected') for side in ('on', 'off')]
    spectra = {'wavenumber': [0.02, 0.1, 0.3]} | dict.fromkeys(sides, power)
    put_figures(tmp_path / 'sub-01' / 'figures', 'sub-01_run-1', ['localfield'])
    put_record(tmp_path, acquisition={'spectra': spectra, 'reference': 'brain'})
    parsed = Parsed(write_participant_page(tmp_path, '01'))
    assert len(parsed.having('circle')) == 6
    for odd in ([1], {'wavenumber': [1]}, spectra | {'wavenumber': [0.1, -1, 2]}):
        put_record(tmp_path, acquisition={'spectra': odd})
        assert not Parsed(write_participant_page(tmp_path, '01')).having('circle')
