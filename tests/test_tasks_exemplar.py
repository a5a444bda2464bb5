"""What exemplar colorization is trained for, how its two players take turns, and what its gate tells."""

import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback, Trainer
from tiny import change, clone, make_batch, quick, same, seeded
from torch import Tensor, nn

from colorexp import backbones, color, runs, weights
from colorexp.config import Run
from colorexp.data.datamodule import ColorizationData
from colorexp.models.discriminator import PatchGAN
from colorexp.models.exemplar import Exemplar
from colorexp.models.exemplar.network import VariantName
from colorexp.tasks.base import Setting
from colorexp.tasks.callbacks import Resume
from colorexp.tasks.exemplar import ExemplarColorizer
from colorexp.types import Batch

TERMS = ("l1", "perceptual", "gan", "sparse", "histogram")
RESULT = ("model.safetensors", "history.csv", "run.json")


class Colored(NamedTuple):
    ab_n: tuple[Tensor, Tensor, Tensor]
    gate: Tensor | None
    reference_ab_n: Tensor | None
    database_ab_n: Tensor | None


class Small(nn.Module):
    """Answers as `Exemplar` does: quarter, half and full resolution, and a gate between two colours."""

    def __init__(self, *, width: int = 4, sources: str = "both", dropout: float = 0.0) -> None:
        super().__init__()
        self.sources = sources
        self.trunk, self.gate, self.database = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, 2, 1), nn.Conv2d(width, 2, 1)
        self.heads = nn.ModuleList(nn.Conv2d(width + 3, 2, 1) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, L_n: Tensor, reference_L_n: Tensor | None, reference_ab_n: Tensor | None) -> Colored:
        return self.colorize(L_n, reference_L_n, reference_ab_n)

    def colorize(self, L_n: Tensor, _: Tensor | None, reference_ab_n: Tensor | None, *, only: str | None = None) -> Colored:
        quarter = self.dropout(self.trunk(F.avg_pool2d(L_n, 4, ceil_mode=True)).relu())
        gate = given = own = None
        colour = torch.zeros_like(quarter[:, :2])
        if self.sources != "none":
            assert reference_ab_n is not None
            given, own = reference_ab_n.mean((2, 3), keepdim=True).expand_as(colour), self.database(quarter).tanh()
            gate = self.gate(quarter).softmax(1)
            if only:
                chosen = [only == "reference", only == "database"]
                gate = torch.tensor(chosen).float().view(1, 2, 1, 1).expand_as(gate)
            colour = gate[:, :1] * given + gate[:, 1:] * own
        x, found = torch.cat([quarter, colour], 1), []
        for head, part in zip(self.heads, (4, 2, 1), strict=True):
            L = F.avg_pool2d(L_n, part, ceil_mode=True)
            found.append(head(torch.cat([F.interpolate(x, L.shape[-2:]), L], 1)).tanh())
        return Colored(tuple(found), gate, given, own)


def exemplar_batch(height: int = 32, width: int = 32, pictures: int = 3, *, own: tuple[bool, ...] = (True, False, True)) -> Any:
    batch, reference = make_batch(height, width, pictures), make_batch(24, 40, pictures, seed=1)
    given = {"reference_L": reference["L"], "reference_ab": reference["ab"], "reference_own": torch.tensor(own[:pictures])}
    return {**batch, **given}


def task_of(sources: str = "both", *, fitting: Any = None, **options: Any) -> ExemplarColorizer:
    setting = Setting(fitting=fitting, seed=0, steps_per_epoch=1, statistics=None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ExemplarColorizer(seeded(Small, sources=sources), setting, **{"critic_width": 4, **options}).eval()


class TestLoss:
    def test_the_databases_own_loss_teaches_it_alone(self) -> None:
        weights = {f"{name}_weight": 0.0 for name in TERMS}
        task, batch = task_of(**weights, database_weight=2.0), exemplar_batch()
        output = task(batch)
        terms = task.loss(batch, output)
        own = batch["reference_own"]
        truth = F.interpolate(batch["ab"][own] / 110, output.database_ab_n.shape[-2:], mode="area")
        assert terms["database"].item() == pytest.approx((output.database_ab_n[own] - truth).abs().mean().item(), rel=1e-5)
        terms["loss"].backward()
        moved = {key for key, p in task.model.named_parameters() if p.grad is not None and p.grad.any()}
        assert moved == {"trunk.weight", "trunk.bias", "database.weight", "database.bias"}

    def test_it_is_the_weighted_sum_of_its_terms(self) -> None:
        chosen = dict(zip(TERMS, (3.0, 5.0, 7.0, 11.0, 13.0), strict=True))
        task, batch = task_of(**{f"{name}_weight": weight for name, weight in chosen.items()}), exemplar_batch()
        terms = task.loss(batch, task(batch))
        assert terms.keys() == set(task.logged)
        assert all(terms[name] > 0 for name in TERMS)
        assert terms["loss"].item() == pytest.approx(sum(weight * terms[name].item() for name, weight in chosen.items()), rel=1e-5)

    @pytest.mark.parametrize("variant", ["released", "paper"])
    @pytest.mark.parametrize("name", TERMS)
    def test_every_term_reaches_the_real_networks_extractor_and_gate(self, name: str, variant: VariantName) -> None:
        setting = Setting(fitting=None, seed=0, steps_per_epoch=1, statistics=None)  # type: ignore[arg-type]
        network = seeded(Exemplar, width=2, variant=variant, reference_side=32)
        weights = {f"{other}_weight": float(other == name) for other in TERMS}
        task, batch = ExemplarColorizer(network, setting, critic_width=4, **weights), exemplar_batch()  # type: ignore[arg-type]
        task.loss(batch, task(batch))["loss"].backward()
        moved = {key.partition(".")[0] for key, p in network.named_parameters() if p.grad is not None and p.grad.any()}
        assert {"extractor", "correspondence"} <= moved
        assert ("decoder" in moved) == (name != "sparse")
        assert ("database_confidence" in moved) == (variant == "paper")
        assert ("reference_encoder" in moved) == (name != "sparse")

    @pytest.mark.parametrize("name", TERMS)
    def test_every_term_alone_moves_the_network_and_not_the_critic(self, name: str) -> None:
        task, batch = task_of(**{f"{other}_weight": float(other == name) for other in TERMS}), exemplar_batch()
        task.loss(batch, task(batch))["loss"].backward()
        moved = {key for key, p in task.model.named_parameters() if p.grad is not None and p.grad.any()}
        assert {"trunk.weight", "gate.weight"} <= moved
        assert ("heads.2.weight" in moved) == (name != "sparse")
        assert ("heads.0.weight" in moved) == (name in ("l1", "perceptual", "histogram"))
        assert all(p.grad is None for p in (task.critic.parameters() if task.critic else ()))

    def test_the_entropy_is_followed_where_it_costs_nothing(self) -> None:
        task, batch = task_of(sparse_weight=0.0), exemplar_batch()
        output = task(batch)
        terms, costly = task.loss(batch, output), task_of(sparse_weight=1.0).loss(batch, output)
        assert terms["sparse"] == costly["sparse"] > 0
        assert not terms["sparse"].requires_grad

    @pytest.mark.parametrize("name", [name for name in TERMS if name != "sparse"])
    def test_a_weight_of_zero_computes_nothing(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def forbidden(*_: Any, **__: Any) -> Any:
            raise AssertionError(name)

        task, batch = task_of(**{f"{name}_weight": 0.0}), exemplar_batch()
        monkeypatch.setattr(task, f"_{name}", forbidden)
        terms = task.loss(batch, task(batch))
        assert terms[name] == 0
        assert (task.critic is None) == (name == "gan")
        assert (terms["critic"] == 0) == (name == "gan")

    def test_l1_is_taken_at_three_scales_of_the_averaged_truth(self) -> None:
        task, batch = task_of(), exemplar_batch(own=(True, True, True))
        output, truth = task(batch), batch["ab"] / 110
        wanted = [F.avg_pool2d(truth, 4), F.avg_pool2d(truth, 2), truth]
        expected = sum((made - true).abs().mean() for made, true in zip(output.ab_n, wanted, strict=True)) / 3
        assert task.loss(batch, output)["l1"].item() == pytest.approx(expected.item(), rel=1e-5)
        last = task_of(scales=1).loss(batch, output)["l1"].item()
        assert last == pytest.approx((output.ab_n[-1] - truth).abs().mean().item(), rel=1e-5)

    @pytest.mark.parametrize(("layer", "relus"), [("relu3_1", 5), ("relu5_1", 13)])
    def test_perceptual_is_the_mean_square_between_features_of_that_layer(self, layer: Any, relus: int) -> None:
        task, batch = task_of(scales=1, perceptual_layer=layer), exemplar_batch(own=(True, True, True))
        output = task(batch)
        output = output._replace(ab_n=tuple(0.05 * ab_n for ab_n in output.ab_n))  # in gamut, where nothing is clipped
        vgg = backbones.vgg19([layer]).network
        assert sum(isinstance(module, nn.ReLU) for module in vgg.features) == relus
        made = color.lab_to_rgb(torch.cat([batch["L"], 110 * output.ab_n[-1]], 1))
        true = color.lab_to_rgb(torch.cat([batch["L"], batch["ab"]], 1))
        expected = F.mse_loss(vgg(made)[0], vgg(true)[0])
        assert task.loss(batch, output)["perceptual"].item() == pytest.approx(expected.item(), rel=1e-3)

    def test_the_true_colours_cost_neither_l1_nor_perceptual_loss(self) -> None:
        task, batch = task_of(), exemplar_batch(own=(True, True, True))
        truth = batch["ab"] / 110
        perfect = task(batch)._replace(ab_n=(F.avg_pool2d(truth, 4), F.avg_pool2d(truth, 2), truth))
        terms = task.loss(batch, perfect)
        assert (terms["l1"].item(), terms["perceptual"].item()) == (pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
        assert terms["histogram"] > 0.1  # another reference is wanted

    def test_true_colours_count_where_the_reference_is_the_pictures_own(self) -> None:
        task, batch = task_of(), exemplar_batch(own=(False, True, False))
        output = task(batch)
        alone = {key: value[1:2] for key, value in batch.items()}
        terms, expected = task.loss(batch, output), task.loss(alone, task(alone))
        for name in ("l1", "perceptual"):
            assert terms[name].item() == pytest.approx(expected[name].item(), rel=1e-4)
        moved = {**batch, "ab": batch["ab"] * torch.tensor([-1.0, 1.0, -1.0]).view(3, 1, 1, 1)}
        assert task.loss(moved, output)["l1"] == terms["l1"]

    def test_a_batch_without_an_own_reference_still_has_the_other_terms(self) -> None:
        task, batch = task_of(), exemplar_batch(own=(False, False, False))
        terms = task.loss(batch, task(batch))
        assert (terms["l1"], terms["perceptual"]) == (0, 0)
        assert all(terms[name] > 0 for name in ("gan", "sparse", "histogram", "critic"))
        terms["loss"].backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in task.parameters())

    @pytest.mark.parametrize("references", [True, False])
    def test_without_sources_every_picture_counts_and_no_reference_is_asked_for(self, references: bool) -> None:
        """Stage 1, whether or not the data has references."""
        task, batch = task_of("none"), exemplar_batch(own=(False, False, False))
        plain = batch if references else make_batch(pictures=3)
        terms, output = task.loss(plain, task(plain)), task(plain)
        wanted = [F.avg_pool2d(batch["ab"] / 110, 4), F.avg_pool2d(batch["ab"] / 110, 2), batch["ab"] / 110]
        expected = sum((made - true).abs().mean() for made, true in zip(output.ab_n, wanted, strict=True)) / 3
        assert terms["l1"].item() == pytest.approx(expected.item(), rel=1e-5)
        assert terms["perceptual"] > 0
        assert (terms["sparse"], terms["histogram"]) == (0, 0)
        assert not task.takes_reference
        assert task_of().takes_reference

    def test_histograms_are_compared_with_the_references(self) -> None:
        task, batch = task_of(scales=1), exemplar_batch()
        output = task(batch)
        made, wanted = (counted(ab) for ab in (110 * output.ab_n[-1].detach(), batch["reference_ab"]))
        expected = (2 * (made - wanted) ** 2 / (made + wanted + 1e-16)).sum(1).mean()
        assert task.loss(batch, output)["histogram"].item() == pytest.approx(expected.item(), rel=1e-4)
        target = {**batch, "ab": -batch["ab"]}
        assert task.loss(target, output)["histogram"] == task.loss(batch, output)["histogram"]

    def test_steps_against_the_histogram_loss_bring_the_references_colours(self) -> None:
        batch = exemplar_batch()
        ab_n = torch.zeros(3, 2, 8, 8)
        ab_n += 0.02 * torch.randn(ab_n.shape, generator=torch.Generator().manual_seed(0))
        task, output = task_of(scales=1), task_of()(batch)
        before, found = task._histogram(batch, output._replace(ab_n=(ab_n,))).item(), ab_n.requires_grad_()
        for _ in range(60):
            (slope,) = torch.autograd.grad(task._histogram(batch, output._replace(ab_n=(found,))), found)
            found = (found - 0.01 * slope.sign()).detach().requires_grad_()
        assert task._histogram(batch, output._replace(ab_n=(found,))).item() < 0.6 * before

    def test_vgg_is_neither_trained_nor_saved(self) -> None:
        task, batch = task_of(), exemplar_batch()
        before = set(task.state_dict())
        task.loss(batch, task(batch))["loss"].backward()
        assert set(task.state_dict()) == before
        assert {name.split(".")[0] for name, _ in task.named_parameters()} == {"model", "critic"}

    def test_nothing_it_is_given_changes(self) -> None:
        task, batch = task_of(), exemplar_batch(33, 47)
        before, state = clone(batch), torch.get_rng_state()
        task.loss(batch, task(batch))["loss"].backward()
        assert same(batch, before)
        assert torch.equal(torch.get_rng_state(), state)

    @pytest.mark.parametrize("name", TERMS)
    def test_negative_weights_are_named(self, name: str) -> None:
        with pytest.raises(ValueError, match=rf"{name}_weight must not be negative, got -1"):
            task_of(**{f"{name}_weight": -1.0})


def counted(ab: Tensor) -> Tensor:
    """A 441-bin histogram, pixel by pixel: each is shared by the four bins around it."""
    found = torch.zeros(len(ab), 21, 21)
    for picture, histogram in zip(ab, found, strict=True):
        for a, b in picture.flatten(1).T.tolist():
            row, col = a / 11 + 10, b / 11 + 10
            for i in (math.floor(row), math.floor(row) + 1):
                for j in (math.floor(col), math.floor(col) + 1):
                    if 0 <= i <= 20 and 0 <= j <= 20:
                        histogram[i, j] += (1 - abs(row - i)) * (1 - abs(col - j))
    return found.flatten(1) / ab[0, 0].numel()


class TestCritic:
    def test_it_judges_squares(self) -> None:
        critic = PatchGAN(width=4)
        assert critic(torch.zeros(2, 3, 64, 96)).shape == (2, 1, 6, 10)
        assert critic(torch.zeros(1, 3, 24, 33)).shape == (1, 1, 1, 2)
        x = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)).requires_grad_()
        for module in critic.modules():
            if isinstance(module, nn.InstanceNorm2d):
                module.forward = lambda y: y  # it alone looks beyond the square
        critic(x)[0, 0, 15, 15].backward()
        seen = x.grad.abs().sum((0, 1)).nonzero()
        assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [70, 70]

    def test_at_the_papers_width_it_has_the_published_size(self) -> None:
        """That of pix2pix, which sees six channels and whose batch norms have two weights for each of 896 channels."""
        assert sum(p.numel() for p in PatchGAN(channels=6).parameters()) == 2_768_705 - 2 * 896

    def test_pictures_that_are_too_small_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"at least 24 pixels .* got \(20, 64\)"):
            PatchGAN(width=4)(torch.zeros(1, 3, 20, 64))

    def test_a_pictures_score_is_its_own(self) -> None:
        critic = PatchGAN(width=4)
        x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(critic(x)[1:2], critic(x[1:2]), atol=1e-6)

    def test_its_own_loss_is_free_of_the_network(self) -> None:
        task, batch = task_of(), exemplar_batch()
        task.loss(batch, task(batch))["critic"].backward()
        assert all(p.grad is None for p in task.model.parameters())
        assert all(p.grad is not None and p.grad.any() for name, p in task.critic.named_parameters() if "bias" not in name)

    def test_true_pictures_are_pulled_to_one_and_made_ones_to_zero(self) -> None:
        task, batch = task_of(), exemplar_batch()
        output, critic = task(batch), task.critic
        L_n = batch["L"] / 50 - 1
        real, made = critic(torch.cat([L_n, batch["ab"] / 110], 1)), critic(torch.cat([L_n, output.ab_n[-1]], 1))
        terms = task.loss(batch, output)
        assert terms["critic"].item() == pytest.approx((0.5 * (real - 1) ** 2).mean().item() + (0.5 * made**2).mean().item())
        assert terms["gan"].item() == pytest.approx((0.5 * (made - 1) ** 2).mean().item())

    def test_the_network_learns_to_please_and_the_critic_to_tell(self) -> None:
        """Eq. 9 as printed would teach the network to be found out."""
        task, batch = task_of(**{f"{name}_weight": float(name == "gan") for name in TERMS}), exemplar_batch()

        def score() -> float:
            with torch.no_grad():
                return task.critic(torch.cat([batch["L"] / 50 - 1, task(batch).ab_n[-1]], 1)).mean().item()

        for player, term, sign in ((task.critic, "critic", -1), (task.model, "gan", 1)):
            with torch.no_grad():
                task.critic.layers[-1].bias += 0.5  # made pictures are believed half
            before = score()
            optimizer = torch.optim.Adam(player.parameters(), 1e-3)
            for _ in range(5):
                optimizer.zero_grad()
                task.loss(batch, task(batch))[term].backward()
                optimizer.step()
            assert sign * (score() - before) > 0


class TestColouring:
    def test_colours_are_those_of_full_resolution(self) -> None:
        task, batch = task_of(), exemplar_batch(33, 47)
        prediction = task.predict(batch)
        assert torch.equal(prediction.ab, task(batch).ab_n[-1] * 110)
        plane = prediction.extras["shown_gate"]
        assert (plane.shape, plane.dtype) == ((3, 33, 47), torch.uint8)
        alpha = task(batch).gate[:, 0].repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :33, :47]
        assert (plane.float() / 255 - alpha).abs().max() < 0.01

    def test_a_source_alone_is_a_way_where_there_are_two(self) -> None:
        task, batch = task_of(), exemplar_batch()
        ways = task.ways()
        assert set(ways) == {"", "reference", "histogram"}
        found = {name: way(batch) for name, way in ways.items()}
        assert len({tuple(found[name].ab.flatten().tolist()) for name in ("", "reference", "histogram")}) == 3
        assert (found["reference"].extras["shown_gate"] == 255).all()
        assert (found["histogram"].extras["shown_gate"] == 0).all()
        assert {"reference", "histogram"}.isdisjoint(task_of("none").ways())

    def test_scores_of_the_gate(self) -> None:
        task, batch = task_of(), exemplar_batch(pictures=2)
        alpha = torch.tensor([[1.0, 0.95, 0.85, 0.5], [0.0, 0.0, 0.0, 0.0]]).view(2, 1, 2, 2)
        extras = {"gate": torch.cat([alpha, 1 - alpha], 1)}
        scores = task.scores(batch, task.predict(batch)._replace(extras=extras))
        entropy = [-sum(p * math.log(p) for p in (q, 1 - q) if p) for q in (1.0, 0.95, 0.85, 0.5)]
        assert scores["gate_entropy"].tolist() == pytest.approx([sum(entropy) / 4, 0], abs=1e-6)
        assert scores["reference_share"].tolist() == [0.75, 0]
        assert scores["mixed_share"].tolist() == [0.5, 0]

    def test_without_a_gate_there_is_none_to_score(self) -> None:
        task, batch = task_of("none"), make_batch()
        assert task.scores(batch, task.predict(batch)) == {}

    def test_scenes_are_scored_as_elsewhere(self) -> None:
        task, batch = task_of(), exemplar_batch()
        maps = {name: torch.ones(3, 32, 32, dtype=torch.uint8) for name in ("instance_map", "class_map", "mode_map")}
        scores = task.scores({**batch, **maps}, task.predict(batch))
        assert {"spread", "spread_true", "gate_entropy"} <= scores.keys()


# Training


class Referenced(ColorizationData):
    """Every other picture's reference is the picture itself, mirrored; the rest get their neighbour's."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        found = super().on_after_batch_transfer(batch, dataloader_idx)
        own = torch.arange(len(found["id"])) % 2 == 0
        pick = torch.where(own, torch.arange(len(own)), torch.arange(len(own)).roll(1))
        given = {"reference_L": found["L"].flip(-1)[pick], "reference_ab": found["ab"].flip(-1)[pick], "reference_own": own}
        return {**found, **given}  # type: ignore[typeddict-item]


OPTIONS = {"width": 8, "dropout": 0.2, "critic_width": 4, "perceptual_layer": "relu1_1"}
VALUES: dict[str, Any] = {
    "model": f"{__name__}:Small",
    "task": "colorexp.tasks.exemplar:ExemplarColorizer",
    "epochs": 2,
    "batch": 2,
    "lr": 1e-2,
    "lr_end": 1e-3,
    "schedule": "linear",
    "betas": (0.5, 0.99),
    "checkpoint_every": 2,
    "references": {"own": 1.0},
    "reference_size": 16,
}
"""Four steps per epoch; a checkpoint after the second and at the end."""


@pytest.fixture
def here(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runs, "ColorizationData", Referenced)
    monkeypatch.setattr(runs, "code_hash", lambda cfg: "code")  # the network is the test's
    return prepared


def run_of(**values: Any) -> Run:
    return change(replace(quick("user_guided/res_unet"), options=OPTIONS), **{**VALUES, **values})


def fitted(out: str, **values: Any) -> Path:
    experiment = runs.build(run_of(**values), out=out)
    runs.train(experiment)
    return experiment.out


class TestTraining:
    def test_steps_are_the_networks_and_both_players_learn(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: dict[str, Any] = {}

        class Watching(Callback):
            def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
                seen["before"] = {name: p.detach().clone() for name, p in pl_module.named_parameters()}

            def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
                seen["after"] = dict(pl_module.named_parameters())
                seen["rates"] = [optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers]
                seen["betas"] = [optimizer.param_groups[0]["betas"] for optimizer in trainer.optimizers]
                seen["kept"] = [len(optimizer.state) for optimizer in trainer.optimizers]

        monkeypatch.setattr(runs, "Lines", Watching)
        out = fitted("result")
        history = pd.read_csv(out / "history.csv")
        assert history["step"].tolist() == [4, 8]
        assert history["lr"].tolist() == pytest.approx([0.0055, 0.001])
        assert seen["rates"] == pytest.approx([0.001, 0.001])
        assert seen["betas"] == [(0.5, 0.99)] * 2
        still = {name for name, p in seen["after"].items() if torch.equal(p, seen["before"][name])}
        assert still == set()
        assert (history.filter(regex="^(train|val)/(?!database)") > 0).all(axis=None)  # whose weight is 0
        assert {f"val/{name}" for name in (*TERMS, "critic", "loss")} <= set(history)

    def test_the_network_is_run_once_per_step_and_judged_by_the_better_critic(
        self, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        order: list[str] = []
        forward, gan = Small.forward, ExemplarColorizer._gan

        def judged(task: Any, batch: Any, output: Any) -> Tensor:
            order.append("judged")
            if task.training:
                judged.weights.append(task.critic.layers[0].weight.detach().clone())
            return gan(task, batch, output)

        judged.weights = []
        monkeypatch.setattr(Small, "forward", lambda self, *given: (order.append("forward"), forward(self, *given))[1])
        monkeypatch.setattr(ExemplarColorizer, "_gan", judged)
        experiment = runs.build(run_of(epochs=1), out="result")
        first = experiment.task.critic.layers[0].weight.detach().clone()
        runs.train(experiment)
        assert order[:8] == ["forward", "judged"] * 4
        assert not torch.equal(judged.weights[0], first)

    @pytest.mark.parametrize("gan_weight", [0.1, 0.0])
    def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(
        self, gan_weight: float, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = {name: (fitted("whole", gan_weight=gan_weight) / name).read_bytes() for name in RESULT}

        class Dying(Resume):
            def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
                super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
                if (trainer.current_epoch, batch_idx) == (1, 2):
                    raise RuntimeError("killed")

        class Counting(Callback):
            def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
                seen.append(trainer.fit_loop.epoch_loop.batch_progress.total.ready)

        seen: list[int] = []
        monkeypatch.setattr(runs, "Resume", Dying)
        with pytest.raises(RuntimeError, match="killed"):
            fitted("result", gan_weight=gan_weight)
        monkeypatch.setattr(runs, "Resume", Resume)
        monkeypatch.setattr(runs, "Lines", Counting)
        out = fitted("result", gan_weight=gan_weight)
        assert seen == [7, 8]
        assert {name: (out / name).read_bytes() for name in RESULT} == whole

    @pytest.mark.parametrize("player", ["network", "critic"])
    def test_a_loss_that_is_no_number_names_its_pictures(self, player: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        name = {"network": "_histogram", "critic": "_critic_loss"}[player]
        usual = getattr(ExemplarColorizer, name)
        calls: list[int] = []

        def broken(task: Any, batch: Any, output: Any) -> Tensor:
            calls.append(1)
            return usual(task, batch, output) * (math.nan if len(calls) == 3 else 1)

        monkeypatch.setattr(ExemplarColorizer, name, broken)
        with pytest.raises(FloatingPointError, match=r"the loss is nan at step 2; pictures: (scenes|photos)/.*, (scenes|photos)/"):
            fitted("result")

    @pytest.mark.parametrize(("key", "value", "usual"), [("accumulate", 2, 1), ("clip", 0.5, 0)])
    def test_what_two_optimisers_cannot_do_is_refused_and_one_can(self, key: str, value: float, usual: int, here: Path) -> None:
        with pytest.raises(ValueError, match=rf"{key} must be {usual} while gan_weight is above 0, got {value}"):
            fitted("result", **{key: value})
        history = pd.read_csv(fitted("result", gan_weight=0.0, **{key: value}) / "history.csv")
        assert history["step"].tolist() == [4, 8]

    @pytest.mark.parametrize(("gan_weight", "finds", "refused"), [(0.1, False, True), (0.1, True, False), (0.0, False, False)])
    def test_processes_that_wait_for_both_players_are_refused(
        self, gan_weight: float, finds: bool, refused: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """DDP says nothing that leads to the cause."""
        task = task_of(gan_weight=gan_weight)
        shared = SimpleNamespace(model=SimpleNamespace(find_unused_parameters=finds))
        monkeypatch.setattr(ExemplarColorizer, "trainer", shared)
        with pytest.raises(ValueError, match="ddp_find_unused_parameters_true") if refused else nullcontext():
            task.on_train_start()

    def test_a_seed_is_its_critic(self, here: Path) -> None:
        one, again, other = (runs.build_task(run_of(seed=seed)) for seed in (0, 0, 1))
        first = [task.critic.layers[0].weight for task in (one, again, other)]
        assert torch.equal(first[0], first[1])
        assert not torch.equal(first[0], first[2])

    def test_the_critic_is_no_part_of_what_a_run_keeps(self, here: Path) -> None:
        assert set(weights.read(fitted("result") / "model.safetensors")) == set(Small(width=8).state_dict())

    def test_half_precision_trains(self, here: Path) -> None:
        history = pd.read_csv(fitted("result", precision="bf16-mixed") / "history.csv")
        whole = pd.read_csv(fitted("whole") / "history.csv")
        assert history["step"].tolist() == [4, 8]
        for name in ("histogram", "sparse", "l1"):
            assert history[f"train/{name}"].tolist() == pytest.approx(whole[f"train/{name}"].tolist(), rel=0.05)
