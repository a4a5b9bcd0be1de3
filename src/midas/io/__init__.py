"""Data files and result files."""

from midas.io.files import DataFileError, read_file, write_mudata
from midas.io.result import write_mapped, write_result

__all__ = [
    "DataFileError",
    "read_file",
    "write_mapped",
    "write_mudata",
    "write_result",
]
