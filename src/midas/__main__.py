"""``python -m midas``: the commands, for where the script is not on the path."""

from midas.cli import app

app(prog_name="midas")
