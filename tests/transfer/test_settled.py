"""What a reference's networks have settled stays; what a query adds is learned, whatever is tuned."""

from __future__ import annotations

from collections.abc import Callable

import mudata as md
import numpy as np
import pytest

from helpers import joined, simulated, tiny
from midas import MIDAS, Modality
from midas.transfer import (
    Query,
    TransferConfig,
    query_to_reference,
    reciprocal,
    reference_to_query,
    transfer_model,
)

QUICK = TransferConfig(step_fraction=0.01, discriminator_warmup_steps=1)
WAYS = (query_to_reference, reciprocal, reference_to_query, transfer_model)


def asked(data: md.MuData, config: TransferConfig = QUICK) -> Query:
    return Query(data, config=config, progress=False)


def part_of(mdata: md.MuData, batches: list[str]) -> md.MuData:
    return joined({name: part[part.obs["batch"].isin(batches)].copy() for name, part in mdata.mod.items()})


@pytest.mark.parametrize("way", WAYS)
def test_a_panel_that_the_references_batches_lack_in_part_keeps_its_depth(way: Callable[..., object]) -> None:
    whole = simulated(mosaic=("rna+adt", "rna", "rna+adt"), n_proteins=12, unpaired_fraction=0.0)
    config = tiny(network={"min_features_for_geometric_mean": 10, "min_features_for_depth": 100})
    reference = MIDAS(part_of(whole, ["batch1", "batch2"]), config=config).fit(progress=False)
    assert reference.kinds["adt"].depth
    found = way(reference, asked(part_of(whole, ["batch3"])))  # all of whose batches have the panel
    model = found if isinstance(found, MIDAS) else found.model  # type: ignore[attr-defined]
    assert model.kinds["adt"].depth
    assert not model.kinds["rna"].depth


@pytest.mark.parametrize("tune", ["batches", "encoders"])
def test_the_depth_of_a_modality_that_the_reference_lacks_is_learned(tune: str, query: md.MuData) -> None:
    config = tiny(network={"min_features_for_depth": 5})
    reference = MIDAS({"rna": simulated(1).mod["rna"]}, config=config).fit(progress=False)
    model = transfer_model(
        reference, asked(query, TransferConfig(step_fraction=0.05, discriminator_warmup_steps=1, tune=tune))
    )
    depths = model.vae.decoder.depths
    assert depths is not None
    assert set(depths.names) == {"adt", "rna"}
    assert float(depths.heads["adt"].weight.abs().sum()) > 0
    assert float(depths.heads["rna"].weight.sum()) == float(reference.vae.decoder.depths.heads["rna"].weight.sum())


@pytest.mark.parametrize(("tune", "added"), [("batches", False), ("encoders", False), ("all", True)])
def test_features_are_added_where_all_networks_learn(tune: str, added: bool, fitted: MIDAS, query: md.MuData) -> None:
    more = query["rna"].copy()
    more.var_names = [*more.var_names[:-1], "new"]
    model = transfer_model(
        fitted,
        asked(joined({"rna": more}), TransferConfig(step_fraction=0.01, discriminator_warmup_steps=1, tune=tune)),
    )
    assert ("new" in model.schema.modalities["rna"].features) == added


def test_a_query_may_have_a_modality_of_its_own_kind(fitted: MIDAS, query: md.MuData) -> None:
    kinds = {"extra": Modality(likelihood="bernoulli", transform="binarize")}
    query.mod["extra"] = query["adt"].copy()
    query["extra"].X = (query["extra"].X > 0).astype(np.float32)
    query["extra"].var_names = [f"e{i}" for i in range(query["extra"].n_vars)]
    wanted = Query(query, modalities=kinds, config=QUICK, progress=False)
    assert query_to_reference(fitted, wanted).model.kinds["extra"] == kinds["extra"]
    model = fitted.transfer(query, modalities=kinds, config=QUICK, progress=False)
    assert model.kinds["extra"].likelihood == "bernoulli"
    assert model.kinds["rna"] == fitted.kinds["rna"]
