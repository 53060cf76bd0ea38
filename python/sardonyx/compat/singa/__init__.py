"""SINGA's interface: `from sardonyx.compat.singa import autograd, device, opt, sonnx, tensor`.

Programs read as if every line computed at once. They compute when a value is asked for or parameters change, in one
compiled run that loops over the same graph share (`eager.py`).
"""

from sardonyx.compat.singa import autograd, device, initializer, layer, model, opt, sonnx, tensor

__all__ = ["autograd", "device", "initializer", "layer", "model", "opt", "sonnx", "tensor"]
