"""`python -m riverone_hf` is the `riverone` command."""

from __future__ import annotations

from riverone_hf.cli import app

if __name__ == "__main__":
    app(prog_name="riverone")
