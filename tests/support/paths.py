"""The folder of the project."""

from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
