"""Graphs written in Python: tensors, every operator of ONNX, gradients, and the executor that runs them."""

from sardonyx.graph import eager, op
from sardonyx.graph.executor import Executor, Update, evaluate, gradients, training_mode
from sardonyx.graph.export import export
from sardonyx.graph.load import Model, load
from sardonyx.graph.tensor import Node, Tensor, constant, data, placeholder, variable

Tensor.engine = eager

__all__ = [
    "Executor",
    "Model",
    "Node",
    "Tensor",
    "Update",
    "constant",
    "data",
    "evaluate",
    "export",
    "gradients",
    "load",
    "op",
    "placeholder",
    "training_mode",
    "variable",
]
