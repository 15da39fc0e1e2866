"""Weights on disk: what is written comes back, what is broken is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from qsmprep.qsm.diffusion import weights
from qsmprep.qsm.diffusion.denoiser import Architecture, Denoiser
from qsmprep.qsm.diffusion.weights import load_weights, save_weights

SMALL = Architecture(channels=(8, 16), blocks=(1, 1), embedding=32, sigma_data_ppm=0.04)


@pytest.fixture
def denoiser():
    torch.manual_seed(0)
    denoiser = Denoiser(SMALL)
    torch.nn.init.normal_(denoiser.last.weight)
    return denoiser


@pytest.fixture
def path(denoiser, tmp_path):
    save_weights(denoiser, tmp_path / 'prior.safetensors', {'heads': '40'})
    return tmp_path / 'prior.safetensors'


def test_what_is_written_comes_back(denoiser, path):
    prior = load_weights(path)
    noisy = 0.1 * torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    arguments = noisy, torch.tensor(0.03), torch.ones(3)
    assert prior.denoiser.architecture == SMALL
    assert prior.metadata == {'heads': '40'}
    assert prior.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not prior.denoiser.training
    found = prior.denoiser(*arguments)
    assert not found.requires_grad
    torch.testing.assert_close(found, denoiser(*arguments), rtol=0.01, atol=1e-4)
    assert (found - noisy).std() > 0.01
    for name, weight in prior.denoiser.state_dict().items():
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, denoiser.state_dict()[name].half().float())


def test_saving_again_changes_nothing(path, tmp_path):
    prior = load_weights(path)
    sha256 = save_weights(prior.denoiser, tmp_path / 'again', prior.metadata)
    again = load_weights(tmp_path / 'again')
    assert again.sha256 == sha256
    for one, other in zip(prior.denoiser.parameters(), again.denoiser.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_file_is_half_the_size_of_the_network(denoiser, path):
    assert path.stat().st_size < 2 * denoiser.parameter_count + 8192


def shipped(monkeypatch, path, sha256):
    monkeypatch.setattr(weights, 'files', lambda package: path.parent)
    monkeypatch.setattr(weights, 'SHIPPED_SHA256', sha256)


def test_shipped_weights_are_verified(monkeypatch, path):
    sha256 = load_weights(path).sha256
    shipped(monkeypatch, path, sha256)
    assert load_weights().sha256 == sha256
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    assert load_weights(path).sha256 != sha256
    with pytest.raises(ValueError, match=rf'{path.name} has the SHA-256 .*, not {sha256}'):
        load_weights()


def test_unpinned_weights_are_not_taken_for_shipped_ones(monkeypatch, path):
    shipped(monkeypatch, path, '')
    with pytest.raises(ValueError, match='not that of shipped weights'):
        load_weights()


def test_missing_weights_tell_how_to_train(monkeypatch, tmp_path):
    shipped(monkeypatch, tmp_path / 'prior.safetensors', '')
    with pytest.raises(FileNotFoundError, match=r'prior\.safetensors; train them'):
        load_weights()
    with pytest.raises(FileNotFoundError, match='absent'):
        load_weights(tmp_path / 'absent')


def tensors(denoiser):
    return {name: weight.contiguous() for name, weight in denoiser.state_dict().items()}


@pytest.mark.parametrize('number', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_refused(denoiser, tmp_path, number):
    broken = tensors(denoiser)
    broken['last.bias'] = torch.tensor([number])
    path = tmp_path / 'broken'
    save_file(broken, path, {'architecture': json.dumps(asdict(SMALL))})
    with pytest.raises(ValueError, match=r'broken are not finite: last\.bias'):
        load_weights(path)


def test_weights_too_large_for_half_precision_are_not_saved(denoiser, tmp_path):
    torch.nn.init.constant_(denoiser.last.bias, 1e5)
    with pytest.raises(ValueError, match=r'last\.bias'):
        save_weights(denoiser, tmp_path / 'large', {})
    assert not (tmp_path / 'large').exists()


@pytest.mark.parametrize(
    ('metadata', 'reason'),
    [
        (None, 'does not tell its architecture'),
        ({'architecture': 'U-Net'}, 'does not hold weights of the prior'),
        ({'architecture': '[16, 32]'}, 'does not hold weights of the prior'),
        ({'architecture': '{"attention": true}'}, 'attention'),
        ({'architecture': '{"channels": [512, 512], "blocks": [9, 9]}'}, 'at most 8000000'),
        ({'architecture': '{"channels": [16, 1e9], "blocks": [1, 1]}'}, 'cannot be built'),
        ({'architecture': '{}'}, r'Missing key'),
    ],
)
def test_a_header_that_does_not_fit_is_refused(denoiser, tmp_path, metadata, reason):
    path = tmp_path / 'foreign.safetensors'
    save_file(tensors(denoiser), path, metadata)
    with pytest.raises(ValueError, match=rf'(?s)foreign\.safetensors.*{reason}'):
        load_weights(path)


def test_other_files_are_refused_and_never_unpickled(tmp_path, denoiser):
    torch.save(denoiser.state_dict(), tmp_path / 'pickle')
    (tmp_path / 'empty').touch()
    for name in ('pickle', 'empty'):
        with pytest.raises(ValueError, match=f'{name} does not hold weights'):
            load_weights(tmp_path / name)
