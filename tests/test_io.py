"""Data files are read or refused with the reason; a result file is whole, by name and in the input's order, or not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from helpers import by_name, files_under, joined, names, one, table, tiny
from midas import MIDAS
from midas.io import DataFileError, read_file, write_mudata, write_result
from midas.io.files import bytes_in_memory, check_target, too_large


@pytest.fixture
def h5mu(mdata: md.MuData, tmp_path: Path) -> Path:
    write_mudata(tmp_path / "in.h5mu", mdata)
    return tmp_path / "in.h5mu"


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backed", [False, True])
def test_a_file_comes_back_in_its_own_order(backed: bool, h5mu: Path, mdata: md.MuData) -> None:
    found = read_file(h5mu, backed=backed)
    assert isinstance(found, md.MuData)
    assert found.obs_names.tolist() == mdata.obs_names.tolist()
    assert isinstance(found["rna"].X, sp.csr_matrix) is not backed
    mdata["rna"].write_h5ad(h5mu.with_suffix(".h5ad"))
    adata = read_file(str(h5mu.with_suffix(".h5ad")), backed=backed)
    assert isinstance(adata, ad.AnnData)
    assert adata.isbacked is backed


def half(file: Path) -> None:
    raw = file.read_bytes()
    file.write_bytes(raw[: len(raw) // 2])


def foreign(file: Path) -> None:
    with h5py.File(file, "w") as content:
        content["x"] = np.arange(3)


def other_kind(file: Path) -> None:
    if file.suffix == ".h5ad":
        write_mudata(file.with_suffix(".h5mu"), joined({"rna": one(names("c", 5), ["g"])}))
        file.with_suffix(".h5mu").replace(file)
    else:
        one(names("c", 5), ["g"]).write_h5ad(file.with_suffix(".h5ad"))
        file.with_suffix(".h5ad").replace(file)


DAMAGES: list[Callable[[Path], object]] = [
    half,
    foreign,
    other_kind,
    lambda file: file.write_text("cell,gene\n"),
    lambda file: file.write_bytes(b""),
    lambda file: file.write_bytes(file.read_bytes()[:-50]),
]


@pytest.mark.parametrize("suffix", [".h5mu", ".h5ad"])
@pytest.mark.parametrize("damage", DAMAGES, ids=["half", "foreign", "other kind", "text", "empty", "a little short"])
def test_damaged_and_foreign_files_are_refused(damage: Callable[[Path], object], suffix: str, h5mu: Path) -> None:
    file = h5mu
    if suffix == ".h5ad":
        file = h5mu.with_suffix(".h5ad")
        one(names("c", 500), names("g", 20)).write_h5ad(file)
    damage(file)
    kind = "a MuData" if suffix == ".h5mu" else "an AnnData"
    with pytest.raises(DataFileError, match=rf"in{suffix}: expected {kind}, found a damaged or foreign file"):
        read_file(file)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.h5mu", r"expected a file, found none; files there: in\.h5mu"),
        ("gone.h5ad", r"expected a file, found none; no \.h5ad file in that folder"),
        ("nowhere/gone.h5mu", "expected a file, found none; no .h5mu file in that folder"),
        ("in.csv", r"ends in \.h5mu \(a MuData\) or \.h5ad \(an AnnData\) or \.zarr .*, found '\.csv'"),
        ("in", "found 'no ending'"),
    ],
)
def test_missing_files_and_other_endings_are_refused(name: str, message: str, h5mu: Path) -> None:
    with pytest.raises(DataFileError, match=message):
        read_file(h5mu.parent / name)


# --- where a result may go --------------------------------------------------------------------------------------------


def test_a_place_for_the_result_is_looked_at_and_left_alone(h5mu: Path) -> None:
    check_target(h5mu.parent / "new" / "out.h5mu", h5mu)
    check_target(h5mu)  # may be replaced, unless it is the source
    assert files_under(h5mu.parent) == ["in.h5mu"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.h5ad", r"expected the result to end in \.h5mu, found '\.h5ad'"),
        ("out", "expected the result to end in .h5mu, found 'no ending'"),
        ("in.h5mu", "expected a result file that is not the input, found the same file. Choose another name"),
        ("folder.h5mu", "expected the name of a file, found a folder. Choose another name"),
        (
            "in.h5mu/out.h5mu",
            "expected a place that can be written to, found .*which is no folder. Choose another place",
        ),
    ],
)
def test_a_place_that_cannot_be_written_to_is_refused(name: str, message: str, h5mu: Path) -> None:
    (h5mu.parent / "folder.h5mu").mkdir()
    with pytest.raises(DataFileError, match=message):
        check_target(h5mu.parent / name, h5mu)
    assert files_under(h5mu.parent) == ["folder.h5mu", "in.h5mu"]


# --- the result -------------------------------------------------------------------------------------------------------


def matrix(adata: ad.AnnData, layer: str | None = None) -> pd.DataFrame:
    found = adata.X if layer is None else adata.layers[layer]
    return pd.DataFrame(np.asarray(found), index=adata.obs_names, columns=adata.var_names)


def test_dates_are_written_as_text_and_stay_dates_in_memory(fitted: MIDAS, mdata: md.MuData, tmp_path: Path) -> None:
    mdata.obs["day"] = mdata["rna"].obs["day"] = pd.Timestamp("2024-02-29")
    write_result(tmp_path / "out.h5mu", mdata, fitted)
    write_mudata(tmp_path / "data.h5mu", mdata)
    for file in ("out.h5mu", "data.h5mu"):
        found = read_file(tmp_path / file)
        assert set(found["rna"].obs["day"]) == set(found.obs["day"].dropna()) == {"2024-02-29"}
    assert mdata.obs["day"].dtype.kind == "M"


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
def test_stores_are_read(fitted: MIDAS, mdata: md.MuData, tmp_path: Path) -> None:
    streamed = fitted.impute("adt", out=tmp_path / "adt.zarr")
    found = read_file(tmp_path / "adt.zarr")
    np.testing.assert_array_equal(found.X, np.asarray(streamed.X[:]))
    mdata.write_zarr(tmp_path / "all.zarr")
    assert set(read_file(tmp_path / "all.zarr").mod) == set(mdata.mod)
    with pytest.raises(DataFileError, match=r"found a \.zarr store\. Read it into memory"):
        read_file(tmp_path / "adt.zarr", backed=True)


def test_a_result_holds_the_data_and_everything_asked_for(fitted: MIDAS, mdata: md.MuData, tmp_path: Path) -> None:
    mdata.obs["donor"] = pd.Categorical(np.arange(120) % 7)
    mdata.obsm["X_pca"] = np.random.default_rng(0).normal(size=(120, 3))
    mdata.obsp["distances"] = sp.identity(120, format="csr")
    mdata.uns["title"] = "a mosaic"
    mdata["rna"].layers["raw"] = mdata["rna"].X.copy()
    mdata["rna"].layers["imputed"] = mdata["rna"].X.copy()  # of an earlier run: replaced
    before = {name: table(adata) for name, adata in mdata.mod.items()}
    order = mdata.obs_names.tolist()
    write_result(tmp_path / "out.h5mu", mdata, fitted, impute=True, correct=True)
    assert files_under(tmp_path) == ["out.h5mu"]
    with md.set_options(pull_on_update=False):
        found = md.read_h5mu(tmp_path / "out.h5mu")

    assert found.obs_names.tolist() == order
    np.testing.assert_array_equal(found.obsm["X_midas"], fitted.latent())
    np.testing.assert_array_equal(found.obsm["X_midas_u"], fitted.latent(part="u"))
    np.testing.assert_array_equal(found.obsm["X_pca"], mdata.obsm["X_pca"])
    assert (found.obsp["distances"] != mdata.obsp["distances"]).nnz == 0
    assert found.obs["donor"].tolist() == mdata.obs["donor"].tolist()
    assert found.obs["batch"].tolist() == mdata.obs["batch"].tolist()
    assert found.uns["title"] == "a mosaic"
    assert dict(found.uns["midas"]) == fitted.provenance()

    own = ["rna", "adt", "atac"]
    assert set(found.mod) == {f"{name}{end}" for name in own for end in ("", "_imputed", "_corrected")}
    for name in own:
        pd.testing.assert_frame_equal(table(found[name]), before[name])
        assert set(found[name].layers) == {"imputed", "corrected"} | ({"raw"} if name == "rna" else set())
        for layer, verb in (("imputed", fitted.impute), ("corrected", fitted.correct)):
            expected = matrix(verb(name))
            whole = matrix(found[f"{name}_{layer}"])
            pd.testing.assert_frame_equal(whole, expected, rtol=1e-4)
            part = matrix(found[name], layer)
            pd.testing.assert_frame_equal(part, expected.loc[part.index, part.columns], rtol=1e-4)
            measured = found[f"{name}_{layer}"].obs["measured"]
            assert measured.tolist() == expected.index.isin(found[name].obs_names).tolist()


@pytest.mark.filterwarnings("error")
def test_a_result_is_read_without_warnings(fitted: MIDAS, mdata: md.MuData, tmp_path: Path) -> None:
    write_result(tmp_path / "out.h5mu", mdata, fitted, impute=True)  # "rna" and "rna_imputed" have the same features
    assert read_file(tmp_path / "out.h5mu").n_obs == mdata.n_obs


def test_what_the_data_say_of_their_features_stays(fitted: MIDAS, mdata: md.MuData, tmp_path: Path) -> None:
    n = mdata.n_vars
    mdata.varm["loadings"] = np.random.default_rng(0).normal(size=(n, 2))
    mdata.varp["links"] = sp.identity(n, format="csr")
    mdata.var["chosen"], mdata.var["rank"], mdata.var["kind"] = np.arange(n) % 2 == 0, np.arange(n), "a"
    expected = mdata.var[["chosen", "rank", "kind"]].copy()
    loadings = mdata.varm["loadings"].copy()
    for impute in (False, True):
        write_result(tmp_path / "out.h5mu", mdata, fitted, impute=impute)
        found = read_file(tmp_path / "out.h5mu")
        assert (found.n_vars > n) is impute
        assert found.var_names[:n].tolist() == expected.index.tolist()
        for column in expected:
            assert found.var[column].iloc[:n].tolist() == expected[column].tolist()
            assert found.var[column].iloc[n:].isna().all()
        np.testing.assert_array_equal(found.varm["loadings"][:n], loadings)
        assert np.isnan(found.varm["loadings"][n:]).all()
        assert (found.varp["links"] != 0).nnz == n


def test_by_default_a_result_holds_the_embedding_alone(fitted: MIDAS, mdata: md.MuData, tmp_path: Path) -> None:
    write_result(tmp_path / "out.h5mu", mdata, fitted)
    found = read_file(tmp_path / "out.h5mu")
    assert set(found.mod) == {"rna", "adt", "atac"}
    assert not any(adata.layers for adata in found.mod.values())
    assert found.obsm["X_midas"].shape == (120, 4)


def test_cells_keep_an_order_that_no_modality_has(fitted: MIDAS, mdata: md.MuData, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(mdata.obs_names)
    with md.set_options(pull_on_update=False):
        shuffled = mdata[order].copy()
    assert shuffled.obs_names.tolist() == order.tolist()
    write_result(tmp_path / "out.h5mu", shuffled, fitted, impute=True)
    found = read_file(tmp_path / "out.h5mu")
    assert found.obs_names.tolist() == order.tolist()
    expected = by_name(fitted.latent(), mdata.obs_names)
    pd.testing.assert_frame_equal(by_name(found.obsm["X_midas"], found.obs_names), expected, rtol=1e-4, atol=1e-5)
    imputed, wanted = matrix(found["adt_imputed"]), matrix(fitted.impute("adt"))
    assert imputed.index.tolist() == order.tolist()
    pd.testing.assert_frame_equal(imputed, wanted.loc[order], rtol=1e-4)


def test_where_every_cell_has_the_modality_there_is_no_second_one(tmp_path: Path) -> None:
    cells, batch = names("c", 30), ["b1", "b2"] * 15
    data = joined({"rna": one(cells, names("g", 5), batch), "adt": one(cells[:20], names("p", 3), batch[:20])})
    model = MIDAS(data, config=tiny()).fit(progress=False)
    write_result(tmp_path / "out.h5mu", data, model, impute=True)
    assert set(read_file(tmp_path / "out.h5mu").mod) == {"rna", "adt", "adt_imputed"}


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
@pytest.mark.parametrize("kind", ["plain", "repeated names", "feature types"])
def test_an_anndata_becomes_a_mudata(kind: str, tmp_path: Path) -> None:
    cells = names("c", 20)
    cells, batch = ([*cells, *cells] if kind == "repeated names" else names("c", 40)), ["b1"] * 20 + ["b2"] * 20
    adata = one(cells, names("g", 6), batch)
    adata.obs["donor"] = np.arange(40)
    expected = {"rna": table(adata)}
    if kind == "feature types":
        kinds = np.array(["Gene Expression", "Antibody Capture"])[np.arange(6) % 2]
        adata.var["feature_types"] = kinds
        whole = table(adata)
        expected = {"rna": whole.iloc[:, ::2], "adt": whole.iloc[:, 1::2]}
    model = MIDAS(adata, config=tiny()).fit(progress=False)
    write_result(tmp_path / "out.h5mu", adata, model, correct=True)
    found = read_file(tmp_path / "out.h5mu")
    assert found.obs_names.tolist() == cells
    assert found.obs["donor"].tolist() == list(range(40))
    np.testing.assert_array_equal(found.obsm["X_midas"], model.latent())
    assert set(found.mod) == set(expected)
    for name, counts in expected.items():
        pd.testing.assert_frame_equal(table(found[name]), counts)
        np.testing.assert_allclose(found[name].layers["corrected"], model.correct(name).X, rtol=1e-4)


def test_a_result_that_breaks_leaves_the_older_one(
    fitted: MIDAS, mdata: md.MuData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out.h5mu").write_text("older")

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("midas.io.result.write_dense", broken)
    with pytest.raises(OSError, match="No space left"):
        write_result(tmp_path / "out.h5mu", mdata, fitted, impute=True)
    assert (tmp_path / "out.h5mu").read_text() == "older"
    assert files_under(tmp_path) == ["out.h5mu"]


def test_data_left_on_disk_give_the_same_result(mdata: md.MuData, tmp_path: Path) -> None:
    h5mu = tmp_path / "in.h5mu"
    mdata["rna"].raw = mdata["rna"].copy()
    mdata["rna"].layers["spliced"] = mdata["rna"].X.copy()
    write_mudata(h5mu, mdata)
    results = []
    for backed in (False, True):
        data = read_file(h5mu, backed=backed)
        model = MIDAS(data, config=tiny()).fit(progress=False)
        write_result(h5mu.with_name(f"{backed}.h5mu"), data, model, impute=True)
        results.append(read_file(h5mu.with_name(f"{backed}.h5mu")))
    np.testing.assert_array_equal(results[0].obsm["X_midas"], results[1].obsm["X_midas"])
    for found in results:
        np.testing.assert_array_equal(found["rna"].raw.X.toarray(), mdata["rna"].X.toarray())
        np.testing.assert_array_equal(found["rna"].layers["spliced"].toarray(), mdata["rna"].X.toarray())
    for name, adata in mdata.mod.items():
        pd.testing.assert_frame_equal(table(results[1][name]), table(adata))
        np.testing.assert_array_equal(results[0][name].layers["imputed"], results[1][name].layers["imputed"])


def test_raw_is_kept_of_an_anndata_of_several_modalities(tmp_path: Path) -> None:
    adata = one(names("c", 40), names("g", 6), ["b1"] * 20 + ["b2"] * 20)
    adata.var["feature_types"] = np.array(["Gene Expression", "Antibody Capture"])[np.arange(6) % 2]
    adata.raw = adata.copy()
    adata.write_h5ad(tmp_path / "in.h5ad")
    for backed in (False, True):
        data = read_file(tmp_path / "in.h5ad", backed=backed)
        model = MIDAS(data, config=tiny()).fit(progress=False)
        write_result(tmp_path / f"{backed}.h5mu", data, model)
        for part in read_file(tmp_path / f"{backed}.h5mu").mod.values():
            np.testing.assert_array_equal(part.raw.to_adata().to_df(), table(adata))
            assert part.raw.var_names.tolist() == adata.var_names.tolist()


def test_how_much_memory_counts_take_is_known_beforehand(
    h5mu: Path, mdata: md.MuData, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [(adata.X.data, adata.X.indices, adata.X.indptr) for adata in mdata.mod.values()]
    expected = sum(array.nbytes for part in parts for array in part)
    assert bytes_in_memory(h5mu) == pytest.approx(expected, rel=0.2)
    assert not too_large(h5mu)
    monkeypatch.setattr("os.sysconf", lambda _: 100)
    assert too_large(h5mu)
    (h5mu.parent / "text.h5mu").write_text("no")
    assert not too_large(h5mu.parent / "text.h5mu")


@pytest.mark.parametrize("backed", [False, True])
def test_names_of_cells_are_in_memory_once(backed: bool, h5mu: Path) -> None:
    data = read_file(h5mu, backed=backed)
    whole = {id(name) for name in data.obs_names}
    assert all(id(name) in whole for adata in data.mod.values() for name in adata.obs_names)


def test_counts_of_several_modalities_in_one_file_stay_on_disk(mdata: md.MuData, tmp_path: Path) -> None:
    cells = mdata["rna"].obs_names.intersection(mdata["adt"].obs_names)
    adata = ad.concat([mdata[name][cells] for name in ("rna", "adt")], axis=1)
    adata.obs["batch"] = mdata.obs.loc[cells, "batch"].astype(str)
    adata.var["feature_types"] = np.repeat(
        ["Gene Expression", "Antibody Capture"], [mdata["rna"].n_vars, mdata["adt"].n_vars]
    )
    adata = adata[:, np.random.default_rng(0).permutation(adata.n_vars)].copy()
    adata.write_h5ad(tmp_path / "in.h5ad")
    for backed in (False, True):
        data = read_file(tmp_path / "in.h5ad", backed=backed)
        model = MIDAS(data, config=tiny()).fit(progress=False)
        write_result(tmp_path / f"{backed}.h5mu", data, model, impute=True)
    memory, disk = (read_file(tmp_path / f"{backed}.h5mu") for backed in (False, True))
    for name in ("rna", "adt"):
        assert disk[name].var_names.equals(memory[name].var_names)
        np.testing.assert_array_equal(disk[name].X.toarray(), memory[name].X.toarray())
        np.testing.assert_array_equal(disk[name].layers["imputed"], memory[name].layers["imputed"])
    np.testing.assert_array_equal(disk.obsm["X_midas"], memory.obsm["X_midas"])


@pytest.mark.parametrize("backed", [False, True])
def test_what_another_model_decoded_is_left_out(
    backed: bool, fitted: MIDAS, mdata: md.MuData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mdata.var["rank"] = np.arange(mdata.n_vars)
    write_result(tmp_path / "first.h5mu", mdata, fitted, impute=True, correct=True)
    data = read_file(tmp_path / "first.h5mu", backed=backed)
    other = MIDAS(data, config=tiny(), seed=5).fit(progress=False)
    write_result(tmp_path / "second.h5mu", data, other, correct=True)
    found = read_file(tmp_path / "second.h5mu")
    assert set(found.mod) == {f"{name}{end}" for name in ("rna", "adt", "atac") for end in ("", "_corrected")}
    assert all(set(found[name].layers) == {"corrected"} for name in ("rna", "adt", "atac"))
    np.testing.assert_allclose(found["adt_corrected"].X, other.correct("adt").X, rtol=1e-4)
    assert found.var["rank"].iloc[: mdata.n_vars].tolist() == list(range(mdata.n_vars))
    assert (
        "Left out of the result, as another model had decoded them: adt_imputed, atac_imputed, rna_imputed"
        in caplog.text
    )


@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.parametrize("kind", ["whole numbers", "dates", "pandas' own text"])
def test_names_that_are_no_plain_text_are_written_as_text(
    kind: str, backed: bool, fitted: MIDAS, mdata: md.MuData, tmp_path: Path
) -> None:
    if backed:
        write_mudata(tmp_path / "in.h5mu", mdata)
        mdata = read_file(tmp_path / "in.h5mu", backed=True)  # type: ignore[assignment]
    counts, parts = mdata.copy() if not backed else read_file(tmp_path / "in.h5mu"), dict(mdata.mod)
    for adata in parts.values():
        at = mdata.obs_names.get_indexer(adata.obs_names)
        adata.obs.index = {
            "whole numbers": pd.Index(at),
            "dates": pd.to_datetime(at, unit="D"),
            "pandas' own text": pd.Index(adata.obs_names, dtype="string"),
        }[kind]
        adata.var.index = pd.Index(adata.var_names, dtype="string")
    data = joined(parts)
    expected = fitted.latent(data)
    write_result(tmp_path / "out.h5mu", data, fitted, impute=True)
    found = read_file(tmp_path / "out.h5mu")
    assert found.obs_names.tolist() == data.obs_names.astype(str).tolist()
    np.testing.assert_allclose(found.obsm["X_midas"], expected, rtol=1e-4, atol=1e-5)
    assert found["rna"].var_names.tolist() == data["rna"].var_names.astype(str).tolist()
    np.testing.assert_array_equal(table(found["rna"]), table(counts["rna"]))


def test_cells_in_no_modality_are_refused_before_anything_is_decoded(
    fitted: MIDAS, mdata: md.MuData, tmp_path: Path
) -> None:
    for name in mdata.mod:
        mdata.mod[name] = mdata[name][:30].copy()  # without update(), which nobody may know of
    with pytest.raises(
        ValueError, match=r"each cell of the MuData in one of its modalities, found \d+ in none.*update"
    ):
        write_result(tmp_path / "out.h5mu", mdata, fitted, impute=True)
    assert files_under(tmp_path) == []
    assert "X_midas" not in mdata.obsm
