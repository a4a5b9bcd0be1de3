"""What every benchmark needs: the machine's description, resource use of a process, markdown tables."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch


def machine() -> str:
    """One line: processor, cores, GPU, threads, torch, commit, date."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    here = Path(__file__).parent
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=False
    ).stdout.strip()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    threads = f"{torch.get_num_threads()} threads"
    day = datetime.now(UTC).date().isoformat()
    return (
        f"{cpu}, {os.cpu_count()} cores{gpu}, {threads}, torch {torch.__version__}, commit {commit or 'unknown'}, {day}"
    )


def peak_rss_mb() -> float:
    """Peak resident memory of this process so far, in MB (10^6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Render a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
