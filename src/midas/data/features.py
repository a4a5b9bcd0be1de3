"""The features of a mosaic: those of the data, or those of a model that the data contain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from midas.data.blocks import chromosomes, order_and_blocks
from midas.data.opened import Opened
from midas.data.parts import Part
from midas.data.schema import ModalitySchema
from midas.modality import Modality, preset
from midas.text import describe_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

# If a smaller fraction of a query's features match, but many more when ignoring case, the names are misspelt.
_FEW = 0.05
_RENAMES = "midas.pp.prepare(data, schema=model.schema) does so."


def own_features(opened: list[Opened], modalities: Mapping[str, Modality] | None) -> dict[str, ModalitySchema]:
    """Union of the features of all parts of each modality, in the order of a new model."""
    own = {}
    for name in sorted({each.part.name for each in opened}):
        modality = (modalities or {}).get(name) or preset(name)
        if modality is None:
            raise AssertionError(name)  # wanted_parts refused it
        mine = [each for each in opened if each.part.name == name]
        chroms: NDArray[np.object_] | None = None
        union = mine[0].features.append([other.features for other in mine[1:]])
        first = ~union.duplicated()
        if modality.blocks == "chromosome":
            found = [_chromosomes(each.part) for each in mine]
            if all(c is not None for c in found):
                chroms = np.concatenate([c for c in found if c is not None])[first]
        features = union[first]
        if not len(features):
            msg = f"Expected features in modality {name!r}, found none."
            raise ValueError(msg)
        order, blocks = order_and_blocks(features, chroms)
        own[name] = ModalitySchema(modality, features[order], blocks, bottleneck=modality.blocks == "chromosome")
    return own


def check_overlap(known: Mapping[str, ModalitySchema], opened: list[Opened], notes: list[str], *, adding: bool) -> None:
    """Note how many features match a model's, and raise an error if almost none do."""
    for each in opened:
        part, features = each.part, each.features
        if part.name not in known:
            continue
        wanted = known[part.name].features
        found = int(features.isin(wanted).sum())
        same_letters = int(letters_of(features).isin(letters_of(wanted)).sum())
        if not found or (found < _FEW * len(features) and same_letters > 5 * found):
            msg = (
                f"{part.label}: expected features of the model, such as {describe_names(wanted)}, found "
                f"{describe_names(features)}: {found or 'none'} {'is' if found < 2 else 'are'} shared."
                f"{_case_hint(found, same_letters)} Rename the features as in the model: {_RENAMES}"
            )
            raise ValueError(msg)
        missing, extra = len(wanted) - found, len(features) - found
        if missing or extra:
            fate = "added" if adding else "left out"
            notes.append(
                f"{part.label}: {found:,} of the model's {len(wanted):,} features found, {missing:,} are missing "
                f"(masked) and {extra:,} are unknown to the model ({fate})."
                f"{_case_hint(found, same_letters)}"
            )


def letters_of(names: pd.Index) -> pd.Index:
    """Normalise case and separators of names, for matching spellings (R turns ``HLA-DRA`` into ``HLA.DRA``)."""
    plain: pd.Index = names.str.lower().str.replace(r"[._ ]", "-", regex=True)
    return plain


def _case_hint(found: int, same_letters: int) -> str:
    """Hint on names that differ only in case, if there are many."""
    if same_letters - found <= _FEW * same_letters:
        return ""
    return f" {same_letters:,} match when case and punctuation are ignored: another species, or another spelling?"


def as_in_input(
    schema: ModalitySchema, parts: Sequence[Part], columns: Sequence[NDArray[np.int64]]
) -> tuple[pd.Index, NDArray[np.int64]]:
    """Order and spelling of the features in the input; features missing there come last."""
    spelled = [part.adata.var_names.astype(str).to_numpy() for part in parts]
    names = np.concatenate([*spelled, schema.features.to_numpy().astype(str)]).astype(object)
    column = np.concatenate([*columns, np.arange(schema.n_features)])
    names, column = names[column >= 0], column[column >= 0]
    first = np.sort(np.unique(column, return_index=True)[1])
    # Duplicate names in the input get the unique names of the schema.
    repeated = pd.Index(names[first]).duplicated(keep="first")
    return pd.Index(np.where(repeated, schema.features[column[first]], names[first])), column[first]


def _chromosomes(part: Part) -> NDArray[np.object_] | None:
    return chromosomes(pd.Index(part.adata.var_names.astype(str)), part.adata.var)
