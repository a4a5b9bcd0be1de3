"""The cells of a mosaic in input order, with batch and obs columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from mudata import MuData

from midas.columns import Table, as_text, merged
from midas.data.parts import MosaicData, Part
from midas.text import counted, describe_names

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Cells:
    """All cells, and the positions of each part's cells among them.

    Attributes
    ----------
    names
        Of the cells, in the order of the input.
    positions
        For each part, its rows' positions among the cells.
    batches
        Names of the batches, sorted.
    batch
        Each cell's batch, as a position in `batches`.
    """

    names: pd.Index
    positions: tuple[NDArray[np.int64], ...]
    batches: tuple[str, ...]
    batch: NDArray[np.int64]

    def count(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count the `chosen` of the cells in each batch, `(n_batches,)`."""
        return np.bincount(self.batch[chosen], minlength=len(self.batches))


def order_of(parts: list[Part]) -> pd.Series:
    """Batch of each cell by name, in order of first occurrence in the parts."""
    table = pd.concat([pd.Series(part.batch.to_numpy(), part.adata.obs_names.astype(str)) for part in parts])
    return table[~pd.MultiIndex.from_arrays([table.index, table]).duplicated()]


def number_cells(parts: list[Part], order: pd.Series | None, notes: list[str], *, apart: bool) -> Cells:
    """Match the parts' cells by name, in input order.

    `apart`: whether the parts are separate objects.

    Raises
    ------
    ValueError
        When there are no cells, or a cell is assigned to two batches.
    """
    keys = _cell_keys(parts)
    plain = all(k.equals(pd.Index(p.adata.obs_names.astype(str))) for k, p in zip(keys, parts, strict=True))
    if not plain:
        torn = _torn_cells(parts)
        fewest = min(len({*part.adata.obs_names}) for part in parts) if len(torn) else 0
        refused = not apart or (len(torn) > fewest / 2 and not parts[0].keyed)
        _check_torn(torn, refused=refused, notes=notes)
    union = keys[0].append(keys[1:]).unique()
    if not len(union):
        raise ValueError("Expected cells, found none.")
    index, given = union, None
    if order is not None:
        wanted = order.index.astype(str)
        wanted = wanted if plain else pd.Index(order.astype(str).to_numpy() + "\x1f" + wanted.to_numpy())
        if wanted.is_unique and union.isin(wanted).all():
            index, given = wanted, order.to_numpy(dtype=object)
    positions = tuple(index.get_indexer(k).astype(np.int64) for k in keys)
    batch_of = np.full(len(index), "", dtype=object)
    for part, at in zip(parts, positions, strict=True):
        batch_of[at] = part.batch.to_numpy()
    # Cells without a modality get the batch given in the input, if it has other cells.
    lonely = np.flatnonzero(batch_of == "")
    if len(lonely):
        known = dict.fromkeys(batch_of[batch_of != ""])
        said = lonely if given is None else given[lonely]
        batch_of[lonely] = [name if name in known else next(iter(known)) for name in said]
    names = index if plain else pd.Index([key.split("\x1f")[1] for key in index])
    batches, batch = np.unique(batch_of.astype(str), return_inverse=True)
    return Cells(names, positions, tuple(batches.tolist()), batch.astype(np.int64))


def _cell_keys(parts: list[Part]) -> list[pd.Index]:
    """Unique key of each part's cells: name, or batch and name if a barcode occurs in several batches.

    Raises
    ------
    ValueError
        When names are not unique within a batch, so that several modalities cannot be matched.
    """
    by_modality: dict[str, list[Part]] = {}
    for part in parts:
        by_modality.setdefault(part.name, []).append(part)

    def joined(of: list[pd.Index]) -> pd.Index:
        return of[0].append(of[1:])

    def by_name(keys: list[pd.Index]) -> dict[str, pd.Index]:
        return {m: joined([k for k, p in zip(keys, parts, strict=True) if p.name == m]) for m in by_modality}

    names = [pd.Index(part.adata.obs_names.astype(str)) for part in parts]
    if all(k.is_unique for k in by_name(names).values()) and not _batches_differ(names, parts):
        return names
    qualified = [pd.Index(p.batch.to_numpy().astype(str) + "\x1f" + n) for p, n in zip(parts, names, strict=True)]
    per = by_name(qualified)
    if all(k.is_unique for k in per.values()) and not _batches_differ(qualified, parts):
        return qualified
    if len(by_modality) == 1:  # no matching needed: duplicates are numbered
        repeats = joined(qualified).to_series()
        number = repeats.groupby(repeats.to_numpy()).cumcount().to_numpy()
        unique = repeats.to_numpy() + np.where(number > 0, "\x1f" + number.astype(str), "")
        ends = np.cumsum([len(n) for n in names])[:-1]
        return [pd.Index(block) for block in np.split(unique, ends)]
    name, found = next((m, k) for m, k in per.items() if not k.is_unique)
    repeated = pd.Index([k.split("\x1f")[1] for k in found[found.duplicated()].unique()])
    msg = (
        f"Expected each cell once in a batch of modality {name!r}, as cells are matched by name; found repeated names: "
        f"{describe_names(repeated)}. Give them unique obs_names that are the same in every modality."
    )
    raise ValueError(msg)


def _batches_differ(keys: list[pd.Index], parts: list[Part]) -> bool:
    """Whether a key occurs in two batches: a barcode shared by two cells."""
    pairs = pd.DataFrame({"key": np.concatenate(keys), "batch": np.concatenate([p.batch.to_numpy() for p in parts])})
    return bool(pairs.drop_duplicates()["key"].duplicated().any())


def _torn_cells(parts: list[Part]) -> pd.Index:
    """Names that are unique within each modality, but have different batches in different modalities."""
    table = pd.DataFrame(
        {
            "modality": np.repeat([p.name for p in parts], [len(p.batch) for p in parts]),
            "cell": np.concatenate([p.adata.obs_names.astype(str) for p in parts]),
            "batch": np.concatenate([p.batch.to_numpy() for p in parts]),
        }
    )
    if table.duplicated(["modality", "cell"]).any():
        return pd.Index([])
    cells = table.drop_duplicates(["cell", "batch"])["cell"]
    torn: pd.Index = pd.Index(cells[cells.duplicated()].unique())
    return torn


def _check_torn(torn: pd.Index, *, refused: bool, notes: list[str]) -> None:
    """Raise an error, or add a note, for names with different batches in different modalities.

    Within one object, a name identifies a cell. Two batches may share some barcodes, but not most of them, unless each
    batch was given separately.
    """
    if not len(torn):
        return
    if refused:
        msg = (
            f"Expected modalities to agree on the batch of a cell, found {counted(len(torn), 'cell', 'cells')} with different "
            f"ones: {describe_names(torn)}. Mend the batch, or give other obs_names to what are different cells."
        )
        raise ValueError(msg)
    notes.append(
        f"{counted(len(torn), 'name stands', 'names stand')} for one batch in one modality and for another in the next "
        f"({describe_names(torn)}): taken as different cells. If they are the same, name one batch for both."
    )


def obs_of(data: MosaicData, parts: Sequence[Part], cells: Cells) -> pd.DataFrame:
    """Obs columns of the cells, `(n_cells, ...)`: global ones first, then those of the modalities."""
    names = cells.names
    tables = [Table(part.name, part.adata.obs, at) for part, at in zip(parts, cells.positions, strict=True)]
    if isinstance(data, MuData) and data.n_obs == len(names) and (data.obs_names.astype(str) == names).all():
        whole = data.obs.drop(columns=_copies(data))
        tables = [Table("", whole, np.arange(len(names))), *tables]
    obs = merged(tables, len(names)).set_axis(names)
    for column, values in obs.items():
        if values.dtype == object and all(isinstance(value, str) for value in values.dropna()):
            obs[column] = values.astype("category")
        elif isinstance(values.dtype, pd.CategoricalDtype):
            obs[column] = values.cat.remove_unused_categories()
    return obs


def _copies(data: MuData) -> list[str]:
    """Columns ``<modality>:<column>`` of the global obs that duplicate the modality's own obs."""
    found = []
    for name, adata in data.mod.items():
        own = adata.obs.set_axis(adata.obs_names.astype(str))
        names = data.obs_names.astype(str)
        for column in own.columns:
            key = f"{name}:{column}"
            if key not in data.obs.columns:
                continue
            if not own.index.is_unique or (as_text(data.obs[key]) == as_text(own[column].reindex(names))).all():
                found.append(key)
    return found
