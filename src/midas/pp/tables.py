"""Tables that the user names: read, or refused in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from midas.io import DataFileError

if TYPE_CHECKING:
    from pathlib import Path


def read_table(file: str | Path, what: str, *, text: bool = False) -> pd.DataFrame:
    """Read a table whose columns are separated by commas or tabs.

    Parameters
    ----------
    what
        What it should hold, for the message.
    text
        Leave everything as it is written: numbers, and words that might mean that a value is missing.

    Raises
    ------
    DataFileError
        When there is no such file, or it is no table.
    """
    try:
        separator = "\t" if pd.read_csv(file, sep="\t", nrows=0).shape[1] > 1 else ","
        return pd.read_csv(file, sep=separator, dtype=str if text else None, keep_default_na=not text)
    except (ValueError, OSError, EOFError) as error:
        raise unreadable(file, what, error) from error


def unreadable(file: str | Path, what: str, error: Exception) -> DataFileError:
    """Say why a file could not be read.

    Parameters
    ----------
    what
        What it should hold.
    error
        What reading it raised.
    """
    if isinstance(error, FileNotFoundError):
        return DataFileError(f"{file}: expected {what}, found no such file. Check the path.")
    if isinstance(error, IsADirectoryError):
        return DataFileError(f"{file}: expected {what}, found a folder. Name the file in it.")
    return DataFileError(f"{file}: expected {what}, found something else ({error}).")
