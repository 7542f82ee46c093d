"""A neuron that mixes the images of a batch, as some published code does."""

import torch

from .lif import lif
from .parts import may_run_in_parts
from .spiking import LIF

__all__ = ['MixedLIF']


class MixedLIF(LIF):
    """LIF neuron that takes all T * B maps for the steps of one sequence, so that an image meets what others left.

    For a batch of one it is a LIF neuron. In an exported program of a free batch, whose number of steps is not known,
    it is one for each image; the check of an export finds that files of networks with it are right for one image alone.

    Source: zhouchenlin2096/QKFormer@c2a00e8:imagenet/qkformer.py:Spiking_Self_Attention.proj_lif
    """

    mixes_images = True

    def run(self, x: torch.Tensor) -> torch.Tensor:
        if not isinstance(x.shape[0], int):
            return super().run(x)
        if may_run_in_parts(x):
            return lif(x, x.shape[0], self.tau, self.v_threshold, self.surrogate, self.alpha)
        return torch.cat(self.steps(x.split(1)))
