"""The order in which people sort names."""

from __future__ import annotations

from midas.natural import natural


def test_numbers_within_names_count_as_numbers() -> None:
    assert sorted(["chr10", "chrX", "chr2", "10", "b"], key=natural) == ["10", "b", "chr2", "chr10", "chrX"]


def test_digits_that_are_no_numbers_are_letters() -> None:
    assert sorted(["CD3²", "CD20", "CD3", "①"], key=natural) == ["CD3", "CD3²", "CD20", "①"]
