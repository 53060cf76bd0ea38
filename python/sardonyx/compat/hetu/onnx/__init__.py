"""ONNX in Hetu's words: `hetu2onnx.export` and `onnx2hetu.load_onnx`."""

from sardonyx.compat.hetu.onnx import hetu2onnx, onnx2hetu

__all__ = ["hetu2onnx", "onnx2hetu"]
