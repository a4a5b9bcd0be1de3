from __future__ import annotations

import pytest

from midas.extras import check_installed, needs


def test_what_is_missing_is_named_with_its_extra() -> None:
    said = r'^Expected nothing-such to be installed, .* Install it: pip install "midas-mosaic\[plots\]"'
    with pytest.raises(ImportError, match=said + "$"), needs("nothing-such", "plots"):
        import nothing_such  # type: ignore[import-not-found]  # noqa: F401, PLC0415
    with (
        pytest.raises(ImportError, match=said + r", or do without\.$"),
        needs("nothing-such", "plots", otherwise=", or do without."),
    ):
        raise ImportError
    with needs("numpy", "plots"):
        import numpy as np  # noqa: F401, PLC0415


def test_what_is_needed_at_the_end_is_looked_for_at_once() -> None:
    check_installed({"numpy": "numpy"}, "report")
    with pytest.raises(ModuleNotFoundError, match=r"Expected two-such to be installed, found none\..*\[report\]"):
        check_installed({"numpy": "numpy", "two_such": "two-such"}, "report")
    with pytest.raises(ModuleNotFoundError, match="Expected one-such and two-such to be installed, found neither"):
        check_installed({"one_such": "one-such", "two_such": "two-such"}, "report")
