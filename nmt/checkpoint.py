"""Files of tensors that are whole or absent, and know it: weights, their mean, and what a training needs to go on."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from nmt.config import InputError
from nmt.lines import written_aside


def save_tensors(path: Path, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
    """Write tensors and notes (as JSON in the header) to a file that is whole or, when this fails, as it was before.

    The header also holds the sums of both, as a disk or a copy may change a byte and the format would not tell.
    """
    plain = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    text = json.dumps(notes)
    with written_aside(path) as file:
        sums = {"notes_sha256": _sum_of_text(text), "tensors_sha256": _sum_of_tensors(plain)}
        # One entry, as the order of several is not always the same.
        file.write(safetensors.torch.save(plain, {"nmt": json.dumps({"notes": text} | sums)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and notes that `save_tensors` wrote; raises InputError where the file is missing or broken."""
    with _reading(path) as file:
        names: list[str] = file.keys()
        tensors = {name: file.get_tensor(name) for name in names}
        header = json.loads(file.metadata()["nmt"])
        _check(header["tensors_sha256"], _sum_of_tensors(tensors))
        return tensors, _notes(header)


def load_notes(path: Path) -> dict[str, Any]:
    """The notes alone."""
    with _reading(path) as file:
        return _notes(json.loads(file.metadata()["nmt"]))


def _notes(header: dict[str, str]) -> dict[str, Any]:
    _check(header["notes_sha256"], _sum_of_text(header["notes"]))
    notes: dict[str, Any] = json.loads(header["notes"])
    return notes


def _check(written: str, read: str) -> None:
    if written != read:
        raise ValueError("its bytes are not those that were written, by their sum")


def _sum_of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sum_of_tensors(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{path.absolute()}: no such checkpoint") from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path.absolute()}: not a checkpoint of nmt, or a broken one, to restore or delete: {error}"
        ) from None


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A model's weights by name, tied ones once."""
    return dict(model.named_parameters())


@torch.no_grad()
def load_weights(model: nn.Module, weights: dict[str, Tensor], origin: Path) -> None:
    """Copy weights into a model of the same shape; raises InputError where they do not fit it."""
    own = weights_of(model)
    misfit = sorted(
        name
        for name in own.keys() | weights.keys()
        if name not in own or name not in weights or own[name].shape != weights[name].shape
    )
    if misfit:
        raise InputError(f"{origin.absolute()}: does not fit the run's model, in {', '.join(misfit[:3])}")
    for name, parameter in own.items():
        parameter.copy_(weights[name])


def mean_weights(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of several checkpoints' weights (Vaswani et al. 2017, 6.1, average the last 5)."""
    total: dict[str, Tensor] = {}
    for path in paths:
        for name, tensor in load_tensors(path)[0].items():
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    return {name: (tensor / len(paths)).float() for name, tensor in total.items()}
