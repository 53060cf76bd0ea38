"""Runs, trains and converts ONNX models."""

from sardonyx._core import __version__

__all__ = ["__version__"]
