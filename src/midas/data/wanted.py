"""Selection and naming of the modalities of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from midas import keys
from midas.data.parts import Part
from midas.data.schema import MosaicSchema
from midas.modality import PRESETS, Modality, preset


def named_as_in(schema: MosaicSchema, parts: list[Part]) -> list[Part]:
    """Rename the parts' modalities to the model's names: ``prot`` may be ``adt`` there."""
    return [replace(part, name=name_in(schema, part.name)) for part in parts]


def wanted_parts(
    parts: list[Part], schema: MosaicSchema | None, modalities: Mapping[str, Modality] | None, notes: list[str]
) -> list[Part]:
    """Select the parts known to a model, or raise an error for modalities without a definition.

    Raises
    ------
    KeyError, ValueError
        When modalities are missing or unknown, or have invalid names.
    """
    parts = _without_results(parts, modalities, notes)
    there = sorted({part.name for part in parts})
    if modalities is not None and set(modalities) - set(there):
        missing = ", ".join(sorted(set(modalities) - set(there)))
        msg = f"Expected the modalities {', '.join(sorted(modalities))}, found {', '.join(there)}: {missing} missing."
        raise KeyError(msg)
    if schema is not None:
        parts = named_as_in(schema, parts)
        there = sorted({part.name for part in parts})
        unknown = sorted(set(there) - set(schema.modalities))
        if len(unknown) == len(there):
            msg = f"Expected some of the model's modalities ({', '.join(schema.modalities)}), found {', '.join(there)}."
            raise ValueError(msg)
        if unknown:
            notes.append(f"The model has no {', '.join(unknown)}: left out.")
        return [part for part in parts if part.name in schema.modalities]
    for name in there:
        if preset(name) is None and (modalities is None or name not in modalities):
            msg = (
                f"Expected modalities called {', '.join(PRESETS)}, found {name!r}. Say what it is, for example "
                f"modalities={{{name!r}: midas.Modality('gaussian', 'identity')}}, or remove it."
            )
            raise ValueError(msg)
    _check_names(there)
    return parts


def _without_results(parts: list[Part], modalities: Mapping[str, Modality] | None, notes: list[str]) -> list[Part]:
    """Drop results in the data: modalities with decoded values for all cells."""
    names = {part.name for part in parts}
    decoded = {keys.all_cells(name, layer) for name in names for layer in (keys.IMPUTED, keys.CORRECTED)}
    left_out = sorted((names & decoded) - set(modalities or {}))
    if left_out:
        notes.append(f"{', '.join(left_out)}: decoded values of an earlier result, no counts; left out.")
    return [part for part in parts if part.name not in left_out]


def name_in(schema: MosaicSchema, name: str) -> str:
    """Name in the model of the modality that is called `name` in the data."""
    if name in schema.modalities or preset(name) is None:
        return name
    same = [other for other in schema.modalities if preset(other) is preset(name)]
    return same[0] if len(same) == 1 else name


def _check_names(names: list[str]) -> None:
    """Raise an error for invalid module names, and for two names of one modality."""
    for name in names:
        if not name.isidentifier() or hasattr(nn.ModuleDict, name):
            msg = f"Expected modality names of letters, digits and _, found {name!r} (or a reserved word). Rename it."
            raise ValueError(msg)
        same = [other for other in names if preset(name) is not None and preset(other) is preset(name)]
        if len(same) > 1:
            msg = f"Expected one name for one modality, found {' and '.join(same)}. Give it the same name everywhere."
            raise ValueError(msg)
