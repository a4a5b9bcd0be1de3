"""Storage of trained models in a folder: weights in safetensors, the rest in JSON. No pickle, so loading runs no code."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from mudata import MuData
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from midas.columns import writable
from midas.config import Config
from midas.data.joint import joining
from midas.data.measured import flags_in
from midas.data.read_options import ReadOptions
from midas.data.schema import MosaicSchema
from midas.files import apply_umask, check_writable, holds_only, replacing
from midas.keys import READINGS
from midas.learned import Learned
from midas.readings import Readings
from midas.spread import Spread

FORMAT = 2  # 1: before the configuration keys were renamed
_PARTS = ("versions", "created", "sha256", "config", "seed", "standard_u", "card", "history", "schema")
_CARD, _WEIGHTS, _CELLS, _SAMPLE = "model.json", "weights.safetensors", "cells.h5ad", "sample.h5mu"

# Other tensors in the file of the weights: ``spread.<modality>``; batch distances, and measured features unless all
# were, in the order of the schema's batches.
_SPREAD, _DISTANCES, _MEASURED = "spread.", "batch_distances", "measured."
_FILES = (_CARD, _WEIGHTS, _CELLS, _SAMPLE)


class ModelFileError(ValueError):
    """A folder does not hold a model that this version can read."""


@dataclass(frozen=True)
class StoredModel:
    """Everything that is stored of a model.

    Attributes
    ----------
    config, schema, seed
        Configuration, schema and seed of the model.
    weights
        Weights of the VAE.
    learned
        What the model has learned besides its weights.
    sample
        Counts of some of its cells; None for none.
    read_options
        Options its data were read with; stored without `modalities`, which are in the schema.
    """

    config: Config
    schema: MosaicSchema
    seed: int
    weights: dict[str, torch.Tensor]
    learned: Learned
    sample: MuData | None = None
    read_options: ReadOptions = field(default_factory=ReadOptions)


def check_folder(folder: Path) -> None:
    """Raise an error if a model cannot be written to the folder, or would replace anything but an older model.

    Raises
    ------
    FileExistsError, PermissionError
        When `folder` holds anything but a model, or cannot be written.
    """
    strangers: list[str] = []
    if folder.is_dir():
        strangers = sorted({path.name for path in folder.iterdir()} - set(_FILES))
    if strangers or (folder.exists() and not folder.is_dir()):
        found = f"{len(strangers)} other files, such as {strangers[0]}" if strangers else "a file"
        msg = f"{folder}: expected a new folder, or one that holds a midas model alone, found {found}. Choose another place."
        raise FileExistsError(msg)
    check_writable(folder, folder=True)


def write_model(folder: Path, model: StoredModel) -> None:
    """Write a model, atomically replacing an older one.

    Raises
    ------
    FileExistsError, PermissionError
        As :func:`check_folder`.
    """
    check_folder(folder)
    with replacing(folder, replaceable=holds_only(*_FILES)) as scratch:
        scratch.mkdir()
        learned, options, names = model.learned, model.read_options, list(model.schema.batches)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.weights.items()}
        beside = {_SPREAD + name: torch.from_numpy(part.excess) for name, part in learned.spread.items()}
        if not learned.distances.empty:
            distances = learned.distances.reindex(index=names, columns=names).to_numpy(dtype=np.float32)
            beside[_DISTANCES] = torch.from_numpy(np.ascontiguousarray(distances))
        for name, table in learned.measured.items():
            if not table.to_numpy().all():
                measured = table.reindex(index=names, fill_value=True).to_numpy(dtype=np.uint8)
                beside[_MEASURED + name] = torch.from_numpy(np.ascontiguousarray(measured))
        save_file(weights | beside, scratch / _WEIGHTS)
        apply_umask(scratch / _WEIGHTS)
        cells = _with_readings(learned)
        if cells is not None:
            cells.write_h5ad(scratch / _CELLS)
        if model.sample is not None:
            model.sample.write_h5mu(scratch / _SAMPLE)
        description = {
            "format": FORMAT,
            "versions": {name: importlib.metadata.version(name) for name in ("midas-mosaic", "torch", "anndata")},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "sha256": {path.name: _sha256(path) for path in sorted(scratch.iterdir())},
            "config": model.config.to_dict(),
            "seed": model.seed,
            "standard_u": learned.standard_u.tolist(),
            "card": learned.card,
            "history": learned.history,
            "interrupted": learned.interrupted,
            "schema": model.schema.to_dict(),
            "renamed": dict(options.renamed),
            "batch_key": options.batch_key,
            "layer": dict(options.layer) if isinstance(options.layer, Mapping) else options.layer,
            "measured": {name: _table_to_json(table) for name, table in (options.measured or {}).items()},
        }
        (scratch / _CARD).write_text(json.dumps(description, indent=1), encoding="utf-8")


def read_model(folder: Path) -> StoredModel:
    """Read a model.

    Raises
    ------
    ModelFileError
        If there is none, or it is damaged or of another format.
    """
    description = read_card(folder)
    if _WEIGHTS not in description["sha256"]:
        msg = f"{folder / _CARD}: expected the sha256 of {_WEIGHTS}, found none."
        raise ModelFileError(msg)
    raw = _checked(folder, _WEIGHTS, description).read_bytes()
    try:
        tensors = load(raw)
        schema = MosaicSchema.from_dict(description["schema"])
        distances, names = tensors.pop(_DISTANCES, None), list(schema.batches)
        spread = {name: tensors.pop(name).numpy() for name in list(tensors) if name.startswith(_SPREAD)}
        measured = {name: _measured(schema, name, tensors.pop(_MEASURED + name, None)) for name in schema.modalities}
        has_cells = _CELLS in description["sha256"]
        cells, readings = _read_cells(_checked(folder, _CELLS, description)) if has_cells else (None, None)
        learned = Learned(
            standard_u=np.asarray(description["standard_u"], dtype=np.float32),
            history=description["history"],
            interrupted=bool(description.get("interrupted", False)),  # older models do not tell
            card=description["card"],
            cells=cells,
            distances=pd.DataFrame() if distances is None else pd.DataFrame(distances.numpy(), names, names),
            measured=measured,
            spread={name.removeprefix(_SPREAD): Spread(values) for name, values in spread.items()},
            readings=readings,
        )
        given = {name: pd.DataFrame(**table) for name, table in description.get("measured", {}).items()}
        options = ReadOptions(
            batch_key=description.get("batch_key", "batch"),  # older models do not tell
            layer=description.get("layer"),
            measured=given or None,
            renamed=dict(description.get("renamed", {})),
        )
        return StoredModel(
            config=Config.from_dict(description["config"]),
            schema=schema,
            seed=int(description["seed"]),
            weights=tensors,
            learned=learned,
            read_options=options,
        )
    except ModelFileError:
        raise
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        msg = (
            f"{folder}: expected a midas model of format {FORMAT}, found one with parts missing or changed ({error!r})."
        )
        raise ModelFileError(msg) from error


def _measured(schema: MosaicSchema, modality: str, saved: torch.Tensor | None) -> pd.DataFrame:
    having = np.flatnonzero(schema.batches_with[modality])
    features = schema.modalities[modality].features
    values = np.ones((len(schema.batches), len(features))) if saved is None else saved.numpy()
    return pd.DataFrame(values[having].astype(bool), [schema.batches[code] for code in having], features)


def _table_to_json(table: pd.DataFrame) -> dict[str, list[Any]]:
    flags = [flags_in(table.iloc[:, i], "measured=").tolist() for i in range(table.shape[1])]
    return {
        "data": [list(row) for row in zip(*flags, strict=True)],
        "index": [str(name) for name in table.index],
        "columns": [str(name) for name in table.columns],
    }


def _with_readings(learned: Learned) -> AnnData | None:
    """Table of a model's cells, in the format of the file."""
    if learned.cells is None:
        return None
    with warnings.catch_warnings():  # a query may share cell names with the reference
        warnings.filterwarnings("ignore", message=".*names are not unique")
        cells = learned.cells.copy()
    cells.obs = writable(cells.obs)
    if learned.readings is not None:
        cells.uns[READINGS] = {"rows": learned.readings.rows, "c": dict(learned.readings.c)}
    return cells


def _read_cells(path: Path) -> tuple[AnnData, Readings | None]:
    cells = ad.read_h5ad(path)
    read = cells.uns.pop(READINGS, None)
    return cells, None if read is None else Readings(np.asarray(read["rows"]), read["c"])


def has_sample(folder: Path) -> bool:
    """Whether a model keeps counts of some of its cells."""
    return _SAMPLE in read_card(folder)["sha256"]


def weights_in(folder: Path) -> str:
    """sha256 of a model's weights, to detect that a folder was overwritten by another model."""
    return str(read_card(folder)["sha256"][_WEIGHTS])


def read_sample(folder: Path, weights: str) -> MuData | None:
    """Read the counts that a model keeps of some of its cells; None when it keeps none.

    Parameters
    ----------
    folder
        Where it was read from.
    weights
        As :func:`weights_in` gave then.

    Raises
    ------
    ModelFileError
        When they are damaged, or of another model.
    """
    description = read_card(folder)
    if description["sha256"][_WEIGHTS] != weights:
        msg = (
            f"{folder}: expected the model that was loaded from there, whose counts are wanted, found another in its place. Save "
            "models that go on from a reference beside it, not over it."
        )
        raise ModelFileError(msg)
    if _SAMPLE not in description["sha256"]:
        return None
    with joining():
        sample: MuData = mudata.read_h5mu(_checked(folder, _SAMPLE, description))
    return sample


def _checked(folder: Path, name: str, description: dict[str, Any]) -> Path:
    """Path of one of a model's files, after checking that it exists and is unmodified."""
    path = folder / name
    if not path.is_file():
        msg = f"{folder}: expected the file {name}, found none. Copy the whole folder."
        raise ModelFileError(msg)
    if _sha256(path) != description["sha256"][name]:
        msg = f"{path}: the file is damaged (its sha256 is not the one in {_CARD}). Copy it again."
        raise ModelFileError(msg)
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_card(folder: Path) -> dict[str, Any]:
    """Read the description of a model, without its weights.

    Raises
    ------
    ModelFileError
        As :func:`read_model`.
    """
    path = folder / _CARD
    if folder.is_file():
        msg = f"{folder}: expected a folder that MIDAS.save() or midas integrate --model wrote, found a file."
        raise ModelFileError(msg)
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        there = ", ".join(sorted(p.name for p in folder.iterdir())) if folder.is_dir() else "no folder"
        msg = f"{folder}: expected a folder with {_CARD} and {_WEIGHTS}, found {there or 'an empty folder'}."
        raise ModelFileError(msg) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        msg = f"{path}: expected the description of a midas model, found a damaged or foreign file ({error})."
        raise ModelFileError(msg) from error
    found = description.get("format") if isinstance(description, dict) else None
    if not isinstance(found, int):
        msg = f"{path}: expected the description of a midas model, found JSON of something else."
        raise ModelFileError(msg)
    if found > FORMAT:
        version = description.get("versions", {}).get("midas-mosaic", "a newer version")
        msg = f"{folder}: expected a model of format {FORMAT}, found {found}. Install midas-mosaic {version} or later."
        raise ModelFileError(msg)
    if found < FORMAT:
        msg = (
            f"{folder}: expected a model of format {FORMAT}, found {found}, whose settings have other names. Train it anew, or "
            "read it with the version that wrote it."
        )
        raise ModelFileError(msg)
    missing = [name for name in _PARTS if name not in description]
    if missing:
        msg = f"{path}: expected the description of a midas model, found one without {', '.join(missing)}."
        raise ModelFileError(msg)
    return dict(description)
