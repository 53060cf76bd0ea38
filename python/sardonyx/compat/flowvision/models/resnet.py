"""Residual networks (He et al. 2016), with the stride of a bottleneck in its 3x3 convolution."""

from __future__ import annotations

from typing import Any, ClassVar

from sardonyx.compat.flowvision.models.common import he_fan_out, initialize, require_random
from sardonyx.compat.oneflow import nn
from sardonyx.graph.tensor import Tensor, apply

__all__ = ["ResNet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a sum."""

    expansion: ClassVar[int] = 1

    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inplanes, planes, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv3x3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, inplanes, height, width]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a sum."""

    expansion: ClassVar[int] = 4

    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3x3(planes, planes, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, inplanes, height, width]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """A stem, four stages of blocks, and a linear classifier over the mean of each channel.

    Args:
        block: BasicBlock or Bottleneck.
        layers: how many blocks each stage has.
    """

    def __init__(self, block: type[BasicBlock | Bottleneck], layers: list[int], num_classes: int = 1000) -> None:
        super().__init__()
        self._width = 64
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._stage(block, 64, layers[0], 1)
        self.layer2 = self._stage(block, 128, layers[1], 2)
        self.layer3 = self._stage(block, 256, layers[2], 2)
        self.layer4 = self._stage(block, 512, layers[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        initialize(self, he_fan_out)

    def _stage(self, block: type[BasicBlock | Bottleneck], planes: int, count: int, stride: int) -> nn.Sequential:
        outputs = planes * block.expansion
        downsample = None
        if stride != 1 or self._width != outputs:
            projection = nn.Conv2d(self._width, outputs, 1, stride, bias=False)
            downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))
        first = block(self._width, planes, stride, downsample)
        self._width = outputs
        return nn.Sequential(first, *(block(outputs, planes) for _ in range(count - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """x: [n, 3, height, width]; gives [n, num_classes]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(apply("Flatten", self.avgpool(x)))  # type: ignore[no-any-return]


def resnet18(pretrained: bool = False, progress: bool = True, **options: Any) -> ResNet:
    """18 layers, 11.7 million parameters."""
    require_random(pretrained, "resnet18")
    return ResNet(BasicBlock, [2, 2, 2, 2], **options)


def resnet34(pretrained: bool = False, progress: bool = True, **options: Any) -> ResNet:
    """34 layers, 21.8 million parameters."""
    require_random(pretrained, "resnet34")
    return ResNet(BasicBlock, [3, 4, 6, 3], **options)


def resnet50(pretrained: bool = False, progress: bool = True, **options: Any) -> ResNet:
    """50 layers, 25.6 million parameters."""
    require_random(pretrained, "resnet50")
    return ResNet(Bottleneck, [3, 4, 6, 3], **options)


def resnet101(pretrained: bool = False, progress: bool = True, **options: Any) -> ResNet:
    """101 layers, 44.5 million parameters."""
    require_random(pretrained, "resnet101")
    return ResNet(Bottleneck, [3, 4, 23, 3], **options)


def resnet152(pretrained: bool = False, progress: bool = True, **options: Any) -> ResNet:
    """152 layers, 60.2 million parameters."""
    require_random(pretrained, "resnet152")
    return ResNet(Bottleneck, [3, 8, 36, 3], **options)
