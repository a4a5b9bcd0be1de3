"""Modalities: presets by name and alias, and what cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from midas import ADT, ATAC, RNA, Modality
from midas.modality import preset


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rna", RNA),
        ("RNA", RNA),
        ("gex", RNA),
        ("Gene Expression", RNA),
        ("adt", ADT),
        ("prot", ADT),
        ("Antibody Capture", ADT),
        ("atac", ATAC),
        ("Peaks", ATAC),
        ("batch1", None),
        ("rna2", None),
    ],
)
def test_presets_are_found_by_name_and_alias(name: str, expected: Modality | None) -> None:
    assert preset(name) is expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"likelihood": "zip"}, r"Expected a likelihood out of \['bernoulli', .*found 'zip'"),
        ({"transform": "clr"}, r"Expected a transform out of \('log1p', .*found 'clr'"),
        ({"blocks": "gene"}, r"Expected blocks out of \('none', 'chromosome'\), found 'gene'"),
        ({"depth_by": "median"}, r"Expected depth_by out of \('total', 'geometric_mean'\), found 'median'"),
        ({"weight": -1.0}, r"Expected a weight of 0 or more, found -1\.0"),
        ({"likelihood": "bernoulli"}, "Expected the transform 'binarize' with .*'bernoulli'.*0 and 1, found 'log1p'"),
        ({"likelihood": "bernoulli", "transform": "identity"}, "found 'identity'. Set transform='binarize'"),
        ({"likelihood": "gaussian"}, "Expected the transform 'identity' with .*'gaussian'.*real values, found 'log1p'"),
        ({"likelihood": "gaussian", "transform": "binarize"}, "found 'binarize'. Set transform='identity'"),
    ],
)
def test_impossible_modalities_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Modality(**{"likelihood": "poisson", "transform": "log1p", **values})


def test_the_scale_of_the_encoder() -> None:
    counts = np.array([0.0, 1.0, 3.0])
    assert ADT.encoded(counts).tolist() == np.log1p(counts).tolist()
    assert ATAC.encoded(counts[:2]).tolist() == [0, 1]
    assert Modality("gaussian", "identity").encoded(-counts).tolist() == (-counts).tolist()
