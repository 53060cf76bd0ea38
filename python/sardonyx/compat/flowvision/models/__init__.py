"""Networks that classify images, by flowvision's and torchvision's names, with parameters named and shaped as theirs.

Weights are random; `load_state_dict` takes those saved by either.

Example:
    >>> model = resnet18(num_classes=10).eval()
    >>> model(np.zeros((1, 3, 64, 64), np.float32)).numpy().shape
    (1, 10)
"""

from sardonyx.compat.flowvision.models.densenet import DenseNet, densenet121
from sardonyx.compat.flowvision.models.mobilenet_v2 import MobileNetV2, mobilenet_v2
from sardonyx.compat.flowvision.models.resnet import ResNet, resnet18, resnet34, resnet50, resnet101, resnet152
from sardonyx.compat.flowvision.models.vgg import VGG, vgg16, vgg16_bn

__all__ = [
    "VGG",
    "DenseNet",
    "MobileNetV2",
    "ResNet",
    "densenet121",
    "mobilenet_v2",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg16",
    "vgg16_bn",
]
