"""The report in a browser: load times, accessibility, screenshots. No network is used.

    python benchmarks/report_pages.py --axe axe.min.js --out docs/figures [--results FOLDER ...]

A cohort of 1,000 simulated rows is loaded, sorted and filtered. The pages of finished runs are
opened at three widths, in the dark and as printed; pictures of them are taken, named after the
folder of the run; they are printed to PDF on A4, where text is measured (poppler's pdftotext): how
far from the right edge of the paper it ends, and whether it was made smaller to fit; and axe-core
(npm, MPL-2.0) looks for what readers with a disability would stumble over.
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import Table
from PIL import Image

from qsmprep.reports.catalogue import MEASURES
from qsmprep.reports.cohort import write_group_page

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.reports.browser import Browser

VIEWS = {
    'wide': (1280, '', 'light'),
    'tablet': (800, '', 'light'),
    'phone': (320, '', 'light'),
    'dark': (1280, '', 'dark'),
    'print': (794, 'print', 'light'),
}
"""Width [px], medium and colours."""
MAP = '[...document.querySelectorAll("h4")].find(h => h.textContent === "Susceptibility")'
"""Title of the picture of the map on a participant's page."""
SERIOUS = ('serious', 'critical')
AXE = (
    'axe.run(document, {resultTypes: ["violations"]}).then(r => '
    'r.violations.map(v => v.impact + ": " + v.id + " (" + v.nodes.length + ")"))'
)


def cohort(count: int, seed: int = 0) -> list[dict]:
    """Rows of a cohort of several sites, scanners and field strengths, with a few outliers."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        site = number % 5
        label = f'sub-{number:04d}'
        session = f'_ses-{number % 2 + 1}' if number % 3 else ''
        rows.append(
            {
                'participant_id': label,
                'acquisition': f'{label}{session}_MEGRE',
                'status': 'failed' if rng.random() < 0.02 else 'completed',
                'site': f'Site {site + 1}',
                'scanner': ('Siemens Prisma', 'GE Premier', 'Philips Ingenia')[site % 3],
                'field_strength_t': (3, 7)[site == 4],
                'warnings': int(rng.poisson(0.3)),
            }
        )
        for measure in MEASURES:
            low = 0.0 if measure.low is None else measure.low
            high = 2 * abs(low) + 1 if measure.high is None else measure.high
            typical = low + (0.35 + 0.05 * site) * (high - low)
            far = 8 if rng.random() < 0.004 else 1
            rows[-1][measure.key] = float(typical + far * 0.08 * (high - low) * rng.normal())
    return rows


def check(browser: Browser, page: Path, axe: str, table: Table, out: Path, name: str) -> None:
    """Load a page in all views; look for faults, and take pictures."""
    for view, (pixels, media, scheme) in VIEWS.items():
        browser.show_as(media, scheme)
        start = time.monotonic()
        browser.open(page, width=pixels)
        if 'viewer' in page.name:
            browser.until('document.body.dataset.ready')
        seconds = time.monotonic() - start
        over = browser.evaluate('document.documentElement.scrollWidth') - pixels
        violations = ''
        if view in ('wide', 'dark'):
            browser.evaluate(axe)
            found = browser.ask(
                'Runtime.evaluate', expression=AXE, awaitPromise=True, returnByValue=True
            )['result']['value']
            violations = '; '.join(text for text in found if text.startswith(SERIOUS)) or 'none'
        size = page.stat().st_size / 1e6
        table.add(name, view, seconds, size, max(over, 0), violations)
        take_picture(browser, out / f'page_{name}_{view}.png')
        if view == 'wide' and browser.evaluate(f'Boolean({MAP})'):
            browser.evaluate(f'{MAP}.scrollIntoView()')
            take_picture(browser, out / f'page_{name}_map.png')


def check_print(browser: Browser, page: Path, table: Table, name: str) -> None:
    """Print a page to PDF on A4, and measure its text."""
    browser.show_as('', 'light')
    browser.open(page, width=1280)
    heading = browser.evaluate(
        'parseFloat(getComputedStyle(document.querySelector("h1")).fontSize)'
    )
    printed = browser.ask('Page.printToPDF', paperWidth=8.27, paperHeight=11.69)['data']
    with tempfile.NamedTemporaryFile(suffix='.pdf') as file:
        file.write(base64.b64decode(printed))
        file.flush()
        command = ['pdftotext', '-bbox', file.name, '-']
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    sheets = re.findall(r'<page width="([\d.]+)"', text)
    words = re.findall(r'<word xMin="\S+" yMin="(\S+)" xMax="(\S+)" yMax="(\S+)"', text)
    margin = float(sheets[0]) - max(float(right) for _, right, _ in words)
    # the tallest word is that of the heading: 0.75 pt a pixel, and 1.164 lines of DejaVu Sans
    tallest = max(float(bottom) - float(top) for top, _, bottom in words)
    table.add(name, len(sheets), margin, 100 * tallest / (0.75 * 1.164 * heading))


def take_picture(browser: Browser, path: Path) -> None:
    """Save what the window shows."""
    with Image.open(io.BytesIO(browser.picture())) as picture:
        small = picture.convert('P', palette=Image.Palette.ADAPTIVE, colors=96)
        small.save(path, optimize=True)


def cpu_s(browser: Browser) -> float:
    """CPU time of all tasks of the page since it was opened [s]."""
    metrics = browser.ask('Performance.getMetrics')['metrics']
    return next(m['value'] for m in metrics if m['name'] == 'TaskDuration')


def time_cohort(browser: Browser, count: int, table: Table, folder: Path) -> Path:
    """Load, sort and filter the page of a cohort."""
    rows = cohort(count)
    for row in rows:
        (folder / f'{row["participant_id"]}.html').touch()
    page = write_group_page(folder, rows)
    # tasks are then timed by the clock of their thread, whatever else the machine does
    browser.ask('Performance.enable', timeDomain='threadTicks')
    start = time.monotonic()
    browser.open(page, width=1400)
    table.add(f'{count} acquisitions: load [s]', time.monotonic() - start)
    table.add('CPU time of the page [s]', cpu_s(browser))
    for what, code in (
        (
            'sort by a column: CPU time [s]',
            'document.querySelectorAll("#rows th button")[3].click()',
        ),
        (
            'filter by site: CPU time [s]',
            'var s = document.querySelector("select[data-column=site]"); s.value = "Site 2"; '
            's.dispatchEvent(new Event("change"))',
        ),
    ):
        before = cpu_s(browser)
        browser.evaluate(code + '; document.body.offsetHeight')
        table.add(what, cpu_s(browser) - before)
    table.add(
        'rows shown',
        browser.evaluate('document.querySelectorAll("#rows tbody tr:not([hidden])").length'),
    )
    table.add('size of the page [MB]', page.stat().st_size / 1e6)
    return page


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--axe', type=Path, required=True, help='axe.min.js of axe-core')
    parser.add_argument('--out', type=Path, required=True, help='folder for pictures')
    parser.add_argument(
        '--results', type=Path, nargs='*', default=[], help='output folders of runs'
    )
    parser.add_argument('--rows', type=int, default=1000, help='acquisitions of the cohort')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    axe = args.axe.read_text(encoding='utf-8')
    times = Table('A cohort in the browser', ['what', 'value'], [])
    pages = Table(
        'Pages in the browser',
        ['page', 'view', 'load [s]', 'size [MB]', 'too wide [px]', 'serious'],
        [],
    )
    columns = ['page', 'sheets', 'text ends before the edge [pt]', 'size of text [%]']
    prints = Table('Pages printed on A4', columns, [])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(Path(folder) / 'profile')
        big, small = Path(folder) / 'big', Path(folder) / 'small'
        for place in (big, small):
            place.mkdir()
        check_print(browser, time_cohort(browser, args.rows, times, big), prints, 'large cohort')
        group = write_group_page(small, cohort(30))
        check(browser, group, axe, pages, args.out, 'cohort')
        check_print(browser, group, prints, 'cohort')
        for results in args.results:
            for page in sorted(results.glob('sub-*.html')):
                kind = '_viewer' if page.name.endswith('_viewer.html') else ''
                check(browser, page, axe, pages, args.out, results.name + kind)
                if not kind:
                    check_print(browser, page, prints, results.name)
        browser.close()
    print(times.markdown(), pages.markdown(), prints.markdown(), sep='\n\n')


if __name__ == '__main__':
    main()
