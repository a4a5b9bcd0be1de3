"""``python -m midas.cli``."""

from midas.cli import app

app()
