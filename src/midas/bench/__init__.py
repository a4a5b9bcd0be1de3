"""Benchmark: data sets x tasks x methods x seeds, one method at a time, resumable, summarised in one table and figures."""

from midas.bench.data import SOURCES, BenchmarkDataset
from midas.bench.environments import prepare
from midas.bench.grid import Settings, run_grid
from midas.bench.registry import METHODS, Method, Shape
from midas.bench.table import summarise, write_tables

__all__ = [
    "METHODS",
    "SOURCES",
    "BenchmarkDataset",
    "Method",
    "Settings",
    "Shape",
    "prepare",
    "run_grid",
    "summarise",
    "write_tables",
]
