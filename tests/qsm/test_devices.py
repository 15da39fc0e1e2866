"""No mix-up of devices: every inversion and the training run on an accelerator that is pretended.

Tensors on the pretended device hold their values on the CPU and say that they are on ``meta``.
Every operation that PyTorch does on them is caught: it fails where a real accelerator would, if it
is given tensors or generators of two devices, and is done on the CPU otherwise. So the result
must be that of the CPU, to the bit.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from qsmprep.methods import INVERSIONS
from qsmprep.qsm import inversion
from qsmprep.qsm.diffusion import ancestral
from qsmprep.qsm.diffusion.denoiser import Architecture, Denoiser
from qsmprep.qsm.diffusion.weights import save_weights
from qsmprep.qsm.diffusion.windows import Windows
from qsmprep.qsm.inversion.inr_qsm import fit
from qsmprep.qsm.simulate.stream import Specimen, draw_windows
from qsmprep.training.trainer import Trainer

AWAY, HERE = torch.device('meta'), torch.device('cpu')
MAY_MIX = {'aten::copy_', 'aten::_to_copy', 'aten::index', 'aten::index_put_'}
"""Copies go between devices, and indices may come from the CPU."""

SMALL = Architecture(channels=(4, 8), blocks=(1, 1), embedding=16)
CHEAP = {
    'inr': {'iterations': 20},
    'inr-qsm': {'width': 16, 'warm_up': 1, 'epochs': 1},
    'diffusion-qsm': {'steps': 3, 'late_steps': 1},
    'dm-qsm': {'steps': 2},
}
OF_SEED = 2**63
"""Added to the seeds of generators on the pretended device, which tells them from others."""


class Elsewhere(torch.Tensor):
    """A tensor with values on the CPU that says that it is on the pretended device."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=AWAY,
        )

    def __init__(self, held):
        self.held = held

    def __repr__(self):
        return f'Elsewhere({tuple(self.shape)})'

    def tolist(self):
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


class Accelerator(TorchDispatchMode):
    """Catches operations without tensors too, such as those that make them."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def run(func, args, kwargs):
    """Do an operation as an accelerator would: complain of what is on another device."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    away = [x for x in tensors if isinstance(x, Elsewhere)]
    device = kwargs.get('device')
    goal = device or (AWAY if away else HERE)
    name = func._schema.name
    if name == 'aten::copy_':
        goal = args[0].device
    elif away and name not in MAY_MIX:
        home = [tuple(x.shape) for x in tensors if not isinstance(x, Elsewhere) and x.dim()]
        assert not home, f'{func}: arrays {home} are on the CPU, others on the accelerator'
    generator = kwargs.get('generator')
    if generator is not None:
        drawn = AWAY if generator.initial_seed() >= OF_SEED else HERE
        assert drawn == goal, f'{func}: the generator is on {drawn}, the tensor on {goal}'
    if device is not None:
        kwargs = {**kwargs, 'device': HERE}
    shells = {id(x.held): x for x in away}
    result = func(*tree_map_only(Elsewhere, lambda x: x.held, args),
                  **tree_map_only(Elsewhere, lambda x: x.held, kwargs))  # fmt: skip

    def wrapped(tensor):
        # what was changed in place is what was given
        if id(tensor) in shells:
            return shells[id(tensor)]
        return Elsewhere(tensor) if goal == AWAY else tensor

    return tree_map_only(torch.Tensor, wrapped, result)


class Generator(torch.Generator):
    """A generator that may be on the pretended device."""

    def __new__(cls, device='cpu'):
        return super().__new__(cls)

    def __init__(self, device='cpu'):
        self.place = torch.device(device)

    @property
    def device(self):
        return self.place

    def manual_seed(self, seed):
        return super().manual_seed(seed + (OF_SEED if self.place == AWAY else 0))


@pytest.fixture
def accelerator(monkeypatch):
    """Pretend that there is one; its name is 'meta'."""

    def moved(make):
        def make_there(*args, device=None, **keywords):
            made = make(*args, **keywords)
            return made if device is None else made.to(device)

        return make_there

    for name in ('tensor', 'as_tensor', 'asarray'):
        monkeypatch.setattr(torch, name, moved(getattr(torch, name)))
    autocast, adam = torch.autocast, torch.optim.Adam
    monkeypatch.setattr(torch.optim, 'Adam', lambda *args, fused=None, **keys: adam(*args, **keys))
    monkeypatch.setattr(torch, 'autocast', lambda kind, *args: autocast('cpu', *args))
    monkeypatch.setattr(torch, 'Generator', Generator)
    monkeypatch.setattr(inversion, '_torch_device', torch.device)
    with Accelerator():
        yield AWAY


@pytest.fixture(scope='module')
def prior(tmp_path_factory):
    torch.manual_seed(0)
    denoiser = Denoiser(SMALL)
    with torch.no_grad():
        for weight in denoiser.parameters():
            weight.add_(0.05 * torch.randn(weight.shape))
    path = tmp_path_factory.mktemp('prior') / 'prior.safetensors'
    save_weights(denoiser, path, {})
    return str(path)


@pytest.mark.parametrize('method', INVERSIONS)
def test_an_inversion_keeps_to_its_device(make_scan, prior, method, request, monkeypatch):
    # networks of a few steps explain little; there are several, and the prior sees parts
    monkeypatch.setattr(inversion, 'LEAST_EXPLAINED', -1e6)
    monkeypatch.setattr(fit, 'LEAST_STEPS', 5)
    monkeypatch.setattr(fit, 'MOST_VOXELS', 500)
    monkeypatch.setattr(ancestral, 'WHOLE', Windows(size=8, overlap=0, halo=4, multiple=2))
    scan = make_scan((16, 18, 14), noise=0.001)
    parameters = dict(CHEAP.get(method, {}))
    if 'prior' in INVERSIONS[method].parameters():
        parameters['prior'] = prior
    field, mask = scan.field.numpy(), scan.mask.numpy()
    keywords = {'noise_ppm': np.full(mask.shape, 0.001, np.float32), **parameters}
    expected = inversion.invert(field, mask, scan.grid, method, **keywords).chi_ppm
    device = str(request.getfixturevalue('accelerator'))
    found = inversion.invert(field, mask, scan.grid, method, device=device, **keywords).chi_ppm
    assert np.isfinite(found).all()
    # the network is in half precision on the CPU alone; this one draws its weights on the device
    if method != 'inr-qsm':
        tolerance = 1e-3 if 'prior' in parameters else 1e-6
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_the_training_keeps_to_its_device(accelerator):
    x = torch.linspace(-20, 20, 48, device=accelerator)
    depth = (15 - (x[:, None, None] ** 2 + x[:, None] ** 2 + x**2).sqrt()).clamp(-8, 8)
    stack = torch.stack([0.05 * (depth > 0), 0.01 * (depth > 0), depth])
    specimen = Specimen.of(stack, 0.85)
    windows = draw_windows([specimen], (16,) * 3, 12, torch.Generator().manual_seed(0))
    assert windows.chi.device == windows.voxel_size.device == accelerator
    trainer = Trainer(
        Architecture(channels=(4, 8), blocks=(1, 1), embedding=16), device=accelerator
    )
    loss = trainer.step(windows)
    assert loss.device == accelerator
    assert 0 < float(loss) < 100


def test_a_mixture_of_devices_is_found(accelerator):
    there, here = torch.ones(3, device=accelerator), torch.ones(3)
    with pytest.raises(AssertionError, match='on the CPU'):
        there + here
    with pytest.raises(AssertionError, match='generator'):
        torch.randn(3, generator=torch.Generator(), device=accelerator)
    with pytest.raises(RuntimeError):
        there.numpy()
