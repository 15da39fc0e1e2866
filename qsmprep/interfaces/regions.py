"""Segmentations brought to the maps, and tables of regions."""

from __future__ import annotations

import csv
import math
from importlib.resources import files
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from qsmprep.interfaces import images, itk
from qsmprep.interfaces.brains import load_atlas
from qsmprep.qsm.regions import EROSION_MM, FEWEST, Region, RegionMap, measure_regions, place_labels

ATLAS = 'CIT168'
JOINED = {'globus pallidus': ('GPe', 'GPi'), 'substantia nigra': ('SNc_PBP_VTA', 'SNr')}
"""Structures that the atlas divides and publications give as one."""
DICTIONARY = {
    'label': 'Labels of the region in the segmentation, joined by + where it has several.',
    'name': 'Name of the region.',
    'hemisphere': 'L (left), R (right) or n/a.',
    'erosion_mm': 'Distance from the border within which voxels were left out [mm], the '
    'outermost voxels at least; 0: none.',
    'map': 'Map that is described.',
    'unit': 'Unit of the map, which median, mean, sd and percentiles have.',
    'voxels': 'Voxels of the region in which the map holds a value.',
    'volume_mm3': 'Their volume [mm3].',
    'coverage_percent': 'Part of the region in which the map holds a value [%].',
    'median': 'Median.',
    'mean': 'Mean.',
    'sd': 'Standard deviation over the voxels.',
    'percentile_5': '5th percentile.',
    'percentile_95': '95th percentile.',
    'estimated_percent': 'Part of the voxels without a reliable field of their own, whose '
    'susceptibility was estimated from the field around [%].',
    'reference': 'What has the value zero.',
    'placement': 'good, or doubtful where the registration did not pass its checks: then the '
    'region may lie elsewhere than its name says.',
}
"""Column of the tables -> what it is."""


class _PlaceLabelsInputSpec(BaseInterfaceInputSpec):
    reference = File(exists=True, mandatory=True, desc='image whose grid the labels take')
    transforms = InputMultiObject(File(exists=True), mandatory=True, desc='in order of passage')
    segmentation = File(exists=True, desc='image of labels; the CIT168 atlas where not given')


class _PlaceLabelsOutputSpec(TraitedSpec):
    labels = File(exists=True, desc='labels on the grid of the reference')


class PlaceLabels(SimpleInterface):
    """Bring a segmentation to the grid of an image, region by region."""

    input_spec = _PlaceLabelsInputSpec
    output_spec = _PlaceLabelsOutputSpec

    def _run_interface(self, runtime):
        inputs = self.inputs
        if isdefined(inputs.segmentation):
            labels = np.rint(images.read(inputs.segmentation)).astype(np.int32)
            affine = images.affine_of(inputs.segmentation)
        else:
            labels, affine = load_atlas()
        transform = itk.chain([itk.read_transform(path) for path in inputs.transforms])
        target = images.affine_of(inputs.reference)
        shape = images.read(inputs.reference).shape
        numbers = [int(n) for n in np.unique(labels) if n]
        weights = (
            itk.resample(labels == number, affine, transform, shape, target) for number in numbers
        )
        placed = place_labels(weights, numbers, shape)
        path = Path(runtime.cwd) / 'labels.nii'
        images.save(placed, inputs.reference, path)
        self._results['labels'] = str(path)
        return runtime


class _TabulateRegionsInputSpec(BaseInterfaceInputSpec):
    labels = File(exists=True, mandatory=True, desc='segmentation on the grid of the maps')
    names = traits.Dict(desc='label -> name; those of CIT168 where not given')
    maps = traits.List(File(exists=True), mandatory=True, desc='maps')
    masks = traits.List(File(exists=True), mandatory=True, desc='where each map holds values')
    titles = traits.List(traits.Tuple(traits.Str, traits.Str), desc='name and unit of each map')
    estimated = File(exists=True, desc='voxels estimated without data')
    reference = traits.Dict(desc='record of referencing')
    registrations = traits.List(traits.Dict, desc='records of the registrations that labels passed')


class _TabulateRegionsOutputSpec(TraitedSpec):
    table = File(exists=True, desc='one row for each region, erosion and map')
    label_table = File(exists=True, desc='numbers and names of the segmentation')
    parameters = traits.Dict(desc='what the segmentation is, columns, warnings')


class TabulateRegions(SimpleInterface):
    """Describe maps in the regions of a segmentation."""

    input_spec = _TabulateRegionsInputSpec
    output_spec = _TabulateRegionsOutputSpec

    def _run_interface(self, runtime):
        inputs, folder = self.inputs, Path(runtime.cwd)
        labels = np.rint(images.read(inputs.labels)).astype(np.int32)
        given = {int(k): v for k, v in inputs.names.items()} if isdefined(inputs.names) else None
        regions = atlas_regions() if given is None else named_regions(labels, given)
        reference = inputs.reference if isdefined(inputs.reference) else {}
        zero = str(reference.get('ReferenceRegion', ''))
        maps = [
            RegionMap(name, unit, images.read(path), images.read(mask, bool),
                      zero if name == 'Chimap' else '')
            for (name, unit), path, mask in zip(
                inputs.titles, inputs.maps, inputs.masks, strict=True
            )
        ]  # fmt:skip
        estimated = images.read_given(inputs.estimated, bool)
        grid = images.read_grid(inputs.labels)
        rows = measure_regions(labels, regions, maps, grid.voxel_size, estimated)
        warnings = [w for record in inputs.registrations or () for w in record.get('Warnings', ())]
        for row in rows:
            row['placement'] = 'doubtful' if warnings else 'good'
        write_table(rows, folder / 'regions.tsv')
        singles = [region for region in regions if len(region.numbers) == 1]
        lines = ['index\tname\themisphere']
        lines += [f'{r.label}\t{r.name}\t{r.hemisphere}' for r in singles]
        (folder / 'labels.tsv').write_text('\n'.join(lines) + '\n', encoding='utf-8')
        if not rows:
            warnings = [*warnings, 'No region of the segmentation lies in the map.']
        self._results.update(
            table=str(folder / 'regions.tsv'),
            label_table=str(folder / 'labels.tsv'),
            parameters={'Erosion_mm': EROSION_MM, 'FewestVoxels': FEWEST},
        )
        if not rows:
            self._results['parameters']['Warnings'] = warnings[-1:]
        return runtime


def atlas_regions() -> list[Region]:
    """Regions of the CIT168 atlas, and what publications give as one."""
    text = (files('qsmprep.data') / 'CIT168_dseg.tsv').read_text(encoding='utf-8')
    table = list(csv.DictReader(text.splitlines(), delimiter='\t'))
    regions = [Region(row['name'], row['hemisphere'], (int(row['index']),)) for row in table]
    for name, parts in JOINED.items():
        for side in 'LR':
            numbers = tuple(
                int(row['index'])
                for row in table
                if row['hemisphere'] == side and row['abbreviation'] in parts
            )
            regions.append(Region(name, side, numbers))
    return regions


def named_regions(labels: np.ndarray, names: dict[int, str]) -> list[Region]:
    """Regions of a segmentation that was given; sides are read from their names."""
    numbers = [int(n) for n in np.unique(labels) if n]
    return [Region(names.get(n, f'label {n}'), _side(names.get(n, '')), (n,)) for n in numbers]


def _side(name: str) -> str:
    """Hemisphere by a name.

    Examples
    --------
    >>> _side('Left-Caudate'), _side('ctx-rh-cuneus'), _side('Brain-Stem')
    ('L', 'R', 'n/a')

    """
    lower = name.lower()
    for side, marks in (
        ('L', ('left', 'lh-', '-lh', '_lh')),
        ('R', ('right', 'rh-', '-rh', '_rh')),
    ):
        if any(mark in lower for mark in marks):
            return side
    return 'n/a'


def write_table(rows: list[dict], path: Path) -> None:
    """Write rows as BIDS does: tabs, n/a for what is not known, seven digits."""
    with path.open('w', encoding='utf-8', newline='') as stream:
        writer = csv.DictWriter(stream, list(DICTIONARY), delimiter='\t', lineterminator='\n')
        writer.writeheader()
        writer.writerows({key: _cell(row[key]) for key in DICTIONARY} for row in rows)


def _cell(value):
    if isinstance(value, float):
        return 'n/a' if math.isnan(value) else f'{value:.7g}'
    return 'n/a' if value == '' else value


def dictionary() -> dict[str, dict[str, str]]:
    """Column -> description, as the sidecar of a table has it."""
    return {key: {'Description': text} for key, text in DICTIONARY.items()}
