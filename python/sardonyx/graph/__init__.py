"""Graphs written in Python: tensors, every operator of ONNX, gradients, and the executor that runs them."""

from sardonyx.graph import op
from sardonyx.graph.executor import Executor, Update, evaluate, gradients, training_mode
from sardonyx.graph.tensor import Node, Tensor, constant, data, placeholder, variable

__all__ = [
    "Executor",
    "Node",
    "Tensor",
    "Update",
    "constant",
    "data",
    "evaluate",
    "gradients",
    "op",
    "placeholder",
    "training_mode",
    "variable",
]
