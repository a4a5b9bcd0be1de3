"""Read tables named by the user, or refuse them with one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from midas.io import DataFileError

if TYPE_CHECKING:
    from pathlib import Path


def read_table(file: str | Path, what: str, *, text: bool = False) -> pd.DataFrame:
    """Read a comma- or tab-separated table.

    Parameters
    ----------
    what
        Expected content, for the error message.
    text
        Keep all values as text, including numbers and words that may stand for missing values.

    Raises
    ------
    DataFileError
        If there is no such file, or it is not a table.
    """
    try:
        separator = "\t" if pd.read_csv(file, sep="\t", nrows=0).shape[1] > 1 else ","
        return pd.read_csv(file, sep=separator, dtype=str if text else None, keep_default_na=not text)
    except (ValueError, OSError, EOFError) as error:
        raise unreadable(file, what, error) from error


def unreadable(file: str | Path, what: str, error: Exception) -> DataFileError:
    """Explain why a file could not be read.

    Parameters
    ----------
    what
        Expected content.
    error
        Exception raised on reading.
    """
    if isinstance(error, FileNotFoundError):
        return DataFileError(f"{file}: expected {what}, found no such file. Check the path.")
    if isinstance(error, IsADirectoryError):
        return DataFileError(f"{file}: expected {what}, found a folder. Name the file in it.")
    return DataFileError(f"{file}: expected {what}, found something else ({error}).")
