#!/usr/bin/env bash
# Make a virtual environment for one of the peer tools, from PyPI.
#
#   setup_env.sh scmidas TARGET_DIR   # scmidas 0.3.0, for run_scmidas.py
#   setup_env.sh scib    TARGET_DIR   # scib-metrics 0.5.10, for score_scib.py
#
# Either environment can run make_mosaics.py. PYTHON picks the interpreter (default: python3.11).
#
# scmidas 0.3.0 asks for torch<2.11 with torchvision and torchaudio. It imports neither of the latter, so they are
# left out, and it runs unchanged with the newer torch used here; hence --no-deps. Set TORCH to another requirement
# (TORCH="torch==2.10.*") to stay inside its own pins; on a machine without GPU add the CPU index of PyTorch.
set -euo pipefail

if [ $# -ne 2 ]; then
    echo "usage: $0 {scmidas|scib} TARGET_DIR" >&2
    exit 2
fi
kind=$1
target=$2

if [ "$kind" != scmidas ] && [ "$kind" != scib ]; then
    echo "unknown environment: $kind" >&2
    exit 2
fi
[ -x "$target/bin/python" ] || "${PYTHON:-python3.11}" -m venv "$target"
pip=("$target/bin/python" -m pip install --quiet)

if [ "$kind" = scmidas ]; then
    "${pip[@]}" "${TORCH:-torch==2.13.*}"
    "${pip[@]}" --no-deps "scmidas==0.3.0"
    "${pip[@]}" "lightning>=2.4,<2.7" "anndata>=0.10,<0.13" "mudata>=0.3,<0.4" "scanpy>=1.10,<2" "tqdm>=4.64,<5" \
        "requests<3" "toml<1" "natsort<9" "matplotlib>=3.7,<4" "scikit-learn>=1.2,<2" "pandas>=1.5,<3" "numpy>=1.23,<3" \
        "scipy>=1.9,<2"
    "$target/bin/python" -c "import scmidas; print('scmidas', scmidas.__version__)"
else
    "${pip[@]}" "scib-metrics==0.5.10" anndata mudata
    "$target/bin/python" -c "from importlib.metadata import version; print('scib-metrics', version('scib-metrics'))"
fi
