"""Names carry meaning, positions do not; and the seed decides everything that is random."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import by_name, names, one, simulated, tiny
from midas import MIDAS, InferenceConfig

CONFIG = tiny(epochs=2, batch_size=64)


def source() -> md.MuData:
    return simulated(n_cells=90, unmeasured_genes=0.2, unmeasured_proteins=0.2)


@dataclass(frozen=True)
class Results:
    """By name, in a fixed order."""

    latent: pd.DataFrame
    imputed: dict[str, pd.DataFrame]
    corrected: dict[str, pd.DataFrame]


def frame(adata: ad.AnnData) -> pd.DataFrame:
    return (
        pd.DataFrame(np.asarray(adata.X), index=adata.obs_names, columns=adata.var_names)
        .sort_index()
        .sort_index(axis=1)
    )


def results(model: MIDAS, data: md.MuData | None = None, cells: pd.Index | None = None) -> Results:
    assert model.mosaic is not None
    cells = model.mosaic.cells if cells is None else cells
    return Results(
        by_name(model.latent(data, part="z"), cells),
        {name: frame(model.impute(name, data)) for name in model.modalities},
        {name: frame(model.correct(name, data)) for name in model.modalities},
    )


def assert_close(found: Results, expected: Results) -> None:
    pd.testing.assert_frame_equal(found.latent, expected.latent, rtol=1e-4, atol=1e-5)
    for name in expected.imputed:
        pd.testing.assert_frame_equal(found.imputed[name], expected.imputed[name], rtol=1e-4, atol=1e-5)
        pd.testing.assert_frame_equal(found.corrected[name], expected.corrected[name], rtol=1e-4, atol=1e-5)


def assert_same(found: Results, expected: Results) -> None:
    pd.testing.assert_frame_equal(found.latent, expected.latent, check_exact=True)
    for name in expected.imputed:
        pd.testing.assert_frame_equal(found.imputed[name], expected.imputed[name], check_exact=True)


def shuffled(mdata: md.MuData, rng: np.random.Generator, *, cells: bool, features: bool, modalities: bool) -> md.MuData:
    """The same mosaic in other orders: each modality's cells for themselves, its features, the modalities."""
    parts = {}
    for name, adata in mdata.mod.items():
        rows = rng.permutation(adata.n_obs) if cells else slice(None)
        columns = rng.permutation(adata.n_vars) if features else slice(None)
        parts[name] = adata[rows][:, columns].copy()
    if modalities:
        parts = {name: parts[name] for name in rng.permutation(list(parts))}
    with md.set_options(pull_on_update=False):
        return md.MuData(parts)  # batches are in the obs of each modality


@pytest.fixture(scope="module")
def model() -> MIDAS:
    return MIDAS(source(), config=CONFIG).fit(progress=False)


@pytest.fixture(scope="module")
def expected(model: MIDAS) -> Results:
    return results(model)


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans(), st.booleans())
def test_no_order_changes_a_result(expected: Results, seed: int, cells: bool, features: bool, modalities: bool) -> None:
    mdata = shuffled(source(), np.random.default_rng(seed), cells=cells, features=features, modalities=modalities)
    assert_close(results(MIDAS(mdata, config=CONFIG).fit(progress=False)), expected)


def test_no_order_of_so_many_cells_that_some_stand_for_others_changes_a_result() -> None:
    n = 1040  # of each batch: some of more than 1,000 are compared with others, means are taken of some of more than 2,000
    cells, batch = names("c", 2 * n), ["a", "b"] * n
    rna = one(cells, names("g", 12), batch)
    rna.X = rna.X.multiply(np.linspace(0.2, 3, 2 * n)[:, None]).ceil().tocsr()  # early cells differ from late ones
    config = tiny(epochs=1, batch_size=520, objective={"adversarial_start": 0.3, "adversarial_warmup": 0.0})
    config = replace(config, inference=InferenceConfig(n_neighbors=0, spread=False))
    other = rna[np.random.default_rng(0).permutation(2 * n)].copy()
    found, again = (
        by_name(MIDAS({"rna": data}, config=config).fit(progress=False).latent(part="z"), data.obs_names)
        for data in (rna, other)
    )
    pd.testing.assert_frame_equal(found, again, rtol=1e-4, atol=1e-5)


def test_mispaired_proteins_change_nothing(expected: Results) -> None:
    """Rows of proteins in another order than rows of RNA, with their names: in the published package, other cells."""
    mdata = source()
    adt = mdata["adt"][::-1].copy()
    assert adt.obs_names[0] != mdata["rna"].obs_names[0]
    with md.set_options(pull_on_update=False):
        mixed = md.MuData({"rna": mdata["rna"], "adt": adt, "atac": mdata["atac"]})
    assert_close(results(MIDAS(mixed, config=CONFIG).fit(progress=False)), expected)


def test_batches_may_stand_in_any_order(expected: Results) -> None:
    mdata = source()
    for adata in mdata.mod.values():
        adata.obs["batch"] = pd.Categorical(adata.obs["batch"], categories=["batch3", "batch1", "batch2"])
    parts = {b: mdata[(mdata.obs["batch"] == b).to_numpy()].copy() for b in ("batch3", "batch1", "batch2")}
    assert_close(results(MIDAS(parts, config=CONFIG).fit(progress=False)), expected)


@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1))
def test_no_order_of_a_query_changes_its_encoding(model: MIDAS, expected: Results, seed: int) -> None:
    query = shuffled(source(), np.random.default_rng(seed), cells=True, features=True, modalities=True)
    assert_close(results(model, query, query.obs_names), expected)


def test_reversed_genes_are_the_same_genes(model: MIDAS) -> None:
    rna = source()["rna"]
    straight, backwards = model.latent({"rna": rna}), model.latent({"rna": rna[:, ::-1].copy()})
    np.testing.assert_allclose(backwards, straight, rtol=1e-4, atol=1e-5)
    scrambled = rna.copy()
    scrambled.var_names = rna.var_names[::-1]
    assert not np.allclose(model.latent({"rna": scrambled}), straight, atol=1e-2)  # the names do matter


# --- seeds ------------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bit_for_bit(expected: Results) -> None:
    assert_same(results(MIDAS(source(), config=CONFIG).fit(progress=False)), expected)


def test_another_seed_gives_something_else(expected: Results) -> None:
    other = results(MIDAS(source(), config=CONFIG, seed=1).fit(progress=False))
    assert not np.allclose(other.latent, expected.latent, atol=1e-3)


@pytest.mark.parametrize("sampling", ["mixed", "by_batch"])
@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_every_kind_of_run_repeats_itself(sampling: str, precision: str) -> None:
    config = tiny(sampling=sampling, precision=precision)
    runs = [MIDAS(source(), config=config).fit(progress=False) for _ in range(2)]
    assert_same(*(results(run) for run in runs))
    terms = [run.history.drop(columns="seconds") for run in runs]
    pd.testing.assert_frame_equal(*terms, check_exact=True)


def test_the_process_own_random_state_is_left_alone_and_changes_nothing(expected: Results) -> None:
    states: list[tuple[object, ...]] = []
    mdata = source()  # MuData itself draws from these states when it is made
    try:
        for seed in (123, 456):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002 - the global state is what is meant
            random.seed(seed)
            before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
            run = MIDAS(mdata, config=CONFIG).fit(progress=False)
            assert_same(results(run), expected)
            run.correct("rna", sample=True)
            after = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
            assert torch.equal(before[0], after[0])
            assert np.array_equal(before[1], after[1])
            assert before[2] == after[2]
            states.append(after)
    finally:
        random.seed()
    assert states[0][2] != states[1][2]
