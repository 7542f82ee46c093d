"""A neuron that mixes the images of a batch, as some published code does."""

import copy

import torch
from torch import nn

from .lif import lif
from .parts import may_run_in_parts
from .spiking import LIF

__all__ = ['MixedLIF', 'images_apart']


class MixedLIF(LIF):
    """LIF neuron that takes all T * B maps for the steps of one sequence, so that an image meets what others left.

    For a batch of one, or with `mixes_images` off, it is a LIF neuron. In a program that torch exports with a free
    batch, whose number of steps is not known, it is one for each image; `images_apart` makes a model that is so too.

    Source: zhouchenlin2096/QKFormer@c2a00e8:imagenet/qkformer.py:Spiking_Self_Attention.proj_lif
    """

    mixes_images = True

    def run(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.mixes_images and isinstance(x.shape[0], int)):
            return super().run(x)
        if may_run_in_parts(x):
            return lif(x, x.shape[0], self.tau, self.v_threshold, self.surrogate, self.alpha)
        return torch.cat(self.steps(x.split(1)))


def images_apart(model: nn.Module) -> nn.Module:
    """The model, or, if it has neurons that mix the images of a batch, a copy in which none does."""
    if any(isinstance(module, MixedLIF) for module in model.modules()):
        model = copy.deepcopy(model)
        for module in model.modules():
            if isinstance(module, MixedLIF):
                module.mixes_images = False
    return model
