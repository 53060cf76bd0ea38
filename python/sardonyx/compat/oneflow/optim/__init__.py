"""OneFlow's optimizers, and their schedules of the learning rate under `lr_scheduler`."""

from sardonyx.compat.oneflow.optim import lr_scheduler
from sardonyx.compat.oneflow.optim.optimizer import LAMB, SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

__all__ = ["LAMB", "SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
