"""oneflow_onnx's interface: graphs of `sardonyx.compat.oneflow` to ONNX files."""
