from __future__ import annotations

import pandas as pd

from helpers import names
from midas.text import counted, describe_names


def test_numbers_with_their_nouns() -> None:
    assert counted(1, "gene", "genes") == "1 gene"
    assert counted(2_000, "gene", "genes") == "2,000 genes"


def test_long_lists_of_names_are_cut() -> None:
    assert describe_names(pd.Index(["a", "b"])) == "'a', 'b'"
    assert describe_names(pd.Index(names("c", 1007))) == "'c0', 'c1', 'c2', 'c3', 'c4' and 1,002 more"
