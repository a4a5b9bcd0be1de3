"""Data files and result files."""

from midas.io.files import (
    DataFileError,
    bytes_in_memory,
    check_rewritable,
    check_source,
    check_target,
    read_file,
    too_large,
    write_mudata,
)
from midas.io.result import write_mapped, write_result

__all__ = [
    "DataFileError",
    "bytes_in_memory",
    "check_rewritable",
    "check_source",
    "check_target",
    "read_file",
    "too_large",
    "write_mapped",
    "write_mudata",
    "write_result",
]
