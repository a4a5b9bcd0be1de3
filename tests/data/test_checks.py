"""Values that are no raw counts are refused: what was expected, what was found and where, what to do."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from helpers import joined, names, one
from midas import CountsError, Modality, read_mosaic


def with_value(value: float, form: str) -> ad.AnnData:
    adata = one(names("c", 5), names("g", 4))
    values = adata.X.toarray()
    values[3, 2] = value
    adata.X = {"dense": values, "csr": sp.csr_matrix(values), "csc": sp.csc_matrix(values)}[form]
    return adata


@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
@pytest.mark.parametrize(
    ("value", "found", "advice"),
    [
        (float("nan"), "NaN or infinite values, first nan", "Remove or mend these cells or features"),
        (float("inf"), "NaN or infinite values, first inf", "Remove or mend these cells or features"),
        (-1.0, "negative values, first -1", "Give raw counts, not normalised or log-transformed values"),
        (0.5, "values that are not whole, first 0.5", "Give raw counts, not normalised or log-transformed values"),
    ],
)
def test_what_is_no_count_is_refused_with_its_place(value: float, found: str, advice: str, form: str) -> None:
    with pytest.raises(CountsError) as error:
        read_mosaic({"rna": with_value(value, form)})
    message = str(error.value)
    assert "modality 'rna': expected raw counts (whole numbers from 0 up)" in message
    assert f"found {found}" in message
    assert "at cell 'c3', feature 'g2'" in message
    assert advice in message


def test_log_normalised_values_are_refused_and_layers_are_offered() -> None:
    adata = one(names("c", 5), names("g", 4))
    adata.layers["counts"] = adata.X.copy()
    adata.X = np.log1p(adata.X.toarray() / 3)
    with pytest.raises(CountsError, match=r"not whole.*Layers there: counts; choose one with layer="):
        read_mosaic(adata)
    assert read_mosaic(adata, layer="counts").n_cells == 5


def test_in_a_far_block_of_rows_the_cell_is_still_named() -> None:
    n = 9000  # more than are looked at in one go
    values = sp.lil_matrix((n, 2), dtype=np.float32)
    values[8500, 1] = -3
    adata = ad.AnnData(values.tocsr(), obs=pd.DataFrame({"batch": "b"}, index=names("c", n)))
    adata.var_names = ["g0", "g1"]
    with pytest.raises(CountsError, match="first -3 at cell 'c8500', feature 'g1'"):
        read_mosaic(adata)


def test_one_bad_modality_is_enough_and_is_named() -> None:
    cells = names("c", 5)
    bad = one(cells, names("p", 4))
    bad.X[0, 0] = -2
    with pytest.raises(CountsError, match="modality 'adt': expected raw counts"):
        read_mosaic(joined({"rna": one(cells, names("g", 4)), "adt": bad}))


def test_real_values_may_be_negative_but_not_nan() -> None:
    kinds = {"rna": Modality("gaussian", "identity")}
    assert read_mosaic({"rna": with_value(-0.5, "csr")}, modalities=kinds).n_cells == 5
    with pytest.raises(CountsError, match="expected finite numbers, found NaN"):
        read_mosaic({"rna": with_value(float("nan"), "csr")}, modalities=kinds)


@pytest.mark.parametrize("values", [np.array([["1", "2"]], dtype=object), np.array([[1, 2j]])])
def test_what_is_no_number_is_refused(values: np.ndarray) -> None:
    adata = ad.AnnData(values, obs=pd.DataFrame({"batch": ["b"]}, index=["c"]))
    with pytest.raises(CountsError, match=r"modality 'rna'.*expected numbers, found values of type (object|complex)"):
        read_mosaic(adata)
