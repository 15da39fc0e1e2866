"""Records and figures to make pages of, and their tags, for the tests of pages."""

import json
from html.parser import HTMLParser

import numpy as np
from PIL import Image


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
