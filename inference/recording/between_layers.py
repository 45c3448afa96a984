"""Keeps what each layer handed on and chose, batch by batch, in files beside the store.

They are read and written in order, so the system keeps in memory what fits and leaves the rest on
disk. A layer counts once its list is there: a pass that is killed goes on after the last one.
"""

import json
from collections.abc import Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ...configs.ownership import make_ours, remove_ours
from ...configs.whole_files import write_json

Tensors = Sequence[Tensor | None]
Header = list[list[Any] | None]  # of each tensor: dtype, shape, first byte
KEY_FILE = "pass.json"


class BetweenLayers:
    """The files of one pass.

    Args:
        folder: where they lie; made when it is first needed.
        key: hash of all that decides the store; files under another key are thrown away.

    Attributes:
        num_layers: layers that are finished.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self._key = folder, key
        self.num_layers = 0
        self._headers: dict[str, list[Any]] = {}
        self._open: dict[str, BufferedReader] = {}

    def resume(self) -> None:
        """Finds the layers that an earlier pass has finished; what it left otherwise is removed."""
        try:
            found = json.loads((self.folder / KEY_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None
        if found != self._key:
            remove_ours(self.folder, "paths.routing")
            make_ours(self.folder, "paths.routing")
            write_json(self.folder / KEY_FILE, self._key)
        self.num_layers = 0
        while (list_ := self._list(self.num_layers)).exists():
            for name, headers in json.loads(list_.read_text(encoding="utf-8")).items():
                self._headers[name] = headers
            self.num_layers += 1

    def writer(self) -> "LayerWriter":
        """Returns what writes the next layer."""
        return LayerWriter(self)

    def handed_on(self, batch: int) -> Any:
        """Returns what the last finished layer gave for a batch: a tensor, or a tuple."""
        name = f"outputs-{self.num_layers - 1}"
        is_tensor, header = self._headers[name][batch]
        tensors = self._read(name, header)
        return tensors[0] if is_tensor else tuple(tensors)

    def chosen(self, batch: int, layer: int) -> dict[int, tuple[Tensor, ...]]:
        """Returns what a layer chose for a batch: place in the capture → its tensors."""
        name = f"choices-{layer}"
        return {
            place: tuple(t for t in self._read(name, header) if t is not None)
            for place, header in self._headers[name][batch]
        }

    def discard(self) -> None:
        """Removes all files."""
        self.close()
        remove_ours(self.folder, "paths.routing")

    def close(self) -> None:
        """Closes the files that are being read."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    def finish_layer(self, headers: Mapping[str, list[Any]]) -> None:
        """Lists the layer that was written, and drops what the layer before it handed on."""
        write_json(self._list(self.num_layers), headers)
        self._headers |= headers
        self.close()
        (self.folder / f"outputs-{self.num_layers - 1}.bin").unlink(missing_ok=True)
        self._headers.pop(f"outputs-{self.num_layers - 1}", None)
        self.num_layers += 1

    def _list(self, layer: int) -> Path:
        return self.folder / f"layer-{layer}.json"

    def _read(self, name: str, header: Header) -> list[Tensor | None]:
        if name not in self._open:
            self._open[name] = (self.folder / f"{name}.bin").open("rb")
        return [None if each is None else _read_tensor(self._open[name], *each) for each in header]


class LayerWriter:
    """Writes one layer's outputs and choices, batch after batch."""

    def __init__(self, between: BetweenLayers) -> None:
        self._between, layer = between, between.num_layers
        self._headers: dict[str, list[Any]] = {f"outputs-{layer}": [], f"choices-{layer}": []}
        self._files = [(between.folder / f"{name}.bin").open("wb") for name in self._headers]

    def __enter__(self) -> "LayerWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for file in self._files:
            file.close()
        if kind is None:
            self._between.finish_layer(self._headers)

    def add(self, output: Any, choices: Mapping[int, Sequence[Tensor]]) -> None:
        """Writes a batch: what the layer returned, and what it chose, if it has experts."""
        is_tensor = isinstance(output, Tensor)
        outputs, chosen = self._headers.values()
        outputs.append([is_tensor, _write(self._files[0], [output] if is_tensor else output)])
        chosen.append([[place, _write(self._files[1], t)] for place, t in choices.items()])


def _write(file: BinaryIO, tensors: Tensors) -> Header:
    header: Header = []
    for tensor in tensors:
        if tensor is None:
            header.append(None)
            continue
        header.append([str(tensor.dtype).removeprefix("torch."), list(tensor.shape), file.tell()])
        flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        file.write(flat.numpy().data)
    return header


def _read_tensor(file: BufferedReader, dtype: str, shape: list[int], start: int) -> Tensor:
    empty = torch.empty(shape, dtype=getattr(torch, dtype))
    file.seek(start)
    file.readinto(empty.view(-1).view(torch.uint8).numpy().data)
    return empty
