"""Exemplar colorization as a task: what it is trained for, and the ways in which it colours.

Source: Yes, "Attention Is All You Need", for Exemplar based Colorization (Yin et al. 2021), sections 3.3 and 4.2.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.lr_scheduler import LambdaLR

from colorexp import backbones, color, losses
from colorexp.models.discriminator import PatchGAN
from colorexp.tasks.automatic import chroma, lightness, object_spread
from colorexp.tasks.base import Colorizer, Setting
from colorexp.types import Batch, Prediction

MIXED = 0.9
"""A pixel counts as mixed where no source has more than this share of it."""
GRID = 4
"""Pixels per side that share a gate."""

Layer = Literal["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]


class ExemplarColorizer(Colorizer):
    """L1, perceptual, adversarial, sparse and histogram loss, each with a weight; of weight 0 only the gate's entropy is computed.

    The network and its critic take turns: in every step the critic learns to tell the pictures just made from true ones, then the
    network is judged by the better critic. Both turns share one forward pass of the network.

    Args:
        model: An `Exemplar`. One that has no sources (stage 1) is trained as if every reference were its own picture's.
        setting: What the run prescribes.
        l1_weight: Of eq. 7, mean over values of ab / 110.
        perceptual_weight: Of eq. 8, mean over features.
        gan_weight: Of eq. 9. At 0 there is no critic.
        sparse_weight: Of eq. 11, nats per pixel.
        histogram_weight: Of the histogram loss (section 3.3.5).
        database_weight: Of the L1 distance between the true colours and those that the database gives before anything is fused.
        perceptual_layer: Whose features are compared; `relu3_1` is the fifth ReLU of VGG19.
        scales: 3 supervises the outputs at a quarter, a half and the whole of the resolution, 1 the last alone.
        critic_width: Channels of the critic's first layer.

    Raises:
        ValueError: If a weight is negative, or the run has `accumulate` or `clip` and a critic.

    Source: sections 3.3 and 4.2, eq. 7 to 12; weights 1000, 1000, 0.1, 1 and 1.

    Deviation: L1 and perceptual loss compare with the true picture only where the reference is a copy of it or a palette of its
        colours (`reference_own`), since under another one the true colours are the wrong answer. Means are over those pictures.

    Deviation: the paper has no loss on the database's own colours, and its weight is 0 here too. It is for short trainings: at
        first all places get one colour of it, which the instance norm of its encoder takes out, so that nothing else teaches it.

    Deviation: eq. 10 calls pictures of references real; we take the batch's true pictures, which are photographs of the same set,
        in both stages. The critic sees the full resolution alone.

    Unspecified: which ReLU is the fifth: counted from the input it is `relu3_1`; He et al., whom the paper follows, take `relu5_1`.

    Unspecified: supervision of the two smaller outputs; losses on colours are averages over all three.

    Unspecified: what becomes of stage 1's critic; a run keeps its network alone, and stage 2 begins with a new critic.

    Unspecified: pretrained weights of VGG19 are looked for where torch keeps them; without them its fixed random stand-in
        (`vgg19_random`) compares edges and colours rather than objects.
    """

    logged = ("loss", "l1", "perceptual", "gan", "sparse", "histogram", "database", "critic")
    takes_hints = False
    takes_reference = True
    model: Any
    """An `Exemplar`; only its calls are known here."""

    def __init__(
        self,
        model: nn.Module,
        setting: Setting,
        *,
        l1_weight: float = 1000.0,
        perceptual_weight: float = 1000.0,
        gan_weight: float = 0.1,
        sparse_weight: float = 1.0,
        histogram_weight: float = 1.0,
        database_weight: float = 0.0,
        perceptual_layer: Layer = "relu3_1",
        scales: Literal[1, 3] = 3,
        critic_width: int = 64,
    ) -> None:
        super().__init__(model, setting)
        self.weights = {
            "l1": l1_weight,
            "perceptual": perceptual_weight,
            "gan": gan_weight,
            "sparse": sparse_weight,
            "histogram": histogram_weight,
            "database": database_weight,
        }
        for name, weight in self.weights.items():
            if weight < 0:
                raise ValueError(f"{name}_weight must not be negative, got {weight}")
        self.takes_reference = self.model.sources != "none"
        self.perceptual_layer, self.scales = perceptual_layer, scales
        self._vgg: list[nn.Module] = []  # in a list, so that its weights are no part of what is trained and saved
        self.critic: PatchGAN | None = None
        if gan_weight:
            _check_fitting(setting)
            self.critic = PatchGAN(width=critic_width)
            self.automatic_optimization = False

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Lightness, then lightness and chroma of the reference, if there is one; all scaled for the network."""
        if not self.takes_reference or "reference_L" not in batch:
            return lightness(batch), None, None
        return lightness(batch), *color.normalise(batch["reference_L"], batch["reference_ab"], "disco")

    # Training

    def configure_optimizers(self) -> Any:  # noqa: ANN401  Lightning's lists
        """An optimiser and a schedule for the network, then, if there is a critic, the same for it."""
        if self.critic is None:
            return super().configure_optimizers()
        players = [self.optimizer([p for p in player.parameters() if p.requires_grad]) for player in (self.model, self.critic)]
        return players, [{"scheduler": self.schedule(player), "interval": "step"} for player in players]

    def on_train_start(self) -> None:
        """Refuses to share work among processes that wait for gradients of both players in every turn.

        Raises:
            ValueError: If they do.
        """
        if self.critic is not None and not getattr(self.trainer.model, "find_unused_parameters", True):
            raise ValueError("strategy must be 'ddp_find_unused_parameters_true' in several processes while gan_weight is above 0")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The critic's turn, then the network's.

        Source: section 3.3.3.
        """
        if self.critic is None:
            return super().training_step(batch, batch_idx)
        output = self(batch)
        made, critic = cast(list[LightningOptimizer], self.optimizers())
        critic_loss = self._critic_loss(batch, output)
        self._stop_unless_finite(critic_loss, batch)
        critic.zero_grad()
        self.manual_backward(critic_loss)
        # not critic.step(): the trainer would count its turn as an optimiser step of the run
        self.trainer.strategy.optimizer_step(critic.optimizer, lambda: None)
        terms = self._terms(batch, output)
        self._stop_unless_finite(terms["loss"], batch)
        made.zero_grad()
        self.manual_backward(terms["loss"])
        made.step()
        for schedule in cast(list[LambdaLR], self.lr_schedulers()):
            schedule.step()
        self._collect("train", terms | {"critic": critic_loss}, len(batch["id"]))
        return terms["loss"].detach()

    def _stop_unless_finite(self, loss: Tensor, batch: Batch) -> None:
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {self.global_step}; pictures: {', '.join(batch['id'])}")

    def loss(self, batch: Batch, output: Any) -> dict[str, Tensor]:  # noqa: ANN401  Exemplar's Colored
        """Eq. 12, its terms without their weights, and the critic's own loss, eq. 10.

        A term is 0 if its weight is, if no picture has what it compares with, or if the network has no gate to be sparse. The
        sparse term is followed at weight 0 too: what becomes of the entropy then is the paper's ablation.
        """
        critic = self._critic_loss(batch, output) if self.critic is not None else output.ab_n[-1].new_zeros(())
        return self._terms(batch, output) | {"critic": critic}

    def _terms(self, batch: Batch, output: Any) -> dict[str, Tensor]:  # noqa: ANN401  Exemplar's Colored
        makers = {
            "l1": self._l1,
            "perceptual": self._perceptual,
            "gan": self._gan,
            "sparse": self._sparse,
            "histogram": self._histogram,
            "database": self._database,
        }
        nothing = output.ab_n[-1].new_zeros(())
        made = {name: make(batch, output) if self.weights[name] or name == "sparse" else nothing for name, make in makers.items()}
        loss = sum((self.weights[name] * term for name, term in made.items() if self.weights[name]), nothing)
        return {"loss": loss, **made, "sparse": made["sparse"].detach()}

    def _supervised(self, output: Any) -> tuple[Tensor, ...]:  # noqa: ANN401  Exemplar's Colored
        return output.ab_n[-self.scales :]

    def _own(self, batch: Batch) -> Tensor:
        """Which pictures' true colours are the right answer, all of them if nothing says otherwise. Shape (B,), bool."""
        if self.takes_reference and "reference_own" in batch:
            return batch["reference_own"]
        return batch["L"].new_ones(len(batch["L"]), dtype=torch.bool)

    def _l1(self, batch: Batch, output: Any) -> Tensor:  # noqa: ANN401  Exemplar's Colored
        """Source: eq. 7."""
        own, truth = self._own(batch), chroma(batch)
        made = self._supervised(output)
        return _mean([F.l1_loss(ab_n[own], _area(truth[own], ab_n)) for ab_n in made]) if own.any() else truth.new_zeros(())

    def _perceptual(self, batch: Batch, output: Any) -> Tensor:  # noqa: ANN401  Exemplar's Colored
        """Source: eq. 8. Both pictures have the true lightness."""
        own = self._own(batch)
        if not own.any():
            return output.ab_n[-1].new_zeros(())
        network, found = self._features(own.device), []
        for ab_n in self._supervised(output):
            L, ab = (_area(x[own], ab_n) for x in (batch["L"], batch["ab"]))
            with torch.no_grad():
                target = network(_rgb(L, ab))
            features = network(_rgb(L, _physical(L, ab_n[own])))
            found.append(losses.perceptual(features, target, [1.0], power=2))
        return _mean(found)

    def _features(self, device: torch.device) -> nn.Module:
        if not self._vgg:
            self._vgg.append(backbones.vgg19([self.perceptual_layer]).network)
        return self._vgg[0].to(device)

    def _gan(self, batch: Batch, output: Any) -> Tensor:  # noqa: ANN401  Exemplar's Colored
        """Source: eq. 9. The critic's weights are constants here: this turn has no gradient for them."""
        assert self.critic is not None
        constants = {name: weight.detach() for name, weight in self.critic.named_parameters()}
        made = torch.cat([lightness(batch), output.ab_n[-1]], 1)
        return losses.lsgan_generator(functional_call(self.critic, constants, (made,)))

    def _critic_loss(self, batch: Batch, output: Any) -> Tensor:  # noqa: ANN401  Exemplar's Colored
        """Source: eq. 10."""
        assert self.critic is not None
        L_n = lightness(batch)
        real, made = torch.cat([L_n, chroma(batch)], 1), torch.cat([L_n, output.ab_n[-1].detach()], 1)
        return losses.lsgan_discriminator(*self.critic(torch.cat([real, made])).chunk(2))

    def _sparse(self, _batch: Batch, output: Any) -> Tensor:  # noqa: ANN401  Exemplar's Colored
        """Source: eq. 11."""
        return output.ab_n[-1].new_zeros(()) if output.gate is None else losses.gate_entropy(output.gate)

    def _histogram(self, batch: Batch, output: Any) -> Tensor:  # noqa: ANN401  Exemplar's Colored
        """Source: section 3.3.5."""
        if not self.takes_reference:
            return output.ab_n[-1].new_zeros(())
        with torch.autocast(batch["L"].device.type, enabled=False):  # a share of pixels is too small for half precision
            wanted = color.soft_histogram(batch["reference_ab"])
            made = [color.soft_histogram(_physical(batch["L"], ab_n.float())) for ab_n in self._supervised(output)]
            return _mean([losses.histogram_distance(histogram, wanted) for histogram in made])

    def _database(self, batch: Batch, output: Any) -> Tensor:  # noqa: ANN401  Exemplar's Colored
        own, made = self._own(batch), output.database_ab_n
        if made is None or not own.any():
            return output.ab_n[-1].new_zeros(())
        return F.l1_loss(made[own], _area(chroma(batch)[own], made))

    # Colouring

    def predict(self, batch: Batch) -> Prediction:
        """The full-resolution output; the gate is kept, and alpha^r shown as a plane, 255 where all colour is the reference's."""
        return self._said(batch, self(batch))

    def ways(self) -> dict[str, Callable[[Batch], Prediction]]:
        """`reference` and `histogram`: all colour is one source's, the reference's or the database's under its histogram."""
        found = super().ways()
        if self.model.sources == "both":
            found |= {"reference": partial(self._from, only="reference"), "histogram": partial(self._from, only="database")}
        return found

    def _from(self, batch: Batch, only: str) -> Prediction:
        return self._said(batch, self.model.colorize(*self.inputs(batch), only=only))

    def _said(self, batch: Batch, output: Any) -> Prediction:  # noqa: ANN401  Exemplar's Colored
        extras = {}
        if output.gate is not None:
            height, width = batch["L"].shape[-2:]
            plane = F.interpolate(output.gate[:, :1], scale_factor=GRID, mode="nearest")[:, 0, :height, :width]
            extras = {"gate": output.gate, "shown_gate": (255 * plane).round().to(torch.uint8)}
        return Prediction(_physical(batch["L"], output.ab_n[-1]), extras)

    def scores(self, batch: Batch, prediction: Prediction) -> dict[str, Tensor]:
        """Of the gate its mean entropy in nats, the share of pixels that are mostly the reference's, and of those that are mixed.

        On scenes also the spread of chroma inside objects.
        """
        found = object_spread(batch, prediction.ab)
        if "gate" in prediction.extras:
            gate = prediction.extras["gate"]
            found["gate_entropy"] = torch.stack([losses.gate_entropy(one) for one in gate.split(1)])
            found["reference_share"] = (gate[:, 0] > 0.5).float().mean((1, 2))
            found["mixed_share"] = (gate.amax(1) < MIXED).float().mean((1, 2))
        return found


def _check_fitting(setting: Setting) -> None:
    """Lightning leaves gradients alone where a task has two optimisers."""
    for name, usual in (("accumulate", 1), ("clip", 0)):
        if (value := getattr(setting.fitting, name, usual)) != usual:
            raise ValueError(f"{name} must be {usual} while gan_weight is above 0, got {value}")


def _area(x: Tensor, like: Tensor) -> Tensor:
    """Means over areas, at the height and width of `like`; `x` itself where it has them."""
    return x if x.shape[-2:] == like.shape[-2:] else F.interpolate(x, like.shape[-2:], mode="area")


def _physical(L: Tensor, ab_n: Tensor) -> Tensor:
    return color.denormalise(L, ab_n, "disco")[1]


def _rgb(L: Tensor, ab: Tensor) -> Tensor:
    """Only clipped from below: colours above 1 keep their gradient."""
    return color.lab_to_rgb(torch.cat([L, ab], 1), clip=False).clamp(min=0)


def _mean(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).mean()
