"""Modules of the package's own: the paper's network and its siblings, and centred activations."""

from isometry.nn.networks.activation import Activation
from isometry.nn.networks.hyper_resnet import HyperResNet
from isometry.nn.networks.resnet import ConvResNet, ResNet

__all__ = ["Activation", "ConvResNet", "HyperResNet", "ResNet"]
