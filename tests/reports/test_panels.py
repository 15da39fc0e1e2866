"""Panels show what they are given, whatever way the image is stored."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from qsmprep.reports import echoes, fields, maps
from qsmprep.reports.contrasts import plot_r2star
from qsmprep.reports.echoes import plot_echoes, plot_masks, plot_unwrapped
from qsmprep.reports.fields import plot_local_field, plot_total_field
from qsmprep.reports.maps import plot_chi, plot_truth, plot_uncertainty


def pixels(path):
    return np.asarray(Image.open(path).convert('RGB')).astype(int)


def draw_all(save, head, folder):
    """Every panel of one small acquisition, by name."""
    chi, mask = head
    mask_path = save('mask', mask)
    echoes = np.stack([mask * (900 - 200 * e + 900 * chi) for e in range(3)], axis=-1)
    phase = np.angle(np.exp(40j * chi[..., None] * np.arange(1, 4)))
    magnitude_path, phase_path = save('mag', echoes), save('phase', phase)
    times = (0.004, 0.008, 0.012)
    chi_path, field = save('chi', chi), save('field', 300 * chi)
    masks = {'brain': mask_path, 'final': save('final', mask & (np.roll(mask, 2, axis=0)))}
    return {
        'echoes': plot_echoes(
            magnitude_path, phase_path, folder / 'echoes.png', mask=mask_path, echo_times_s=times
        ),
        'unwrapped': plot_unwrapped(
            phase_path, folder / 'unwrapped.png', mask=mask_path, echo_times_s=times
        ),
        'totalfield': plot_total_field(
            field, folder / 'total.png', noise=save('noise', np.abs(chi)), mask=mask_path
        ),
        'mask': plot_masks(magnitude_path, folder / 'mask.png', **masks),
        'localfield': plot_local_field(chi_path, folder / 'local.png', mask=mask_path),
        'chi': plot_chi(chi_path, folder / 'chi.png', mask=mask_path),
        'uncertainty': plot_uncertainty(
            save('sd', 0.1 * np.abs(chi)), folder / 'uncertainty.png', mask=mask_path
        ),
        'r2star': plot_r2star(field, folder / 'r2star.png', mask=mask_path),
        'truth': plot_truth(chi_path, save('res', 0.8 * chi), mask_path, folder / 'truth.png'),
    }


def test_every_panel_is_a_small_png_that_shows_something(save, head, tmp_path):
    for name, path in draw_all(save, head, tmp_path).items():
        picture = Image.open(path)
        assert picture.format == 'PNG', name
        assert 700 <= picture.width <= 1400, name
        assert 200 <= picture.height <= 1300, name
        assert path.stat().st_size < 400_000, name
        assert pixels(path).std() > 20, name


def test_panels_are_the_same_bytes_each_time(save, head, tmp_path):
    chi = save('chi', head[0])
    first = plot_chi(chi, tmp_path / 'a.png').read_bytes()
    assert plot_chi(chi, tmp_path / 'b.png').read_bytes() == first


def test_a_whole_brain_panel_stays_below_400_kb(save, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.03, (160, 200, 176))
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in noise.shape), indexing='ij')
    mask = x**2 + y**2 + z**2 < 0.95
    smooth = sum(np.roll(noise, s, axis=a) for a in range(3) for s in (-1, 0, 1)) / 3
    path = plot_chi(save('chi', smooth * mask, np.eye(4)), tmp_path / 'chi.png')
    assert path.stat().st_size < 400_000


@pytest.mark.parametrize('codes', ['LPS', 'LAS', 'PIR', 'SRA'])
def test_storage_order_does_not_change_the_picture(save, head, tmp_path, codes):
    affine = np.diag([1.5, 1.0, 2.0, 1.0])
    affine[:3, 3] = (-18, -16, -20)
    image = nib.Nifti1Image(head[0], affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(codes)
    )
    turned = image.as_reoriented(turn)
    straight = plot_chi(save('ras', head[0], affine), tmp_path / 'ras.png')
    other = plot_chi(save(codes, turned.get_fdata(), turned.affine), tmp_path / 'other.png')
    assert nib.aff2axcodes(turned.affine) == tuple(codes)
    assert np.array_equal(pixels(straight), pixels(other))


def test_right_is_on_the_right_and_front_is_up(save, head, tmp_path, monkeypatch):
    chi, mask = head
    spot = np.zeros_like(chi)
    spot[18, 26, 10] = 1  # right, front
    strips = []
    monkeypatch.setattr(fields, 'draw_sheet', lambda s, *a: strips.extend(s))
    plot_local_field(save('spot', spot), tmp_path / 'x.png', mask=save('mask', mask))
    axial, others = strips[0].rows
    shown = sum(np.asarray(tile.pixels) for tile in axial if tile.plane == 'axial')
    assert shown.max() == 1
    row, column = np.argwhere(shown)[0]
    assert row > shown.shape[0] / 2  # rows run upwards: front
    assert column > shown.shape[1] / 2
    assert {tile.plane for tile in others} == {'coronal', 'sagittal'}


def test_slices_keep_the_shape_of_voxels(save, head, tmp_path, monkeypatch):
    strips = []
    monkeypatch.setattr(maps, 'draw_sheet', lambda s, *a: strips.extend(s))
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ np.diag([0.5, 1.0, 3.0, 1.0])  # oblique, anisotropic
    plot_chi(save('chi', head[0], affine), tmp_path / 'x.png')
    for row in strips[0].rows:
        for tile in row:
            high, wide = tile.pixels.shape
            across, up = {'axial': (0.5, 1), 'coronal': (0.5, 3), 'sagittal': (1, 3)}[tile.plane]
            assert tile.size_mm == pytest.approx((wide * across, high * up), rel=1e-5)


def test_oblique_images_are_drawn(save, head, tmp_path):
    angle = np.deg2rad(25)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert pixels(plot_chi(save('chi', head[0], affine), tmp_path / 'x.png')).std() > 10


def test_values_that_are_not_finite_do_not_matter(save, head, tmp_path):
    chi, mask = head
    broken = chi.copy()
    broken[::5], broken[0, 0, 0], broken[0, 0, 1] = np.nan, np.inf, -np.inf
    path, mask_path = save('nan', broken), save('mask', mask)
    for draw in (plot_chi, plot_total_field, plot_unwrapped, plot_r2star, plot_local_field):
        assert pixels(draw(path, tmp_path / 'x.png', mask=mask_path)).std() > 5
        assert pixels(draw(path, tmp_path / 'y.png')).std() > 5
    everything = save('all', np.full_like(chi, np.nan))
    assert plot_total_field(everything, tmp_path / 'z.png').stat().st_size > 1000


def test_empty_masks_do_not_matter(save, head, tmp_path):
    chi, _ = head
    empty, path = save('empty', np.zeros_like(chi)), save('chi', chi)
    assert pixels(plot_chi(path, tmp_path / 'x.png', mask=empty)).std() > 5
    assert plot_total_field(empty, tmp_path / 'y.png', noise=empty, mask=empty).is_file()
    assert plot_masks(path, tmp_path / 'z.png', brain=empty, final=empty).is_file()
    assert plot_truth(path, path, empty, tmp_path / 't.png').is_file()


def test_the_error_of_the_result_is_reported(save, head, tmp_path, monkeypatch):
    chi, mask = head
    strips = []
    monkeypatch.setattr(maps, 'draw_sheet', lambda s, *a: strips.extend(s))
    paths = save('truth', chi), save('result', 0.75 * chi + 0.2), save('mask', mask)
    plot_truth(*paths, tmp_path / 'x.png')
    assert 'NRMSE 25.0 %' in strips[2].title


def test_volumes_of_masks_are_reported(save, head, tmp_path, monkeypatch):
    chi, mask = head
    drawn = {}
    monkeypatch.setattr(
        echoes, 'draw_sheet', lambda strips, path, legend: drawn.update(legend=legend)
    )
    half = mask.copy()
    half[:12] = False
    masks = {'brain': save('brain', mask), 'final': save('final', half)}
    plot_masks(save('mag', chi), tmp_path / 'x.png', **masks)
    texts = [text for _, text in drawn['legend']]
    assert texts == [
        f'brain: {mask.sum() * 3e-3:.0f} ml',
        f'final: {half.sum() * 3e-3:.0f} ml (50.0 %)',
    ]


def test_echoes_may_be_separate_files_and_many(save, head, tmp_path, monkeypatch):
    chi, mask = head
    paths = [save(f'echo{e}', mask * (10 - 0.5 * e)) for e in range(12)]
    joined = plot_echoes(
        save('all', np.stack([mask * (10 - 0.5 * e) for e in range(12)], axis=-1)),
        paths,
        tmp_path / 'joined.png',
    )
    apart = plot_echoes(paths, paths, tmp_path / 'apart.png')
    assert np.array_equal(pixels(joined), pixels(apart))
    strips = []
    monkeypatch.setattr(echoes, 'draw_sheet', lambda s, *a: strips.extend(s))
    plot_echoes(paths, paths, tmp_path / 'x.png', echo_times_s=[0.004 * e for e in range(1, 13)])
    titles = [tile.title for tile in strips[0].rows[0]]
    assert len(titles) == 8
    assert (titles[0], titles[-1]) == ('Echo 1, 4 ms', 'Echo 12, 48 ms')


def test_images_on_other_grids_are_refused(save, head, tmp_path):
    other = save('other', np.zeros((5, 6, 7)))
    with pytest.raises(ValueError, match=r'other\.nii\.gz has the shape \(5, 6, 7\)'):
        plot_chi(save('chi', head[0]), tmp_path / 'x.png', mask=other)
    with pytest.raises(ValueError, match='a picture needs a 3-D or 4-D image'):
        plot_chi(save('flat', np.zeros((4, 4))), tmp_path / 'x.png')
    with pytest.raises(ValueError, match='At most 4 masks'):
        plot_masks(other, tmp_path / 'x.png', **dict.fromkeys('abcde', other))
