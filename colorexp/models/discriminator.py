"""The critic of adversarial training: which squares of a picture look real.

Source: Exemplar attention (Yin et al. 2021), section 3.3.3; Image-to-Image Translation with Conditional Adversarial Networks (Isola
et al. 2017), section 3.2.2.
"""

from torch import Tensor, nn

SMALLEST = 24
"""Pixels per side below which an instance norm would see a single value."""


class PatchGAN(nn.Module):
    """Scores every square of 70 pixels of a picture: one is real, zero is made.

    Args:
        width: Channels after the first convolution; 64 in both papers' code.
        channels: Of the pictures.

    Source: Isola et al., section 3.2.2 and appendix 6.1.2.

    Deviation: instance norms in place of batch norms, as in the code released with Yin et al.

    Unspecified: the first weights; normal with a deviation of 0.02 and no bias, as in both papers' code.
    """

    def __init__(self, *, width: int = 64, channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for number, stride in enumerate((2, 2, 1)):
            there = width << number
            layers += [
                nn.Conv2d(there, 2 * there, 4, stride=stride, padding=1, bias=False),  # the norm would take a bias away
                nn.InstanceNorm2d(2 * there),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, padding=1))
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, 0, 0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, channels, H, W) to scores of their squares (B, 1, H/8 - 2, W/8 - 2), without bounds.

        Raises:
            ValueError: If a side is below `SMALLEST` pixels.
        """
        if min(x.shape[-2:]) < SMALLEST:
            raise ValueError(f"pictures must be at least {SMALLEST} pixels high and wide to be judged, got {tuple(x.shape[-2:])}")
        return self.layers(x)
