"""A head of formulas: no data needed, any resolution.

Coordinates are millimetres from the middle of the brain, x to the right, y to the front, z up. The
sizes are those of an average adult; seeds vary size, folding and a smooth warp.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from qsmprep.qsm.simulate.anatomy import Axes, Tissue, interpolate, interpolation_weights

__all__ = ['ANALYTIC_BOUNDS', 'ANALYTIC_BRAIN_BOUNDS', 'analytic_head']

ANALYTIC_BOUNDS = ((-84.0, -104.0, -116.0), (84.0, 116.0, 92.0))
"""Corners of the field of view that holds the head [mm]."""
ANALYTIC_BRAIN_BOUNDS = ((-71.0, -90.0, -72.0), (71.0, 90.0, 73.0))
"""Corners of the box that holds the brain [mm]."""

Shape = Callable[[Tensor, Tensor, Tensor], Tensor]


def analytic_head(axes: Axes, generator: torch.Generator) -> Tensor:
    """Tissue of every voxel of a grid.

    Parameters
    ----------
    axes
        Grid to label.
    generator
        Source of the head's individual shape (a generator of the CPU).

    Returns
    -------
    torch.Tensor
        :class:`~qsmprep.qsm.simulate.anatomy.Tissue` codes, uint8, of the grid's shape.

    """
    canvas = _Canvas(axes, generator)
    _paint_head(canvas)
    _paint_air(canvas)
    _paint_brain(canvas)
    for side in (-1, 1):
        _paint_deep_structures(canvas, side)
    _paint_midline(canvas)
    return canvas.labels


def _ellipsoid(centre: Sequence[float], radii: Sequence[float], tilt: float = 0.0) -> Shape:
    """First-order distance to an ellipsoid [mm], negative inside; ``tilt`` turns about x [rad]."""
    cosine, sine = math.cos(tilt), math.sin(tilt)

    def distance(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        x, y, z = x - centre[0], y - centre[1], z - centre[2]
        y, z = cosine * y + sine * z, cosine * z - sine * y
        x, y, z = x / radii[0], y / radii[1], z / radii[2]
        square = x * x + y * y + z * z
        gradient = (x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2
        return (square - square.sqrt()) / gradient.sqrt().clamp(min=1e-6)

    return distance


def _capsule(start: Sequence[float], end: Sequence[float], radius: float) -> Shape:
    """Distance to a rod with round ends [mm], negative inside."""
    along = [b - a for a, b in zip(start, end, strict=True)]
    length2 = sum(a * a for a in along)

    def distance(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        x, y, z = x - start[0], y - start[1], z - start[2]
        t = ((x * along[0] + y * along[1] + z * along[2]) / length2).clamp(0, 1)
        square = (x - t * along[0]) ** 2 + (y - t * along[1]) ** 2 + (z - t * along[2]) ** 2
        return square.sqrt() - radius

    return distance


def _union(*shapes: Shape, blend_mm: float = 0.0) -> Shape:
    """Union of shapes, with rounded seams if ``blend_mm`` is positive."""

    def distance(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        result = shapes[0](x, y, z)
        for shape in shapes[1:]:
            other = shape(x, y, z)
            result = torch.minimum(result, other) - (
                ((blend_mm - (result - other).abs()).clamp(min=0) ** 2 / (4 * blend_mm))
                if blend_mm
                else 0.0
            )
        return result

    return distance


_CEREBRUM = _union(
    _ellipsoid((0, -2, 14), (66, 84, 55)),
    _ellipsoid((-44, 12, -18), (20, 38, 20)),
    _ellipsoid((44, 12, -18), (20, 38, 20)),
    blend_mm=8,
)
_CEREBELLUM = _union(
    _ellipsoid((-24, -52, -42), (26, 29, 23)),
    _ellipsoid((24, -52, -42), (26, 29, 23)),
    _ellipsoid((0, -54, -38), (13, 26, 21)),
    blend_mm=5,
)
_BRAINSTEM = _union(
    _ellipsoid((0, -23, -36), (16, 14, 16)),
    _ellipsoid((0, -20, -14), (16, 11, 14)),
    _capsule((0, -26, -48), (0, -34, -140), 7.5),
    blend_mm=6,
)
_HULL = _union(_CEREBRUM, _CEREBELLUM, _BRAINSTEM, blend_mm=14)


class _Canvas:
    """Labels of a grid, and the painting of shapes on them in the head's own coordinates."""

    def __init__(self, axes: Axes, generator: torch.Generator) -> None:
        self.axes = axes
        self.labels = torch.zeros(axes.shape, dtype=torch.uint8, device=axes.device)
        draw = torch.rand(12, generator=generator).tolist()
        self.scale = [1 + 0.08 * (r - 0.5) for r in draw[:3]]
        self.phases = [6.2832 * r for r in draw[3:9]]
        self.folding = 0.95 + 0.2 * draw[9]
        self.ventricles = 0.8 + 0.5 * draw[10]
        self.atrophy_mm = 0.25 + 0.5 * draw[11]

    def _warp(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        p = self.phases
        return (
            x + 1.2 * torch.sin(y / 31 + p[0]) + 0.8 * torch.sin(z / 23 + p[1]),
            y + 1.5 * torch.sin(z / 29 + p[2]) + 0.8 * torch.sin(x / 19 + p[3]),
            z + 1.2 * torch.sin(y / 27 + p[4]) + 0.8 * torch.sin(x / 21 + p[5]),
        )

    def blocks(self, low: Sequence[float], high: Sequence[float]):
        """Pieces of the grid inside a box (with a margin for the warp), and their coordinates."""
        for _, labels, points in self._places(low, high):
            yield labels, points

    def _places(self, low: Sequence[float], high: Sequence[float]):
        box, lines = [], []
        for axis in range(3):
            line = self.axes.coordinates(axis) / self.scale[axis]
            hit = torch.nonzero((line >= low[axis] - 4) & (line <= high[axis] + 4))
            if not len(hit):
                return
            box.append(slice(int(hit[0]), int(hit[-1]) + 1))
            lines.append(line[box[axis]])
        step = max(1, 2_000_000 // (len(lines[1]) * len(lines[2])))
        y, z = lines[1][None, :, None], lines[2][None, None, :]
        for start in range(0, len(lines[0]), step):
            x = lines[0][start : start + step, None, None]
            first = box[0].start + start
            place = (slice(first, first + x.shape[0]), box[1], box[2])
            yield place, self.labels[place], self._warp(x, y, z)

    def distances(self, shape: Shape, low: Sequence[float], high: Sequence[float]):
        """The pieces of :meth:`blocks` and a smooth shape's distance there [mm].

        The distance is computed every 2 mm and interpolated: its formula costs more than the rest.
        """
        coarse, weights = [], []
        for axis in range(3):
            line = self.axes.coordinates(axis) / self.scale[axis]
            step = max(2.0, self.axes.voxel_size[axis])
            n = max(2, int(math.ceil(float(line[-1] - line[0]) / step)) + 1)
            coarse.append(float(line[0]) + step * torch.arange(n, device=line.device))
            weights.append((line, step, n))
        values = shape(*self._warp(*torch.meshgrid(*coarse, indexing='ij')))
        for place, labels, points in self._places(low, high):
            lines = [
                interpolation_weights(line[part], step, float(line[0]), n)
                for (line, step, n), part in zip(weights, place, strict=True)
            ]
            yield labels, points, interpolate(values, lines)

    def paint(
        self,
        tissue: Tissue,
        shape: Shape,
        centre: Sequence[float],
        reach: Sequence[float],
        over: Sequence[Tissue] = (),
    ) -> None:
        """Give a tissue to the inside of a shape within a box, only over some tissues if named."""
        low = [c - r for c, r in zip(centre, reach, strict=True)]
        high = [c + r for c, r in zip(centre, reach, strict=True)]
        for labels, (x, y, z) in self.blocks(low, high):
            inside = shape(x, y, z) < 0
            if over:
                allowed = torch.zeros(256, dtype=torch.bool, device=labels.device)
                allowed[list(over)] = True
                inside &= allowed[labels.long()]
            labels[inside] = int(tissue)

    def ellipsoid(
        self,
        tissue: Tissue,
        centre: Sequence[float],
        radii: Sequence[float],
        tilt: float = 0.0,
        over: Sequence[Tissue] = (),
    ) -> None:
        """Paint an ellipsoid."""
        reach = [max(radii) if tilt and axis else radii[axis] for axis in range(3)]
        self.paint(tissue, _ellipsoid(centre, radii, tilt), centre, reach, over)


def _paint_head(canvas: _Canvas) -> None:
    """Skin, fat, skull with diploe, dura and fluid around the brain; face and neck."""
    face = _union(
        _ellipsoid((0, 52, -62), (58, 50, 62)), _ellipsoid((0, 100, -44), (10, 15, 20)), blend_mm=10
    )
    everywhere = ((-1e3,) * 3, (1e3,) * 3)
    for labels, (x, y, z), hull in canvas.distances(_HULL, *everywhere):
        neck = torch.sqrt((x / 54) ** 2 + ((y + 22) / 58) ** 2) * 56 - 56
        neck = torch.maximum(neck, z + 30)
        outer = torch.minimum(torch.minimum(hull - 14, face(x, y, z)), neck)
        labels[outer < 0] = int(Tissue.SOFT_TISSUE)
        labels[(hull < 12.5) & (hull > 8) & (z > -30)] = int(Tissue.FAT)
        vault = (hull < 9) & (z > -66)
        labels[vault] = int(Tissue.BONE)
        labels[(hull < 7.2) & (hull > 4.6) & (z > -12)] = int(Tissue.MARROW)
        labels[hull < 2.5] = int(Tissue.CSF)
        spine = torch.sqrt((x / 16) ** 2 + ((y + 38) / 16) ** 2)
        labels[(spine < 1) & (z < -66) & (hull >= 2.5)] = int(Tissue.BONE)


def _paint_air(canvas: _Canvas) -> None:
    """Eyes, sinuses, nose, throat, mastoid cells and ear canals; none within the skull."""
    over = (Tissue.SOFT_TISSUE, Tissue.FAT, Tissue.BONE, Tissue.MARROW)
    canvas.ellipsoid(Tissue.AIR, (0, 37, -34), (12, 12, 9), over=over)
    canvas.ellipsoid(Tissue.AIR, (0, 70, -40), (10, 28, 15), over=over)
    canvas.ellipsoid(Tissue.MUCOSA, (0, 66, -50), (5, 22, 12), over=(*over, Tissue.AIR))
    throat = _capsule((0, 28, -58), (0, 14, -120), 8)
    canvas.paint(Tissue.AIR, throat, (0, 21, -89), (8, 16, 40), over)
    for side in (-1, 1):
        canvas.ellipsoid(Tissue.AIR, (13 * side, 88, 4), (11, 6, 9), over=over)
        canvas.ellipsoid(Tissue.AIR, (26 * side, 66, -62), (13, 16, 15), over=over)
        canvas.ellipsoid(Tissue.EYE, (31 * side, 76, -30), (12, 12, 12), over=over)
        canal = _capsule((46 * side, -14, -46), (95 * side, -14, -46), 3.5)
        canvas.paint(Tissue.AIR, canal, (70 * side, -14, -46), (30, 4, 4), over)

        def cells(x, y, z, side=side):
            body = _ellipsoid((57 * side, -24, -46), (9, 11, 14))(x, y, z)
            return torch.maximum(body, torch.sin(x) * torch.sin(y) * torch.sin(z) - 0.1)

        canvas.paint(Tissue.AIR, cells, (57 * side, -24, -46), (9, 11, 14), over)


def _sheets(x: Tensor, y: Tensor, z: Tensor, wavelength_mm: float, phases: Sequence[float]):
    """Distance to the nearest sheet of a warped gyroid [mm]: sulci of about even spacing."""
    k = 2 * math.pi / wavelength_mm
    x = x + 5 * torch.sin(y / 13 + phases[0])
    y = y + 5 * torch.sin(z / 11 + phases[1])
    z = z + 5 * torch.sin(x / 12 + phases[2])
    a, b, c = k * x + phases[3], k * y + phases[4], k * z + phases[5]
    value = torch.sin(a) * torch.cos(b) + torch.sin(b) * torch.cos(c) + torch.sin(c) * torch.cos(a)
    return value.abs() / (1.2 * k)


def _paint_brain(canvas: _Canvas) -> None:
    """Folded cortex over white matter; cerebellum with folia; brainstem."""
    fluid_mm = canvas.atrophy_mm
    for labels, (x, y, z), distance in canvas.distances(_CEREBRUM, (-72, -92, -52), (72, 90, 74)):
        depth = -distance
        basal = z + 33 + 0.10 * (y.abs() - 30).clamp(min=0)
        temporal = torch.minimum((x.abs() - 24) * 1.0, 52 - (y - 12).abs())
        depth = torch.minimum(depth, torch.maximum(basal, temporal))
        depth = torch.minimum(depth, _CEREBELLUM(x, y, z) - 1.0)
        sheet = _sheets(x, y, z, 25 * canvas.folding, canvas.phases)
        reach = 18 + 5 * torch.sin(x / 17 + y / 23)
        sulcus = torch.sqrt(sheet**2 + (depth - reach).clamp(min=0) ** 2)
        fissure = torch.sqrt(x**2 + (20 - z + 0.004 * y**2).clamp(min=0) ** 2)
        insula = _ellipsoid((0, 6, 2), (36, 24, 12))(x, y, z).abs() + (x.abs() < 28) * 9.0
        surface = torch.minimum(torch.minimum(depth, sulcus + 0.02 * depth), fissure)
        surface = torch.minimum(surface, insula + 0.4)
        inside = depth > 0
        labels[inside] = int(Tissue.WHITE_MATTER)
        thickness = 2.6 + 0.4 * torch.sin(x / 9 + z / 7)
        labels[inside & (surface < fluid_mm + thickness)] = int(Tissue.CORTEX)
        labels[inside & (surface < fluid_mm)] = int(Tissue.CSF)
    box = ((-52, -86, -70), (52, -20, -14))
    for labels, (_, y, z), distance in canvas.distances(_CEREBELLUM, *box):
        depth = -distance
        folia = (torch.sin(2 * math.pi / 9 * torch.sqrt((y + 40) ** 2 + (z + 40) ** 2))).abs() * 4.5
        folia = torch.sqrt(folia**2 + (depth - 10).clamp(min=0) ** 2)
        labels[depth > 0] = int(Tissue.CEREBELLAR_WHITE_MATTER)
        labels[(depth > 0) & (torch.minimum(depth, folia) < 2.4)] = int(Tissue.CEREBELLAR_CORTEX)
        labels[(depth > 0) & (depth < 5) & (folia < 0.35)] = int(Tissue.CSF)
    brain = (Tissue.CSF, Tissue.WHITE_MATTER, Tissue.CORTEX, Tissue.CEREBELLAR_CORTEX)
    over = (*brain, Tissue.CEREBELLAR_WHITE_MATTER)

    def above_neck(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return torch.maximum(_BRAINSTEM(x, y, z), -72 - z)

    canvas.paint(Tissue.BRAINSTEM, above_neck, (0, -24, -35), (17, 20, 40), over)
    canvas.paint(Tissue.SOFT_TISSUE, _BRAINSTEM, (0, -30, -110), (17, 20, 38), (Tissue.CSF,))


def _paint_deep_structures(canvas: _Canvas, side: int) -> None:
    """What a brain has twice: ventricles, basal ganglia, thalamus, small nuclei, dentate."""
    s, v, paint = side, canvas.ventricles, canvas.ellipsoid
    deep = (Tissue.WHITE_MATTER, Tissue.CORTEX, Tissue.CSF, Tissue.BRAINSTEM)
    core = _ellipsoid((22 * s, -2, 4), (26, 40, 24))
    canvas.paint(Tissue.WHITE_MATTER, core, (22 * s, -2, 4), (26, 40, 24), deep[1:3])
    paint(Tissue.THALAMUS, (11 * s, -17, 7), (9, 15, 9), 0.25, deep)
    paint(Tissue.VENTRAL_DIENCEPHALON, (9 * s, -12, -7), (8, 10, 7), over=deep)
    paint(Tissue.PALLIDUM, (19 * s, -1, 0), (4.5, 9, 7), 0.1, deep)
    lens = _ellipsoid((25.5 * s, 4, 2), (5.5, 17, 11), 0.15)
    canvas.paint(Tissue.PUTAMEN, lens, (25.5 * s, 4, 2), (6, 18, 18), deep)
    paint(Tissue.CAUDATE, (14 * s, 20, 7), (6, 11, 9), over=deep)
    paint(Tissue.CAUDATE, (19 * s, -2, 19), (3.4, 20, 4), over=deep)
    paint(Tissue.ACCUMBENS, (10 * s, 12, -6), (4, 5, 4), over=deep)
    paint(Tissue.HIPPOCAMPUS, (28 * s, -20, -14), (6, 18, 5), -0.2, deep)
    paint(Tissue.AMYGDALA, (24 * s, -2, -18), (7, 7, 7), over=deep)
    ventricles = (*deep, Tissue.THALAMUS, Tissue.CAUDATE, Tissue.HIPPOCAMPUS)
    paint(Tissue.VENTRICLE, (9 * s, 27, 15), (4.5 * v, 15, 9 * v), over=ventricles)
    paint(Tissue.VENTRICLE, (11 * s, -2, 21), (5.5 * v, 27, 5 * v), over=ventricles)
    paint(Tissue.VENTRICLE, (25 * s, -40, 6), (5.5 * v, 17, 8 * v), over=ventricles)
    paint(Tissue.VENTRICLE, (36 * s, -18, -15), (2.5 * v, 19, 3 * v), over=ventricles)
    paint(Tissue.CHOROID_PLEXUS, (24 * s, -35, 6), (2.2, 6, 3.5), over=(Tissue.VENTRICLE,))
    small = (*deep, Tissue.VENTRAL_DIENCEPHALON, Tissue.THALAMUS)
    paint(Tissue.SUBTHALAMIC_NUCLEUS, (11 * s, -13, -4), (4.5, 3.5, 1.9), 0.4, small)
    paint(Tissue.RED_NUCLEUS, (5.2 * s, -20, -8), (3.3, 3.4, 3.8), over=small)
    paint(Tissue.SUBSTANTIA_NIGRA, (10 * s, -17, -12), (6, 5, 2.4), 0.6, small)
    shell = _ellipsoid((16 * s, -56, -38), (9, 9, 6))

    def dentate(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        wall = shell(x, y, z) + 0.9 * torch.sin(x) * torch.sin(1.1 * y)
        return torch.maximum((wall + 1.2).abs() - 1.2, s * (x - 16 * s) * 0.4 + 0.6 * (y + 56) - 6)

    over: tuple[Tissue, ...] = (
        Tissue.CEREBELLAR_WHITE_MATTER,
        Tissue.CEREBELLAR_CORTEX,
        Tissue.CSF,
    )
    canvas.ellipsoid(Tissue.CEREBELLAR_WHITE_MATTER, (16 * s, -54, -38), (13, 13, 9), over=over[1:])
    canvas.paint(Tissue.DENTATE, dentate, (16 * s, -56, -38), (11, 11, 8), over)
    over = (Tissue.CSF, Tissue.CORTEX, Tissue.BONE, Tissue.CEREBELLAR_CORTEX)
    transverse = _capsule((6 * s, -86, -17), (54 * s, -46, -22), 3.4)
    canvas.paint(Tissue.SINUS, transverse, (30 * s, -66, -20), (28, 24, 6), over)
    internal = _capsule((2.5 * s, 6, 12), (1.5 * s, -36, 12), 1.2)
    over = (Tissue.VENTRICLE, Tissue.THALAMUS, Tissue.CSF, Tissue.WHITE_MATTER)
    canvas.paint(Tissue.SINUS, internal, (2 * s, -15, 12), (2, 23, 2), over)


def _paint_midline(canvas: _Canvas) -> None:
    """Corpus callosum, third and fourth ventricle, cistern and the sinuses of the midline."""
    tissues = (Tissue.WHITE_MATTER, Tissue.CORTEX, Tissue.CSF)
    lower = _ellipsoid((0, -4, 14), (60, 36, 16))

    def callosum(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        arch = lower(x, y, z - 0.012 * x * x)
        wide = torch.maximum((arch - 2.5).abs() - 2.8, x.abs() - 20)
        return torch.maximum(wide, 10 - z)

    canvas.paint(Tissue.CORPUS_CALLOSUM, callosum, (0, -4, 22), (20, 44, 16), tissues)
    deep = (*tissues, Tissue.THALAMUS, Tissue.VENTRAL_DIENCEPHALON, Tissue.BRAINSTEM)
    canvas.ellipsoid(Tissue.VENTRICLE, (0, -8, 2), (2.2, 13, 11), over=deep)
    over: tuple[Tissue, ...] = (*deep, Tissue.CEREBELLAR_CORTEX, Tissue.CEREBELLAR_WHITE_MATTER)
    canvas.ellipsoid(Tissue.VENTRICLE, (0, -37, -38), (7, 5, 9), over=over)
    canvas.ellipsoid(Tissue.CSF, (0, -38, 4), (9, 5, 7), over=tissues)
    canvas.paint(
        Tissue.SINUS, _capsule((0, -36, 12), (0, -46, 12), 2.6), (0, -41, 12), (3, 8, 3), over
    )
    straight = _capsule((0, -46, 12), (0, -86, -17), 2.5)
    canvas.paint(Tissue.SINUS, straight, (0, -66, -2), (3, 22, 18), over)

    def sagittal(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        inner = _ellipsoid((0, -2, 14), (66, 84, 55))(x, y, z)
        width = 4.2 * (0.5 + 0.5 * torch.sigmoid((20 - y) / 15))
        crescent = torch.sqrt(x * x + (inner + 0.5).abs() ** 2 * 1.2) - width
        return torch.maximum(crescent, torch.maximum(-14 - z, y - 66))

    over = (Tissue.CSF, Tissue.CORTEX, Tissue.BONE, Tissue.WHITE_MATTER)
    canvas.paint(Tissue.SINUS, sagittal, (0, -10, 30), (6, 82, 50), over)
