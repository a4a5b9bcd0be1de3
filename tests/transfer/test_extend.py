"""What a reference knew survives the change of schema, whatever the query adds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import torch

from helpers import counts, joined, names, one, simulated, tiny
from midas import MIDAS, Config, Modality, read_mosaic
from midas.data.combine import recast
from midas.data.mosaic import Mosaic
from midas.data.read import read_for_model
from midas.data.schema import MosaicSchema
from midas.decoding import States, decode
from midas.inference import encode
from midas.nn import VAE
from midas.transfer.extend import carry_over, extended, start_features

GENES = ["new_gene_a", "new_gene_b"]
PEAKS = ["chr1:5-9", "chr2:7-9", "chrX:1-5", "chrX:9-12", "chrY:1-2"]


def with_features(adata: ad.AnnData, more: list[str], seed: int = 7) -> ad.AnnData:
    extra = ad.AnnData(counts(adata.n_obs, len(more), seed, 3.0), obs=adata.obs, var=pd.DataFrame(index=more))
    return ad.concat([extra, adata], axis=1, merge="first")


def widened(mdata: md.MuData) -> md.MuData:
    """The same cells in new batches, with more genes and peaks, on chromosomes known and unknown."""
    parts = {
        "rna": with_features(mdata["rna"], GENES),
        "adt": mdata["adt"].copy(),
        "atac": with_features(mdata["atac"], PEAKS),
    }
    for part in parts.values():
        part.obs["batch"] = "new_" + part.obs["batch"].astype(str)
    return joined(parts)


def grown(reference: MIDAS, query: Mosaic, *, keep_batches: bool = True) -> tuple[VAE, MosaicSchema]:
    schema = extended(reference.schema, query.schema, keep_batches=keep_batches)
    torch.manual_seed(5)
    vae = VAE(schema, reference.config.network)
    carry_over(reference.vae, vae, reference.schema, schema)
    start_features(vae, reference.schema, recast(query, schema))
    return vae, schema


def decoded(vae: VAE, schema: MosaicSchema, z: np.ndarray, name: str) -> pd.DataFrame:
    features = schema.modalities[name].features
    return pd.DataFrame(
        np.concatenate(list(decode(vae, schema, States(z), name, np.arange(len(features))))), columns=features
    )


@pytest.mark.parametrize("keep_batches", [True, False])
def test_with_nothing_new_everything_is_the_same_bit_for_bit(
    keep_batches: bool, fitted: MIDAS, mdata: md.MuData
) -> None:
    own = read_for_model(mdata, like=fitted.schema)
    vae, schema = grown(fitted, own, keep_batches=keep_batches)
    assert schema.to_dict() == fitted.schema.to_dict()
    for name, value in fitted.vae.state_dict().items():
        assert torch.equal(vae.state_dict()[name], value), name


def test_old_cells_lie_where_they_lay_with_new_batches(fitted: MIDAS, query: md.MuData) -> None:
    vae, schema = grown(fitted, read_for_model(query, like=fitted.schema))
    assert schema.batches == ("batch1", "batch2", "batch3", "batch4", "batch5")
    assert fitted.mosaic is not None
    again = encode(vae, recast(fitted.mosaic, schema), fitted.modalities)
    before = fitted.posterior(part="z")
    np.testing.assert_array_equal(again.mean, before.mean)
    np.testing.assert_array_equal(again.variance, before.variance)
    for name in fitted.modalities:
        pd.testing.assert_frame_equal(
            decoded(vae, schema, before.mean, name),
            decoded(fitted.vae, fitted.schema, before.mean, name),
            rtol=0,
            atol=0,
        )


def test_new_batches_start_as_the_mean(fitted: MIDAS, query: md.MuData) -> None:
    vae, schema = grown(fitted, read_for_model(query, like=fitted.schema), keep_batches=False)
    assert schema.batches == ("batch4", "batch5")
    old, new = fitted.vae.state_dict(), vae.state_dict()
    first = "batch_encoder.net.hidden.0.linear.weight"
    for name in ("batch_decoder.out.weight", "batch_decoder.out.bias"):
        torch.testing.assert_close(new[name], old[name].mean(0, keepdim=True).expand_as(new[name]))
    torch.testing.assert_close(new[first], old[first].mean(1, keepdim=True).expand_as(new[first]))
    # Everything behind is taken over.
    for name in set(old) - {first, "batch_decoder.out.weight", "batch_decoder.out.bias"}:
        assert torch.equal(old[name], new[name]), name


def test_batches_go_by_name_not_by_position(fitted: MIDAS, mdata: md.MuData) -> None:
    some = joined({"rna": mdata["rna"][mdata["rna"].obs["batch"].isin(["batch3", "batch2"])].copy()})
    some["rna"].obs["batch"] = some["rna"].obs["batch"].astype(str).replace("batch3", "a_new_one")
    vae, schema = grown(fitted, read_for_model(some, like=fitted.schema), keep_batches=False)
    assert schema.batches == ("a_new_one", "batch2")
    old, new = fitted.vae.state_dict(), vae.state_dict()
    assert torch.equal(new["batch_decoder.out.weight"][1], old["batch_decoder.out.weight"][1])
    first = "batch_encoder.net.hidden.0.linear.weight"
    assert torch.equal(new[first][:, 1], old[first][:, 1])


@pytest.fixture(scope="module")
def narrow() -> MIDAS:
    """A model whose peaks pass few units in place of blocks."""
    values = tiny().to_dict()
    values["network"] |= {"min_features_for_blocks": None, "min_features_for_bottleneck": 60, "bottleneck": 5}
    return MIDAS(simulated(), config=Config.from_dict(values)).fit(progress=False)


def test_a_model_stays_narrow_or_wide_as_it_grows(narrow: MIDAS, mdata: md.MuData) -> None:
    network = narrow.config.network
    known = narrow.schema
    assert known.modalities["atac"].passage(network) == ((5,), (5,))
    assert [known.modalities[name].passage(network) for name in ("rna", "adt")] == [None, None]
    wide = known.suited_to(replace(network, min_features_for_bottleneck=76))
    assert wide.modalities["atac"].passage(network) is None
    for schema in (known, wide):
        more = extended(schema, read_for_model(widened(mdata), like=schema).schema, keep_batches=True)
        assert more.modalities["atac"].n_features == 80
        suited = more.suited_to(network).modalities["atac"]
        assert suited.passage(network) == schema.modalities["atac"].passage(network)


def test_a_narrow_model_comes_back_as_it_was(narrow: MIDAS, tmp_path: Path) -> None:
    narrow.save(tmp_path / "model")
    again = MIDAS.load(tmp_path / "model")
    assert again.schema.modalities["atac"].bottleneck
    assert tuple(again.vae.state_dict()["encoder.inputs.atac.blocks.first.0.weight"].shape) == (5, 75)
    np.testing.assert_allclose(again.latent(simulated()), narrow.latent(), atol=1e-6)


@pytest.mark.parametrize("reference", ["fitted", "narrow"])
def test_new_features_change_nothing_before_training(
    reference: str, request: pytest.FixtureRequest, mdata: md.MuData
) -> None:
    fitted: MIDAS = request.getfixturevalue(reference)
    query = read_for_model(widened(mdata), like=fitted.schema)
    vae, schema = grown(fitted, query)
    assert fitted.mosaic is not None
    before = fitted.posterior(part="z")
    again = encode(vae, recast(fitted.mosaic, schema), fitted.modalities).mean
    np.testing.assert_allclose(again, before.mean, atol=2e-5)
    placed = encode(fitted.vae, fitted.read(widened(mdata)), fitted.modalities).mean
    found = encode(vae, recast(query, schema), fitted.modalities, with_batch=False).mean
    np.testing.assert_allclose(found, placed, atol=0.05)  # more features tell a little more of how deep a cell is
    for name in fitted.modalities:
        old = decoded(fitted.vae, fitted.schema, before.mean, name)
        new = decoded(vae, schema, before.mean, name)
        np.testing.assert_allclose(new[old.columns], old, rtol=1e-5, atol=1e-7)


def test_features_go_behind_those_of_their_block(fitted: MIDAS, mdata: md.MuData) -> None:
    schema = extended(fitted.schema, read_for_model(widened(mdata), like=fitted.schema).schema, keep_batches=True)
    old, new = fitted.schema.modalities, schema.modalities
    assert new["rna"].features.tolist() == [*old["rna"].features, *GENES]
    assert new["adt"] is old["adt"]
    assert len(old["atac"].blocks) == 3
    chr1, chr2, chr3 = old["atac"].blocks
    assert new["atac"].blocks == (chr1 + 1, chr2 + 1, chr3 + 3)  # unknown chromosomes go to the last block
    ends = np.cumsum((0, *new["atac"].blocks))
    for i, chrom in enumerate(("chr1", "chr2")):
        mine = new["atac"].features[ends[i] : ends[i + 1]]
        assert mine.str.startswith(f"{chrom}:").all()
    assert set(new["atac"].features[ends[2] + chr3 :]) == {"chrX:1-5", "chrX:9-12", "chrY:1-2"}
    kept = new["atac"].features[new["atac"].features.isin(old["atac"].features)]
    assert kept.tolist() == old["atac"].features.tolist()


def test_new_features_may_be_left_out(fitted: MIDAS, mdata: md.MuData) -> None:
    own = read_for_model(widened(mdata), like=fitted.schema).schema
    schema = extended(fitted.schema, own, keep_batches=False, add_features=False)
    for name, part in fitted.schema.modalities.items():
        assert schema.modalities[name] is part


def test_new_features_start_at_the_mean_of_the_query(fitted: MIDAS, mdata: md.MuData) -> None:
    data = widened(mdata)
    vae, schema = grown(fitted, read_for_model(data, like=fitted.schema))
    z = np.random.default_rng(0).normal(size=(5, fitted.vae.dim_z)).astype(np.float32)
    for name, features in (("rna", GENES), ("atac", PEAKS)):
        values = data[name][:, features].X.toarray()
        mean = (values > 0).mean(0) if name == "atac" else values.mean(0)
        found = decoded(vae, schema, z, name)[features]
        # The same whatever z is, but for the depth that z leads to expect.
        np.testing.assert_allclose(found, np.tile(mean, (5, 1)), rtol=0.05)


def test_a_modality_that_the_reference_lacks(fitted: MIDAS) -> None:
    reference = MIDAS(
        one(names("c", 40), names("gene", 8), ["a", "b"] * 20), modalities={"rna": fitted.kinds["rna"]}, config=tiny()
    )
    own = read_mosaic(
        joined({"rna": one(names("d", 9), names("gene", 8), "q"), "adt": one(names("d", 9), names("p", 4), "q")})
    )
    vae, schema = grown(reference, own)
    assert list(schema.modalities) == ["rna", "adt"]
    assert schema.batches_with == {"rna": (True, True, True), "adt": (False, False, True)}
    for name, value in reference.vae.state_dict().items():
        if not name.startswith("batch"):
            assert torch.equal(vae.state_dict()[name], value), name
    z = np.zeros((1, reference.vae.dim_z), dtype=np.float32)
    mean = own.modalities["adt"].sources[0].rows(np.arange(9)).toarray().mean(0)
    found = decoded(vae, schema, z, "adt")[names("p", 4)]
    np.testing.assert_allclose(found.to_numpy()[0], mean, rtol=1e-4)


@pytest.mark.parametrize(("likelihood", "transform"), [("gaussian", "identity"), ("negative_binomial", "log1p")])
def test_likelihoods_with_parameters_of_features(likelihood: str, transform: str) -> None:
    kind = {"surface": Modality(likelihood, transform)}
    data = one(names("c", 40), names("p", 5), ["a", "b"] * 20)
    reference = MIDAS(data, modalities=kind, config=tiny())
    with torch.no_grad():
        for parameter in reference.vae.parameters():
            parameter.add_(torch.rand_like(parameter) * 0.1)
    wide = with_features(one(names("d", 20), names("p", 5), "q"), ["a_first", "z_last"])
    vae, schema = grown(reference, read_mosaic(wide, modalities=kind))
    features = schema.modalities["surface"].features
    assert features.tolist() == [*names("p", 5), "a_first", "z_last"]
    old, new = reference.vae.extras()["surface"], vae.extras()["surface"]
    assert (old is None) == (new is None)
    if old is not None and new is not None:
        assert torch.equal(new[:5], old)
    z = np.zeros((1, reference.vae.dim_z), dtype=np.float32)
    found = decoded(vae, schema, z, "surface")
    np.testing.assert_allclose(found[names("p", 5)], decoded(reference.vae, reference.schema, z, "surface"), rtol=1e-5)
    np.testing.assert_allclose(
        found[["a_first", "z_last"]].to_numpy()[0], wide[:, ["a_first", "z_last"]].X.toarray().mean(0), rtol=1e-4
    )
