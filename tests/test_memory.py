from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import midas
from midas.data import read_mosaic
from midas.io import read_file, write_mudata
from midas.memory import release_memory
from midas.training.plan import plan_training


def has_table(index: object) -> bool:
    """Whether pandas has made its table of an index."""
    return "_engine" in index._cache and index._engine.is_mapping_populated  # type: ignore[attr-defined]


def test_tables_of_names_do_not_stay(tmp_path: Path) -> None:
    config = midas.simulate.SimulationConfig(n_cells=300, n_genes=30, n_proteins=5, n_peaks=40)
    write_mudata(tmp_path / "data.h5mu", midas.simulate.mosaic(config))
    data = read_file(tmp_path / "data.h5mu", backed=True)
    mosaic = read_mosaic(data)
    plan_training(mosaic, midas.Config().training, 0)
    assert not any(has_table(index) for index in (data.obs_names, *(adata.obs_names for adata in data.mod.values())))
    assert mosaic.cells.equals(data.obs_names)
    assert isinstance(mosaic.obs.index, pd.RangeIndex)


def test_a_mosaic_holds_a_few_dozen_bytes_of_a_cell() -> None:
    n = 100_000
    names = pd.Index([f"AAACCCAAGAAACACT-{i}" for i in range(n)])
    counts = sp.csr_matrix(np.ones((n, 1), dtype=np.float32))
    adata = ad.AnnData(counts, obs=pd.DataFrame({"batch": "a"}, index=names))
    tracemalloc.start()
    mosaic = read_mosaic(adata)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert mosaic.n_cells == n
    assert held / n < 50


def test_canonical_order_is_by_batch_and_name() -> None:
    mosaic = read_mosaic(midas.simulate.mosaic(midas.simulate.SimulationConfig(n_cells=200)))
    shuffled = mosaic.load(np.random.default_rng(0).permutation(mosaic.n_cells))
    order = shuffled.canonical_order()
    expected = sorted(range(shuffled.n_cells), key=lambda i: (shuffled.batch[i], shuffled.cells[i]))
    assert order.tolist() == expected
    assert mosaic.load(np.empty(0, dtype=np.int64)).canonical_order().tolist() == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library of Linux")
def test_memory_between_objects_in_use_is_given_back() -> None:
    script = """
import re
from midas.memory import release_memory
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
release_memory()
held = [bytes(20_000) for _ in range(5_000)]
del held[: -1 : 2]
before = resident()
assert release_memory()
print(before - resident())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 10e6  # of the 50 MB that lie between the others


def test_release_memory_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert release_memory() is False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library of Linux")
def test_freed_memory_is_kept() -> None:
    script = """
import resource
import numpy as np
from midas.memory import keep_freed
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [np.full(8 * 2**20, i, dtype=np.uint8) for i in range(4)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults())
keep_freed()
faults()
print(faults())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 10
