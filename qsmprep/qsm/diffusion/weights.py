"""Weights of the prior on disk: saved, found, verified."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from qsmprep.qsm.diffusion.denoiser import Architecture, Denoiser

SHIPPED = 'prior.safetensors'
SHIPPED_SHA256 = '1969ceeec0f89064e7304574b2b503f7a83898bdd0ac12c3f5543ff38146cac0'
"""SHA-256 of the weights that come with the package."""


@dataclass(frozen=True)
class LoadedPrior:
    """A trained network and where it came from.

    Parameters
    ----------
    denoiser
        Network on its device, in evaluation mode, without gradients to its weights.
    sha256
        SHA-256 of the file, hexadecimal.
    metadata
        What its maker wrote into the header.

    """

    denoiser: Denoiser
    sha256: str
    metadata: dict[str, str]


def save_weights(denoiser: Denoiser, path: str | Path, metadata: dict[str, str]) -> str:
    """Write a network as half-precision safetensors, its architecture in the header.

    Parameters
    ----------
    denoiser
        Network to save.
    path
        File to write.
    metadata
        Anything worth knowing of the training, as strings.

    Returns
    -------
    str
        SHA-256 of the file, hexadecimal.

    Raises
    ------
    ValueError
        If a weight is not finite in half precision.

    """
    tensors = {
        name: tensor.detach().half().cpu().contiguous()
        for name, tensor in denoiser.state_dict().items()
    }
    _check_finite(tensors, path)
    architecture = json.dumps(asdict(denoiser.architecture))
    save_file(tensors, path, {**metadata, 'architecture': architecture})
    return _sha256(Path(path))


def load_weights(path: str | Path | None = None, device: torch.device | str = 'cpu') -> LoadedPrior:
    """Read a network; nothing in the file is executed.

    Parameters
    ----------
    path
        File written by :func:`save_weights`; None for the weights that come with the package, whose
        hash is verified.
    device
        Where to put the network.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not the one that was shipped, not what :func:`save_weights` writes, or holds
        weights that are not finite or a network that is too large.

    """
    shipped = path is None
    path = Path(str(files('qsmprep.data') / SHIPPED) if path is None else path)
    if not path.is_file():
        raise FileNotFoundError(
            f'There are no weights of the prior at {path}; train them '
            '(python -m qsmprep.training) or name a file that holds some.'
        )
    sha256 = _sha256(path)
    if shipped and sha256 != SHIPPED_SHA256:
        raise ValueError(
            f'{path} has the SHA-256 {sha256}, not {SHIPPED_SHA256 or "that of shipped weights"}; '
            'install the package again, or name the file if you trust it.'
        )
    try:
        with safe_open(path, framework='pt') as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        architecture = Architecture(**json.loads(metadata.pop('architecture')))
        with torch.device('meta'):
            denoiser = Denoiser(architecture)
        denoiser.load_state_dict(tensors, assign=True)
    except KeyError as error:
        raise ValueError(f'{path} does not tell its architecture; save it again.') from error
    except (SafetensorError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f'{path} does not hold weights of the prior: {error}') from error
    _check_finite(tensors, path)
    denoiser.to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return LoadedPrior(denoiser.eval().requires_grad_(False), sha256, metadata)


def _check_finite(tensors: dict[str, torch.Tensor], path: str | Path) -> None:
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(f'Weights for {path} are not finite: {", ".join(broken)}.')


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
