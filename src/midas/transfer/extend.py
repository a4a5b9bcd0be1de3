"""Extend a reference's networks to a query: a schema that holds both, and the weights that carry over."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from midas.data.blocks import read_peaks
from midas.data.schema import ModalitySchema, MosaicSchema
from midas.training.start import start

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midas.data.mosaic import Mosaic
    from midas.nn import VAE

logger = logging.getLogger(__name__)


def extended(
    reference: MosaicSchema, query: MosaicSchema, *, keep_batches: bool, add_features: bool = True
) -> MosaicSchema:
    """Schema of a model that extends a reference to a query.

    Parameters
    ----------
    reference, query
        Schemas of the reference's model and of the query's data.
    keep_batches
        Whether to keep the reference's batches and append the query's.
    add_features
        Whether to add the query's extra features after the reference's (within each block, if there are blocks).

    Returns
    -------
    The reference's modalities and features in their order, followed by those that the query adds.
    """
    new = tuple(name for name in query.batches if name not in reference.batches)
    batches = (*reference.batches, *new) if keep_batches else query.batches
    modalities: dict[str, ModalitySchema] = dict(reference.modalities)
    for name, part in query.modalities.items():
        if name not in modalities:
            modalities[name] = part
        elif add_features:
            modalities[name] = _with_features(modalities[name], part.features)
    return MosaicSchema(
        batches,
        modalities,
        {
            name: tuple(
                (keep_batches and _has(reference, name, batch)) or _has(query, name, batch) for batch in batches
            )
            for name in modalities
        },
    )


def named_apart(own: Mosaic, taken: Sequence[str]) -> Mosaic:
    """Rename query batches whose names the reference also uses: a shared name does not make them one batch."""
    names = list(own.batches)
    for i, name in enumerate(names):
        number = 1
        while names[i] in taken or names[i] in names[:i]:
            names[i] = f"{name} (query)" if number == 1 else f"{name} (query {number})"
            number += 1
    new = {old: name for old, name in zip(own.batches, names, strict=True) if old != name}
    if not new:
        return own
    note = (
        f"Batches of the query are called like some of the reference's and were renamed: "
        f"{', '.join(f'{old} is {name}' for old, name in new.items())}."
    )
    logger.warning(note)
    schema = replace(own.schema, batches=tuple(new.get(name, name) for name in own.schema.batches))
    options = own.read_options
    measured = options.measured and {key: table.rename(index=new) for key, table in options.measured.items()}
    options = replace(options, renamed=new, measured=measured)
    return replace(own, schema=schema, batches=tuple(names), notes=(*own.notes, note), read_options=options)


def _has(schema: MosaicSchema, modality: str, batch: str) -> bool:
    return (
        modality in schema.modalities
        and batch in schema.batches
        and schema.batches_with[modality][schema.batches.index(batch)]
    )


def _with_features(known: ModalitySchema, features: pd.Index) -> ModalitySchema:
    extra = features[~features.isin(known.features)]
    if not len(extra):
        return known
    ends = np.cumsum(known.blocks)
    block = np.repeat(np.arange(len(known.blocks)), known.blocks)
    of_extra = _block_of(extra, known, ends)
    order = np.argsort(np.concatenate([block, of_extra]), kind="stable")
    sizes = np.bincount(np.concatenate([block, of_extra]), minlength=len(known.blocks))
    return replace(known, features=known.features.append(extra)[order], blocks=tuple(int(n) for n in sizes))


def _block_of(extra: pd.Index, known: ModalitySchema, ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Block of each new feature: that of its chromosome, or else the last one."""
    last = len(ends) - 1
    old, new = read_peaks(known.features), read_peaks(extra)
    if last == 0 or old is None or new is None:
        return np.full(len(extra), last, dtype=np.int64)
    block = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    at = dict(zip(old["chrom"], block.tolist(), strict=True))
    return new["chrom"].map(lambda chrom: at.get(chrom, last)).to_numpy(dtype=np.int64)


def carry_over(old: VAE, new: VAE, reference: MosaicSchema, schema: MosaicSchema) -> None:
    """Copy a reference's weights into networks of an extended schema, in place.

    Weights of features and batches are matched by name. New batches start as the mean of the reference's batches, and new encoder
    columns at zero, so that cells stay where the reference places them until something is learned. Everything else new keeps its
    random initialisation.
    """
    target = new.state_dict()
    source = {
        name: value.to(target[name].device) if name in target else value for name, value in old.state_dict().items()
    }
    carried = {name: value for name, value in source.items() if name in target and target[name].shape == value.shape}
    # Equal shapes do not imply equal batches or features, so these are matched by name.
    carried = {
        name: value for name, value in carried.items() if not name.startswith(("batch_encoder", "batch_decoder"))
    }
    target.update(carried)
    _carry_batches(source, target, reference.batches, schema.batches)
    _carry_coupling(source, target, old.depth_names, new.depth_names)
    for name, part in schema.modalities.items():
        if name in reference.modalities and len(part.features) != len(reference.modalities[name].features):
            _carry_features(source, target, name, reference.modalities[name], part)
    new.load_state_dict(target)


def start_features(vae: VAE, reference: MosaicSchema, query: Mosaic) -> None:
    """Initialise the decoders of features that the reference lacks at the query's mean, in place; the others are trained."""
    known = {name: part.features for name, part in reference.modalities.items()}
    new = {name: ~part.features.isin(known.get(name, ())) for name, part in query.schema.modalities.items()}
    start(vae, query, "means", new)


def _carry_batches(
    source: dict[str, torch.Tensor], target: dict[str, torch.Tensor], old: Sequence[str], new: Sequence[str]
) -> None:
    for prefix in ("batch_encoder.net", "batch_decoder"):
        inner = {name: value for name, value in source.items() if name.startswith(prefix)}
        target.update({name: value for name, value in inner.items() if target[name].shape == value.shape})
    first = "batch_encoder.net.hidden.0.linear.weight"
    if first not in source:
        first = "batch_encoder.net.out.weight"
    target[first] = _by_name(source[first].T, old, new).T.contiguous()
    for name in ("batch_decoder.out.weight", "batch_decoder.out.bias"):
        target[name] = _by_name(source[name], old, new)


def _carry_coupling(
    source: dict[str, torch.Tensor], target: dict[str, torch.Tensor], old: Sequence[str], new: Sequence[str]
) -> None:
    if old:
        coupling = target["decoder.depths.coupling"].clone()
        at = torch.tensor([new.index(name) for name in old])
        coupling[at[:, None], at] = source["decoder.depths.coupling"]
        target["decoder.depths.coupling"] = coupling


def _by_name(rows: torch.Tensor, old: Sequence[str], new: Sequence[str]) -> torch.Tensor:
    """Rows for the batches `new`: those of the same name in `old`, and their mean for the others."""
    at = dict(zip(old, rows, strict=True))
    return torch.stack([at.get(name, rows.mean(0)) for name in new])


def _carry_features(
    source: dict[str, torch.Tensor],
    target: dict[str, torch.Tensor],
    name: str,
    old: ModalitySchema,
    new: ModalitySchema,
) -> None:
    in_blocks = len(old.blocks) > 1 or old.bottleneck
    starts_old, starts_new = np.cumsum((0, *old.blocks)), np.cumsum((0, *new.blocks))
    for i in range(len(old.blocks)):
        mine = old.features[starts_old[i] : starts_old[i + 1]]
        theirs = new.features[starts_new[i] : starts_new[i + 1]]
        to = torch.from_numpy(theirs.get_indexer(mine).astype(np.int64))
        into = f"encoder.inputs.{name}." + (f"blocks.first.{i}.weight" if in_blocks else "first.linear.weight")
        columns = torch.zeros_like(target[into])
        columns[:, to] = source[into]
        target[into] = columns
        if in_blocks:
            bias = into.replace("weight", "bias")
            target[bias] = source[bias]
        out = f"decoder.outputs.{name}." + (f"blocks.last.{i}." if in_blocks else "linear.")
        for kind in ("weight", "bias"):
            rows = target[out + kind].clone()
            rows[to] = source[out + kind]
            target[out + kind] = rows
    at = torch.from_numpy(new.features.get_indexer(old.features).astype(np.int64))
    for by_feature in (f"decoder.outputs.{name}.extra", f"encoder.inputs.{name}.depth.profile"):
        if by_feature in source:
            values = target[by_feature].clone()
            values[at] = source[by_feature]
            target[by_feature] = values
