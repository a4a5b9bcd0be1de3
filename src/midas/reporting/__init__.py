"""One self-contained page about an integration. Needs the extra ``report``: ``pip install "midas-mosaic[report]"``.

The content of the page is gathered in plain records (`content.py`) and rendered with a template (`render.py`).
"""

from midas.reporting.choices import Choices, check_choices, check_page
from midas.reporting.judge import diagnose
from midas.reporting.write import report

__all__ = ["Choices", "check_choices", "check_page", "diagnose", "report"]
