"""Figures contain what they should."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import matplotlib as mpl
import matplotlib.pyplot as plt
import mudata as md
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from helpers import joined
from midas import MIDAS, Modality, pl, tl
from midas.pl.features import counts_of
from midas.pl.figure import MAX_LEGEND, colours
from midas.transfer import Cut

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def embedded(kinds: list[object], dim: int = 2) -> ad.AnnData:
    obs = pd.DataFrame({"kind": kinds}, index=[f"cell{i}" for i in range(len(kinds))])
    adata = ad.AnnData(np.ones((len(kinds), 2), dtype=np.float32), obs=obs)
    adata.obsm["X_midas_u"] = np.random.default_rng(0).normal(size=(len(kinds), dim))
    return adata


def entries(ax: plt.Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_mosaic_names_batches_features_and_bridges(mdata: md.MuData, fitted: MIDAS, tmp_path: Path) -> None:
    ax = pl.mosaic(fitted.mosaic, save=tmp_path / "mosaic.png")
    assert [t.get_text().split()[0] for t in ax.get_yticklabels()] == ["batch1", "batch2", "batch3"]
    texts = [t.get_text() for t in ax.texts]
    assert "rna\n30 features" in texts
    both = len(mdata["rna"].obs_names.intersection(mdata["adt"].obs_names))
    assert f"{both:,}" in texts
    assert (tmp_path / "mosaic.png").stat().st_size > 5000


def test_a_mosaic_is_read_as_it_is_said(mdata: md.MuData) -> None:
    data = mdata.copy()
    data["rna"].layers["counts"] = data["rna"].X.copy()
    data["rna"].X = data["rna"].X * 0.5
    lipids = mdata["rna"][:, :3].copy()
    lipids.X = lipids.X * 0.5
    data = joined({**data.mod, "lipids": lipids})
    ax = pl.mosaic(data, layer={"rna": "counts"}, modalities={"lipids": Modality("gaussian", "identity")})
    assert {"rna\n30 features", "lipids\n3 features"} <= {t.get_text() for t in ax.texts}


def test_epochs_count_from_one(fitted: MIDAS) -> None:
    for table in (fitted.history, fitted.history.drop(columns="epoch")):
        epochs = pl.history(table, terms="total")[0].lines[0].get_xdata()
        assert epochs.tolist() == list(range(1, len(table) + 1))


def test_history_has_a_panel_for_each_term(fitted: MIDAS) -> None:
    titles = [ax.get_title() for ax in pl.history(fitted)]
    assert titles[0] == "total"
    assert {"alignment", "kl c", "kl u", "reconstruction rna", "batch reconstruction"} <= set(titles)
    with pytest.raises(KeyError, match="found nothing"):
        pl.history(fitted, terms="nothing")
    with pytest.raises(ValueError, match="fit"):
        pl.history(pd.DataFrame())


def test_missing_groups_are_named_and_missing_cells_left_out() -> None:
    adata = embedded(["b", "a", None, "a"])
    adata.obsm["X_midas_u"][1] = np.nan
    (ax,) = pl.embedding(adata, "kind")
    assert entries(ax) == ["a", "b", "no label"]
    assert sum(len(c.get_offsets()) for c in ax.collections) == 3


def test_cells_without_a_label_look_like_no_group() -> None:
    (ax,) = pl.embedding(embedded([*"abcdefgh", "unknown", None, "unknown"]), "kind")
    assert entries(ax)[-2:] == ["unknown", "no label"]
    assert len(ax.collections[0].get_offsets()) == 1  # drawn first, so behind the others
    spread = np.ptp(np.array([mpl.colors.to_rgb(c) for c in colours(MAX_LEGEND)]), axis=1)
    assert spread.min() > 0.05
    assert len(set(map(tuple, colours(MAX_LEGEND)))) == MAX_LEGEND


def with_proteins() -> md.MuData:
    cells = [f"cell{i}" for i in range(6)]
    rna, adt = ad.AnnData(csr_matrix(np.arange(12).reshape(6, 2))), ad.AnnData(np.eye(4, 2, dtype=np.float32))
    rna.obs_names, adt.obs_names = cells, cells[2:][::-1]
    rna.var_names, adt.var_names = ["CD4", "CD8A"], ["CD4", "CD3"]
    rna.var["measured_b"] = [False, True]
    with md.set_options(pull_on_update=False):
        mdata = md.MuData({"rna": rna, "adt": adt, "rna_imputed": rna.copy()})
    mdata.obs["batch"] = ["a", "b"] * 3
    mdata.obsm["X_midas_u"] = np.random.default_rng(0).normal(size=(6, 2))
    return mdata


def test_features_are_colours() -> None:
    mdata = with_proteins()
    found = {name: counts_of(mdata, name, "batch").tolist() for name in ("CD8A", "rna:CD4", "adt:CD4", "CD3")}
    nan = pytest.approx(np.nan, nan_ok=True)
    assert found["CD8A"] == [1, 3, 5, 7, 9, 11]
    assert found["rna:CD4"] == [0, nan, 4, nan, 8, nan]
    assert found["adt:CD4"] == [nan, nan, 0, 0, 0, 1]
    assert counts_of(mdata, "rna:CD4", None).tolist() == [0, 2, 4, 6, 8, 10]
    axes = pl.embedding(mdata, ["batch", "rna:CD4"])
    assert axes[1].get_title() == "rna:CD4, log1p"
    assert [len(c.get_offsets()) for c in axes[1].collections] == [3, 3]
    np.testing.assert_allclose(np.sort(axes[1].collections[1].get_array()), np.log1p([0, 4, 8]))
    with pytest.raises(KeyError, match=r"found 2: in rna, adt. Write modality:feature"):
        pl.embedding(mdata, "CD4")
    with pytest.raises(KeyError, match=r"called 'rna:CD3', found neither: obs has batch, the modalities are rna, adt"):
        pl.embedding(mdata, "rna:CD3")
    del mdata.obs["batch"]
    with pytest.raises(KeyError, match=r"batches in obs\['batch'\], as some did not measure the feature"):
        pl.embedding(mdata, "rna:CD4")


def test_flags_of_batches_that_are_numbers_count() -> None:
    mdata = with_proteins()
    mdata["rna"].var["measured_1"] = [False, True]
    mdata.obs["batch"] = [1.0, 2.0] * 3
    nan = pytest.approx(np.nan, nan_ok=True)
    assert counts_of(mdata, "rna:CD4", "batch").tolist() == [nan, 2, nan, 6, nan, 10]


def test_flags_of_other_batches_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    mdata = with_proteins()
    assert counts_of(mdata, "rna:CD8A", "batch").notna().all()
    assert not caplog.records
    mdata.obs["batch"] = "lane1"
    assert counts_of(mdata, "rna:CD4", "batch").notna().all()
    assert "name no batch in obs['batch'] ('lane1') were not used: 'measured_b'" in caplog.text


def test_columns_of_the_modalities_are_colours() -> None:
    mdata = with_proteins()
    mdata["adt"].obs["staining"] = list("xyxy")[: mdata["adt"].n_obs]
    assert "staining" not in mdata.obs
    axes = pl.embedding(mdata, "staining")
    assert axes[0].get_title() == "staining"
    assert sum(len(points.get_offsets()) for points in axes[0].collections) >= mdata.n_obs


def test_features_of_one_modality_are_read_from_disk(tmp_path: Path) -> None:
    adata = embedded(["a"] * 5)
    adata.var_names = ["chr1:1-9", "chr1:20-30"]
    adata.X = csr_matrix(np.arange(10, dtype=np.float32).reshape(5, 2))
    adata.write_h5ad(tmp_path / "x.h5ad")
    backed = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    assert counts_of(backed, "chr1:20-30", "batch").tolist() == [1, 3, 5, 7, 9]
    backed.file.close()
    adata.X = adata.X.toarray() - 1  # scaled values are no counts
    assert pl.embedding(adata, "chr1:1-9")[0].get_title() == "chr1:1-9"


def test_many_groups_get_a_legend_of_several_columns_or_none() -> None:
    (ax,) = pl.embedding(embedded([f"g{i % 40}" for i in range(80)]), "kind")
    assert entries(ax)[1:3] == ["g1", "g2"]
    (ax,) = pl.embedding(embedded([f"g{i}" for i in range(80)]), "kind")
    assert ax.get_legend() is None
    assert ax.get_title() == "kind (80 groups)"


def test_one_pair_of_axes_takes_one_panel() -> None:
    ax = plt.subplots()[1]
    adata = embedded(["a"] * 12)
    assert pl.embedding(adata, "kind", ax=ax) == [ax]
    with pytest.raises(ValueError, match="one panel"):
        pl.embedding(adata, ["kind", "modalities"], ax=ax)
    with pytest.raises(KeyError, match="a feature called 'other', found neither: obs has kind"):
        pl.embedding(adata, "other")


def test_combinations_ignore_decoded_modalities(mdata: md.MuData) -> None:
    before = named_combinations(mdata)
    assert before <= {"rna", "adt", "atac", "rna+adt", "rna+atac", "adt+atac", "rna+adt+atac"}
    with md.set_options(pull_on_update=False):
        more = md.MuData({**mdata.mod, "rna_imputed": mdata["rna"].copy()})
    assert named_combinations(more) == before


def named_combinations(mdata: md.MuData) -> set[str]:
    mdata.obsm["X_midas_u"] = np.zeros((mdata.n_obs, 2))
    legend = pl.embedding(mdata, "modalities")[0].get_legend()
    assert legend is not None
    return {text.get_text() for text in legend.get_texts()}


def test_grid_says_what_was_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """UMAP takes long to compile and is left out."""
    monkeypatch.setattr(sys.modules["midas.pl.grid"], "layout", lambda z, _: z[:, :2])
    z = np.random.default_rng(0).normal(size=(40, 3))
    adt = np.where(np.arange(40)[:, None] < 20, np.nan, z)
    axes = pl.grid({"adt": adt, "joint": z}, np.repeat(["x", "y"], 20), ["T"] * 40)
    assert [t.get_text() for t in axes[0, 0].texts] == ["not measured"]
    assert not axes[1, 0].texts
    assert axes[1, 0].get_ylabel() == "joint"


def test_grid_matches_tables_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["midas.pl.grid"], "layout", lambda z, _: z[:, :2])
    z = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 3)), index=[f"c{i}" for i in range(40)])
    batch = pd.Series(np.repeat(["x", "y"], 20), index=z.index)
    axes = pl.grid({"rna": z[::-1], "joint": z}, batch[::-1], batch)
    for panel, other in axes.T:
        np.testing.assert_allclose(*(ax.collections[1].get_offsets() for ax in (panel, other)))
    drawn = axes[1, 0].collections[1].get_offsets()
    np.testing.assert_allclose(np.sort(drawn[:, 0]), np.sort(z.iloc[:20, 0]))
    with pytest.raises(KeyError, match="latents of 'rna' with all 40 cells"):
        pl.grid({"rna": z[1:], "joint": z}, batch, batch)


def test_a_figure_that_cannot_be_written_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "new" / "folder" / "figure.svg"
    pl.embedding(embedded(["a"] * 12), "kind", save=target)
    before = target.read_bytes()
    assert before.startswith(b"<?xml")

    def full(self: object, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(OSError, match="No space"):
        pl.embedding(embedded(["b"] * 12), "kind", save=target)
    assert target.read_bytes() == before
    assert list(target.parent.iterdir()) == [target]


def test_a_figure_without_suffix_is_of_the_default_format(tmp_path: Path) -> None:
    pl.embedding(embedded(["a"] * 12), "kind", save=tmp_path / "figure")
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


def test_kept_colours_are_those_of_the_categories() -> None:
    adata = embedded(["b", "c", "b", "c"])
    adata.obs["kind"] = pd.Categorical(adata.obs["kind"], categories=["a", "b", "c"])
    adata.uns["kind_colors"] = np.array(["#ff0000", "#00ff00", "#0000ff"])
    (ax,) = pl.embedding(adata, "kind")
    assert {h.get_label(): h.get_color() for h in ax.get_legend().legend_handles} == {"b": "#00ff00", "c": "#0000ff"}
    adata.uns["kind_colors"] = ["#ff0000", "#00ff00"]  # of two groups, but there are three categories
    (ax,) = pl.embedding(adata, "kind")
    assert not {h.get_color() for h in ax.get_legend().legend_handles} & {"#ff0000", "#00ff00"}


def test_imputed_takes_measured_values_alone() -> None:
    rng = np.random.default_rng(0)
    x = rng.poisson(5, (40, 2)).astype(np.float32)
    adata = ad.AnnData(x, obs=pd.DataFrame({"batch": ["a", "b"] * 20}, index=[str(i) for i in range(40)]))
    adata.layers["imputed"] = x.copy()
    adata.layers["imputed"][::2, 1] = 1000  # not measured there
    adata.var["measured_a"] = [True, False]
    assert pl.imputed(adata)[0].get_title() == "all 2 features: r = 1.00"
    with pytest.raises(KeyError, match="found CD4"):
        pl.imputed(adata, "CD4")


def test_imputed_accessibility_has_an_auroc() -> None:
    x = (np.arange(40).reshape(20, 2) % 2).astype(np.float32)
    adata = ad.AnnData(x, layers={"imputed": 0.2 + 0.5 * x})
    ax = pl.imputed(adata)[0]
    assert ax.get_title() == "all 2 features: AUROC = 1.00"
    assert entries(ax) == ["closed (n = 20)", "accessible (n = 20)"]


def test_contributions_are_as_long_as_they_say() -> None:
    ax = pl.contributions(pd.DataFrame({"rna": [0.7, np.nan], "adt": [0.3, np.nan]}, index=["B", "T"]))
    assert [round(bar.get_width(), 2) for bar in ax.patches] == [0.7, 0, 0.3, 0]
    assert "no cell has every modality" in [t.get_text() for t in ax.texts]


def test_confusion_puts_unknown_last_and_matches_by_name() -> None:
    known = pd.Series({"c1": "Z", "c2": "A", "c3": "A"})
    ax = pl.confusion(known, pd.Series({"c3": "A", "c2": "Unknown", "c1": "Z", "c4": "A"}))
    assert [t.get_text() for t in ax.get_xticklabels()] == ["A", "Z", "Unknown"]
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.5, 0, 0.5], [0, 1, 0]])
    with pytest.raises(ValueError, match="found 1 and 2"):
        pl.confusion(["a"], ["a", "b"])


def test_scores_show_their_cut() -> None:
    ax = pl.unknown_score([0.1, np.nan, 0.8], 0.5, groups=["a", "a", None])
    assert ax.lines[0].get_xdata()[0] == 0.5
    assert ax.get_title().startswith("1 of 2 cells")
    assert entries(ax) == ["a", "no label"]
    assert pl.unknown_score([0.1, 0.8], Cut(0.5, 5.0)).get_title() == "1 of 2 cells (50%) above 0.50"
    ax = pl.unknown_score([0.1, 0.8], threshold=Cut(np.inf, 1.0))
    assert ax.get_title() == "no cut: none of 2 cells called unknown"
    assert not ax.lines
    ax = pl.accessibility(pd.Series([0.0, 0.3, 0.1]))
    assert ax.get_title() == "1 of 3 cells (33%) below 2%"
    assert sum(bar.get_height() for bar in ax.patches) == 3


def test_fold_changes_name_groups_with_their_r() -> None:
    raw = pd.DataFrame([[1.0, np.nan, 2.0]], index=["B"], columns=list("xyz"))
    ax = pl.fold_changes(tl.FoldChanges(raw, raw, pd.Series({"B": 1.0}), 1.0))
    assert entries(ax) == ["B  (1.000)"]
    assert len(ax.collections[0].get_offsets()) == 2


def test_the_curve_follows_the_cells() -> None:
    adata = embedded(["a"] * 100)
    time = np.linspace(0, 1, 100)
    adata.obs["t"] = time
    adata.obsm["X_midas"] = np.c_[np.sin(3 * time), np.zeros(100)]
    (ax,) = pl.along_pseudotime(adata, [1], pseudotime="t")
    x, y = ax.lines[-1].get_data()
    np.testing.assert_allclose(y, np.sin(3 * x), atol=0.05)


def test_numbers_along_pseudotime_get_a_scale() -> None:
    adata = embedded(["a"] * 20)
    adata.obsm["X_midas"] = adata.obsm["X_midas_u"]
    adata.obs["t"] = np.linspace(0, 1, 20)
    adata.obs["depth"] = pd.array([None, *range(19)], dtype="Int64")
    (ax,) = pl.along_pseudotime(adata, [1], pseudotime="t", color="depth")
    assert [len(c.get_offsets()) for c in ax.collections] == [1, 19]
    np.testing.assert_array_equal(ax.collections[1].get_array(), np.arange(19))
    assert ax.get_legend() is None


def test_a_layout_says_that_it_takes_time(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    fake = SimpleNamespace(UMAP=lambda **_: SimpleNamespace(fit_transform=lambda z: z[:, :2]))
    monkeypatch.setitem(sys.modules, "umap", fake)
    caplog.set_level("INFO", logger="midas")
    for _ in range(2):
        adata = embedded(["a"] * 12)
        pl.umap(adata, "kind", basis="X_midas_u")
        pl.umap(adata, "kind", basis="X_midas_u")  # laid out already
    assert caplog.text.count("Laying out 12 cells; the first time in a process takes up to a minute") == 2


def test_a_layout_of_another_embedding_or_seed_is_not_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = SimpleNamespace(
        UMAP=lambda random_state, **_: SimpleNamespace(fit_transform=lambda z: z[:, :2] + random_state)
    )
    monkeypatch.setitem(sys.modules, "umap", fake)
    adata = embedded(["a"] * 12)
    pl.umap(adata, "kind", basis="X_midas_u")
    mdata = md.MuData({"x": adata})
    mdata.obsm, mdata.uns = adata.obsm, adata.uns
    mdata.write_h5mu(tmp_path / "x.h5mu")
    mdata = md.read_h5mu(tmp_path / "x.h5mu")
    mdata.obsm["X_midas_u_umap"] += 5  # whatever it was made of is still there
    moved = mdata.obsm["X_midas_u_umap"].copy()
    pl.umap(mdata, "modalities", basis="X_midas_u")
    np.testing.assert_array_equal(mdata.obsm["X_midas_u_umap"], moved)
    some = mdata[mdata.obs_names[5:]].copy()
    pl.umap(some, "modalities", basis="X_midas_u")
    np.testing.assert_array_equal(some.obsm["X_midas_u_umap"], moved[5:])
    pl.umap(mdata, "modalities", basis="X_midas_u", seed=1)
    np.testing.assert_allclose(mdata.obsm["X_midas_u_umap"], mdata.obsm["X_midas_u"] + 1, rtol=1e-6)
    mdata.obsm["X_midas_u"] = -mdata.obsm["X_midas_u"]
    pl.umap(mdata, "modalities", basis="X_midas_u")
    np.testing.assert_allclose(mdata.obsm["X_midas_u_umap"], mdata.obsm["X_midas_u"], rtol=1e-6)
    adata.uns, adata.obsm["X_midas_u"] = {}, -adata.obsm["X_midas_u"]
    before = adata.obsm["X_midas_u_umap"].copy()
    pl.umap(adata, "kind", basis="X_midas_u")
    np.testing.assert_array_equal(adata.obsm["X_midas_u_umap"], before)


def test_correlation_shows_the_strongest() -> None:
    r = pd.DataFrame([[0.9, 0.0, -0.7, np.nan], [0.0, 0.8, 0.1, np.nan]], index=["d1", "d2"], columns=list("wxyz"))
    ax = pl.correlation(r, n=1)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["w", "x"]
    with pytest.raises(KeyError, match="found d9"):
        pl.correlation(r, ["d9"])
