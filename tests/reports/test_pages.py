"""Pages show all there is and say what is missing."""

import json

import pytest

from qsmprep.reports.catalogue import MEASURES
from qsmprep.reports.cohort import write_group_page
from qsmprep.reports.pages import PANELS, write_participant_page, write_participant_pages
from tests.reports.pages import Parsed, group_rows, put_figures, put_record


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


def test_missing_panels_of_completed_acquisitions_are_reported(tmp_path):
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


def test_pictures_that_cannot_be_shown_are_reported(tmp_path):
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


def test_group_page_marks_outliers_and_links_participants(tmp_path):
    (tmp_path / 'sub-03.html').write_text('')
    page = write_group_page(tmp_path, group_rows(), MEASURES)
    assert page == tmp_path / 'group.html'
    parsed = Parsed(page)
    assert '8 acquisitions, of which 7 completed.' in parsed.text
    assert 'Spread of susceptibility : sub-03_MEGRE: 200 ppb' in parsed.text
    assert '\u25b2 Spread of susceptibility 200' in parsed.text
    assert 'sub-05 MEGRE London failed' in parsed.text
    # the row, the list of outliers and the diamond
    assert [a['href'] for a in parsed.having('a') if '#' not in a['href']] == ['sub-03.html'] * 3
    dots, far = (
        [path['d'] for path in parsed.having('path') if path.get('class') == name]
        for name in ('dots', 'far')
    )
    assert [path.count('h0') for path in dots] == [7, 6]
    assert len(far) == 1


def test_group_page_without_measures(tmp_path):
    assert 'No acquisition has quality measures yet.' in Parsed(write_group_page(tmp_path, [])).text


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


def test_dark_spots_are_reported_in_words(tmp_path):
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
