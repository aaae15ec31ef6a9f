"""The `thorax` command; `main` is its entry point."""

from pipelines.cli.main import main

__all__ = ["main"]
