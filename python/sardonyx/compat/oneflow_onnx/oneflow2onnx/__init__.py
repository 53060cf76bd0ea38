"""Graphs to ONNX files; see `util`."""
