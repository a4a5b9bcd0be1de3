"""``midas.report``: awkward data, what the page holds and what it does not, and that nothing is half there."""

from __future__ import annotations

import base64
import json
import re
import tracemalloc
import types
from pathlib import Path
from typing import Any

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from pages import HOSTILE

import midas
from helpers import dense, files_under, joined, names, one, simulated, tiny
from midas.columns import all_columns, as_text
from midas.data import Mosaic
from midas.reporting import Choices, check_page
from midas.reporting.choices import columns_of, label_of
from midas.reporting.colours import _markers, pack_column
from midas.reporting.judge import _codes
from midas.reporting.render import to_json


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def codes(packed: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed), dtype=kind)


def train(data: object, **options: object) -> midas.MIDAS:
    return midas.MIDAS(data, config=tiny(), **options).fit(progress=False)


def test_report_is_a_function_of_the_package() -> None:
    assert isinstance(midas.report, types.FunctionType)


def test_no_name_breaks_out_of_the_page(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text.count("</script>") == text.count("<script") == 3
    assert "<b>&" not in text
    assert "five <i>" not in text
    assert "five &lt;i&gt;" in text
    assert any(HOSTILE in name for name in data_of(page)["names"])


def test_the_page_asks_for_nothing(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert not re.search(r"\b(src|href)=\"(?!#|data:,)", text)
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|sendBeacon|WebSocket|import\(", text)
    assert "default-src 'none'" in text


def test_columns_come_back_as_they_were(page: Path, integrated: tuple[midas.MIDAS, md.MuData]) -> None:
    _, mdata = integrated
    data = data_of(page)
    columns = {column["name"]: column for column in data["columns"]}
    obs = mdata.obs.loc[data["names"]]
    age, note = columns["age"], columns["note"]
    steps = codes(age["codes"], "<u2").astype(float)
    missing = obs["age"].isna().to_numpy()
    assert ((steps == 65535) == missing).all()
    found = age["low"] + steps / 65534 * (age["high"] - age["low"])
    np.testing.assert_allclose(found[~missing], obs["age"][~missing], atol=0.01)
    text = [None if code == 65535 else note["categories"][code] for code in codes(note["codes"], "<u2")]
    assert text == obs["note"].astype(object).where(obs["note"].notna(), None).tolist()
    assert list(columns)[:2] == ["batch", "modalities"]


def test_features_are_the_counts_and_what_the_model_says(page: Path, integrated: tuple[midas.MIDAS, md.MuData]) -> None:
    model, mdata = integrated
    data = data_of(page)
    first = next(f for f in data["features"] if (f["modality"], f["name"]) == ("adt", "PROT01"))
    adt = mdata["adt"]
    here = pd.Index(data["names"]).isin(adt.obs_names)
    measured = codes(first["measured"], "u1")
    assert ((measured != 255) == here).all()
    true = adt[pd.Index(data["names"])[here], "PROT01"].X.toarray().ravel()
    step = (first["high"] - first["low"]) / 254
    np.testing.assert_allclose(measured[here] * step, np.minimum(np.log1p(true), first["high"]), atol=step)
    imputed = model.impute("adt")[data["names"], "PROT01"].X.ravel()
    np.testing.assert_allclose(codes(first["imputed"], "u1") * step, np.log1p(imputed), atol=step + 0.01)


def panels(n: int, width: int, density: float, share: float) -> Mosaic:
    """Cells of three batches of which each measured a share of the features."""
    rng = np.random.default_rng(0)
    x = sp.random(n, width, density, "csr", np.float32, rng, lambda size: rng.integers(1, 9999, size))
    batch = rng.integers(3, size=n)
    var = pd.DataFrame({f"measured_{b}": rng.random(width) < share for b in range(3)}, index=names("G", width))
    obs = pd.DataFrame({"batch": batch.astype(str)}, index=names("cell", n))
    seen = sp.csr_matrix(x.multiply(var.T.to_numpy()[batch]))
    return midas.read_mosaic({"rna": ad.AnnData(seen, obs=obs, var=var)})


def test_markers_are_those_of_a_dense_table() -> None:
    mosaic, rng = panels(300, 40, 0.5, 0.7), np.random.default_rng(1)
    cells, groups = rng.permutation(300)[:200], rng.integers(-1, 3, 200)
    full = np.log1p(dense(mosaic, "rna").iloc[cells[groups >= 0]].reset_index(drop=True))
    of = full.groupby(groups[groups >= 0])
    score = ((of.mean() - full.mean()) / full.std(ddof=0)).to_numpy()
    ranked = np.argsort(-np.nan_to_num(score, nan=-np.inf), axis=1, kind="stable")
    assert _markers(mosaic, "rna", cells, groups, 20) == list(dict.fromkeys(ranked.T.ravel().tolist()))[:20]


def test_markers_need_no_array_of_cells_by_features() -> None:
    mosaic = panels(600, 8000, 0.01, 1)
    tracemalloc.start()
    _markers(mosaic, "rna", np.arange(600), np.arange(600) % 3, 40)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 600 * 8000 * 8 / 2


def test_what_is_not_chosen_is_not_there(
    quick: None, integrated: tuple[midas.MIDAS, md.MuData], tmp_path: Path
) -> None:
    model, mdata = integrated
    page = midas.report(model, mdata, tmp_path / "r.html", columns=["age"], cell_names=False)
    text = page.read_text("utf-8")
    assert [column["name"] for column in data_of(page)["columns"]] == ["batch", "modalities", "age"]
    assert "secret-" not in text
    assert not any(name in text for name in mdata.obs_names)
    assert "holds no names of cells" in text


def test_a_sample_says_so_and_keeps_rare_groups(
    quick: None, integrated: tuple[midas.MIDAS, md.MuData], tmp_path: Path
) -> None:
    model, mdata = integrated
    first = midas.report(model, mdata, tmp_path / "a.html", most_cells=90)
    assert "90 of 200 cells are drawn" in first.read_text("utf-8")
    assert data_of(first)["n"] == 90
    again = midas.report(model, mdata, tmp_path / "b.html", most_cells=90)
    assert data_of(first) == data_of(again)


def test_cells_without_measurement_are_counted(quick: None, tmp_path: Path) -> None:
    mdata = simulated()
    model = train(mdata)
    del mdata.mod["rna"]  # its rows stay, those of cells with nothing but RNA too
    lost = ~mdata.obs_names.isin([*mdata["adt"].obs_names, *mdata["atac"].obs_names])
    assert lost.any()
    page = midas.report(model, mdata, tmp_path / "r.html")
    assert f"{lost.sum()} cells have no measurement" in page.read_text("utf-8")
    assert data_of(page)["n"] == mdata.n_obs - lost.sum()


@pytest.mark.parametrize("n", [3, 8, 70])
def test_an_anndata_of_one_modality_one_batch_and_no_label(quick: None, n: int, tmp_path: Path) -> None:
    adata = one(names("c", n), names("g", 5), None)
    page = midas.report(train(adata, batch_key=None), adata, tmp_path / "r.html")
    text = page.read_text("utf-8")
    assert "over-corrected" not in text
    assert "There is one batch" in text
    assert data_of(page)["n"] == n


@pytest.mark.parametrize("bare", [False, True])
def test_types_may_be_numbers_and_few(
    quick: None, bare: bool, integrated: tuple[midas.MIDAS, md.MuData], tmp_path: Path
) -> None:
    model, mdata = integrated
    mdata = joined(mdata.mod, batch=mdata.obs["batch"])
    mdata.obs["number"] = np.where(bare & (np.arange(200) > 1), np.nan, np.arange(200) % 2 + 1)
    data = data_of(midas.report(model, mdata, tmp_path / "r.html", label="number"))
    shown = next(column for column in data["columns"] if column["name"] == "number")
    assert shown["categories"] == ["1", "2"]
    assert {feature["modality"] for feature in data["features"]} == {"rna", "adt", "atac"}


def test_one_type_is_none_to_judge_by(quick: None, integrated: tuple[midas.MIDAS, md.MuData], tmp_path: Path) -> None:
    model, mdata = integrated
    mdata = joined(mdata.mod, batch=mdata.obs["batch"])
    mdata.obs["lone"] = ["T", *[None] * 199]
    page = midas.report(model, mdata, tmp_path / "r.html", label="lone")
    assert "with the types of the column" not in page.read_text("utf-8")
    assert data_of(page)["label"] == "lone"


def test_no_bridge_is_said(quick: None, tmp_path: Path) -> None:
    mdata = simulated(mosaic=("rna", "adt"))
    text = midas.report(train(mdata), mdata, tmp_path / "r.html").read_text("utf-8")
    assert "share no modality" in text
    assert "name the genes of features" in text


def test_a_loaded_model_reports_on_new_cells(
    quick: None, integrated: tuple[midas.MIDAS, md.MuData], tmp_path: Path
) -> None:
    model, mdata = integrated
    model.save(tmp_path / "model")
    rna = mdata["rna"][:40].copy()
    rna.obs["batch"] = "new"
    text = midas.report(midas.MIDAS.load(tmp_path / "model"), rna, tmp_path / "r.html").read_text("utf-8")
    assert "40 cells" in text


def test_an_error_leaves_the_older_page(
    quick: None, integrated: tuple[midas.MIDAS, md.MuData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.html").write_text("older")
    with pytest.raises(KeyError, match=r"none called 'ag'.*There are: .*age"):
        midas.report(*integrated, tmp_path / "r.html", columns=["ag"])
    with pytest.raises(KeyError, match="none called 'CD3'"):
        midas.report(*integrated, tmp_path / "r.html", features=["CD3"])
    with pytest.raises(KeyError, match="none called 'CD3'"):
        midas.report(*integrated, tmp_path / "r.html", columns="age", features="CD3")
    with pytest.raises(midas.NotFittedError):
        midas.report(midas.MIDAS(integrated[1], config=tiny()), integrated[1], tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text() == "older"
    assert files_under(tmp_path) == ["r.html"]


def test_a_page_that_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d.html").mkdir()
    (tmp_path / "file").touch()
    for path, message in (
        (tmp_path / "r.pdf", "expected the report to end in .html, found '.pdf'"),
        (tmp_path / "d.html", "found a folder"),
        (tmp_path / "file" / "r.html", "expected a place that can be written to"),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            check_page(path)
    with pytest.raises(ValueError, match="replaces no other file"):
        check_page(tmp_path / "in.html", (tmp_path / "in.html",))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"midas-mosaic\[report\]"):
        check_page(tmp_path / "r.html")


def test_columns_of_modalities_are_joined_where_they_agree() -> None:
    mdata = simulated(n_cells=60)
    mdata.obs = mdata.obs[["batch"]]
    mdata["rna"].obs["same"], mdata["adt"].obs["same"] = "x", "x"
    mdata["rna"].obs["depth"], mdata["adt"].obs["depth"] = 1.0, 2.0
    obs = all_columns(mdata)
    assert {"same", "rna:depth", "adt:depth"} <= set(obs.columns)
    has = mdata.obs_names.isin(mdata["rna"].obs_names) | mdata.obs_names.isin(mdata["adt"].obs_names)
    assert (obs["same"].notna().to_numpy() == has).all()
    assert label_of(obs, None) == "cell_type"


def test_columns_that_are_called_like_the_pages_own_are_told_apart(quick: None, tmp_path: Path) -> None:
    mdata = simulated(n_cells=60)
    for part in (mdata, *mdata.mod.values()):
        part.obs["donor"], part.obs["batch"] = part.obs["batch"].astype(str), "lane1"
    mdata.obs["modalities"] = midas.read_mosaic(mdata, batch_key="donor").combinations().tolist()
    found = data_of(midas.report(train(mdata, batch_key="donor"), mdata, tmp_path / "r.html", label="batch"))
    kinds = {column["name"]: column["categories"] for column in found["columns"]}
    assert (kinds["batch"], kinds["batch (yours)"]) == (["batch1", "batch2", "batch3"], ["lane1"])
    assert "modalities (yours)" not in kinds  # they say the same


def test_columns_are_chosen_and_identifiers_left_out() -> None:
    n = 300
    obs = pd.DataFrame(
        {"id": [f"x{i}" for i in range(n)], "Cell Type": ["a", "b"] * 150, "empty": np.nan, "depth": 1.5}
    )
    assert label_of(obs, None) == "Cell Type"
    assert columns_of(obs, Choices()) == (["Cell Type", "depth"], ["id", "empty"])
    assert columns_of(obs, Choices(columns=("id",)))[0] == ["id"]
    assert label_of(obs.drop(columns="Cell Type"), None) is None


def test_json_may_stand_in_a_script() -> None:
    text = to_json({"a": "</script><!--&\u2028\ud800"})
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text)["a"].startswith("</script><!--&\u2028")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["c10", "c2", None, "c1"], ["c1", "c2", "c10"]),
        (pd.Categorical([2.0, 0.0, None, 10.0], categories=[10.0, 0.0, 2.0]), ["10", "0", "2"]),
    ],
)
def test_groups_are_written_and_ordered_as_everywhere(values: Any, expected: list[str]) -> None:
    column, (found, kinds) = pack_column("x", pd.Series(values)), _codes(pd.Series(values))
    assert list(column.categories or ()) == list(kinds) == expected
    assert found[2] == -1
    text = [None if code < 0 else kinds[code] for code in found]
    assert [None if code == 65535 else expected[code] for code in codes(column.codes, "<u2")] == text
    assert text == as_text(pd.Series(values)).tolist()


def test_unknown_is_no_type() -> None:
    codes_, names_ = _codes(pd.Series(["B", "Unknown", None, "A", "nan"]))
    assert codes_.tolist() == [1, -1, -1, 0, -1]
    assert names_ == ("A", "B")
