"""How DynamicViT, AdaViT and A-ViT are trained: what their losses pull at, and who teaches."""

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from tiny import make_batch
from torch import Tensor
from torch.utils.data import DataLoader

from colorexp import color, losses
from colorexp.config import Fitting
from colorexp.models.pruned_vit import AdaViT, AViT, DynamicViT, Halted, HeadDecisions
from colorexp.models.vit import IColoriT
from colorexp.tasks.base import Setting
from colorexp.tasks.point import PointColorizer, encode
from colorexp.tasks.pruning import AdaViTColorizer, AViTColorizer, DynamicViTColorizer, halting_divergence

SMALL = {"size": 32, "patch": 8, "width": 24, "depth": 4, "heads": 3}
KINDS = {DynamicViTColorizer: DynamicViT, AdaViTColorizer: AdaViT, AViTColorizer: AViT}
OPTIONS: dict[type, dict] = {AViTColorizer: {"halting_scale": 2.0, "halting_center": 1.0}}
SETTING = Setting(Fitting(epochs=2, batch=4, lr=1e-2, optimizer="adamw", weight_decay=0.05), 0, 1, None)


def built(kind: type[PointColorizer], setting: Setting = SETTING, network: dict | None = None, **options) -> PointColorizer:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        dense = IColoriT(**SMALL)
        model = KINDS[kind](**{**SMALL, **OPTIONS.get(kind, {}), **(network or {})})
    model.start_from(dense.state_dict())
    return kind(model, setting, **options)


def fit(task: LightningModule, *, epochs: int = 1, resume: str | None = None) -> Trainer:
    batches = DataLoader([make_batch(pictures=4)], batch_size=None)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, batches, ckpt_path=resume, weights_only=True)
    return trainer


def copied(task: PointColorizer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in task.model.state_dict().items()}


def target_of(batch: dict) -> Tensor:
    return color.normalise(batch["L"], batch["ab"], "icolorit")[1]


@pytest.mark.parametrize("kind", KINDS)
class TestEveryMethod:
    def test_a_step_reaches_every_parameter(self, kind: type[PointColorizer]) -> None:
        task, batch = built(kind).train(), make_batch(pictures=16)  # of which some keep every layer of AdaViT
        terms = task.loss(batch, task(batch))
        assert terms.keys() == set(task.logged)
        terms["loss"].backward()
        assert [n for n, p in task.model.named_parameters() if p.grad is None or not p.grad.any()] == []
        assert all(torch.isfinite(p.grad).all() for p in task.model.parameters())

    def test_the_picture_counts_as_it_does_for_the_dense_network(self, kind: type[PointColorizer]) -> None:
        task, batch = built(kind, huber_delta=0.1).eval(), make_batch()
        output = task(batch)
        expected = losses.huber(output.ab_n, target_of(batch), delta=0.1)
        assert torch.allclose(task.loss(batch, output)["huber"], expected)

    def test_pictures_are_measured_by_what_was_computed_for_them(self, kind: type[PointColorizer]) -> None:
        task, batch = built(kind).eval(), make_batch(33, 47)
        with torch.no_grad():
            prediction = task.predict(batch)
            scores = task.scores(batch, prediction)
            lean = task.model.infer(encode(batch))
        assert torch.equal(scores["multiply_adds_m"], task.model.multiply_adds(lean.decisions, (33, 47)).double() / 1e6)
        assert torch.allclose(prediction.ab, 110 * lean.ab_n)
        assert all(value.shape == (2,) for value in scores.values())

    def test_noise_is_a_picture_s_own(self, kind: type[PointColorizer]) -> None:
        task, batch = built(kind).train(), make_batch(pictures=3)
        alone = {key: value[1:2] for key, value in batch.items()}
        state = torch.get_rng_state()
        with torch.no_grad():
            assert torch.allclose(task(alone).ab_n[0], task(batch).ab_n[1], atol=1e-5)
        assert torch.equal(state, torch.get_rng_state())

    def test_training_lowers_the_loss(self, kind: type[PointColorizer]) -> None:
        options = {"frozen_epochs": 0, "backbone_lr": 1.0} if kind is DynamicViTColorizer else {}
        task, batch = built(kind, Setting(SETTING.fitting, 0, 20, None), **options), make_batch(pictures=4)
        before = task.loss(batch, task(batch))["huber"]
        fit(task, epochs=20)
        assert task.loss(batch, task(batch))["huber"] < 0.8 * before

    def test_negative_weights_are_named(self, kind: type[PointColorizer]) -> None:
        name = {DynamicViTColorizer: "ratio_weight", AdaViTColorizer: "usage_weight", AViTColorizer: "prior_weight"}[kind]
        with pytest.raises(ValueError, match=f"{name} must be 0 or more, got -1"):
            built(kind, **{name: -1.0})


class TestDynamicViT:
    def test_shares_are_compared_stage_by_stage_and_picture_by_picture(self) -> None:
        task, batch = built(DynamicViTColorizer, ratio_weight=3.0, distill_weight=0.0).train(), make_batch()
        output = task(batch)
        shares = [output.decisions.patches[picture, stage, 0].mean() for picture in range(2) for stage in (1, 2, 3)]
        expected = 3 * sum((share - target) ** 2 for share, target in zip(shares, [0.7, 0.49, 0.343] * 2, strict=True)) / 6
        terms = task.loss(batch, output)
        assert torch.allclose(terms["sparsity"], expected)
        assert torch.allclose(terms["loss"], terms["huber"] + expected)

    def test_where_nothing_is_dropped_the_teacher_agrees(self) -> None:
        task, batch = built(DynamicViTColorizer, network={"keep_ratio": 1.0}).eval(), make_batch()
        terms = task.loss(batch, task(batch))
        assert torch.allclose(terms["loss"], terms["huber"] + terms["sparsity"], atol=1e-6)

    def test_the_teacher_is_the_dense_network_it_started_from(self) -> None:
        task, batch = built(DynamicViTColorizer, distill_weight=0.25).eval(), make_batch()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            dense = IColoriT(**SMALL)
        output = task(batch)
        kept = output.decisions.patches[:, -1, 0] == 1
        with torch.no_grad():
            colours = dense(encode(batch))
            tokens = dense.embed(encode(batch)) + dense.positions
            for block in dense.blocks:
                tokens = block(tokens, block.attention.bias((4, 4)))
        apart = (output.tokens - dense.norm(tokens))[kept].square().mean()
        expected = 0.25 * (apart + losses.huber(output.ab_n, colours, delta=0.01))
        terms = task.loss(batch, output)
        assert expected > 1e-3
        assert torch.allclose(terms["loss"] - terms["huber"] - terms["sparsity"], expected, rtol=1e-4)

    def test_the_teacher_is_neither_trained_nor_saved(self) -> None:
        task = built(DynamicViTColorizer, frozen_epochs=0, backbone_lr=1.0)
        start, names = copied(task), set(task.state_dict())
        fit(task)
        teacher = task._teacher[0].state_dict()
        assert all(torch.equal(tensor, start[name]) for name, tensor in teacher.items())
        assert any(not torch.equal(tensor, start[name]) for name, tensor in task.model.state_dict().items())
        assert set(task.state_dict()) == names
        assert not {id(p) for p in task.parameters()} & {id(p) for p in task._teacher[0].parameters()}

    def test_a_resumed_training_has_the_teacher_of_its_start(self, tmp_path) -> None:
        checkpoint = str(tmp_path / "last.ckpt")
        first = built(DynamicViTColorizer, frozen_epochs=0, backbone_lr=1.0)
        start = copied(first)
        fit(first).save_checkpoint(checkpoint)
        second = built(DynamicViTColorizer, frozen_epochs=0, backbone_lr=1.0)
        fit(second, epochs=2, resume=checkpoint)
        assert second.global_step == 2
        assert all(torch.equal(tensor, start[name]) for name, tensor in second._teacher[0].state_dict().items())

    def test_first_epochs_train_the_predictors_alone(self) -> None:
        task = built(DynamicViTColorizer, frozen_epochs=1)
        before = copied(task)
        fit(task)
        moved = {name for name, tensor in task.model.state_dict().items() if not torch.equal(tensor, before[name])}
        assert moved == {name for name, _ in task.model.named_parameters() if name.startswith("predictors.")}
        fit(task, epochs=2)
        assert any(not torch.equal(t, before[n]) for n, t in task.model.state_dict().items() if n.startswith("blocks."))

    def test_all_but_the_predictors_learn_slowly(self) -> None:
        task = built(DynamicViTColorizer, backbone_lr=0.1)
        groups = task.configure_optimizers()["optimizer"].param_groups
        names = {id(p): name for name, p in task.model.named_parameters()}
        found = {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
        assert found.keys() == set(names.values())
        for name, p in task.model.named_parameters():
            rate = 1e-2 if name.startswith("predictors.") else 1e-3
            assert found[name] == (pytest.approx(rate), 0.05 if p.ndim > 1 else 0.0)


class TestAdaViT:
    def test_the_three_shares_are_compared_with_theirs(self) -> None:
        task = built(AdaViTColorizer, usage_weight=3.0, patch_ratio=0.9, layer_ratio=0.2, head_ratio=0.3)
        patches, layers, heads = torch.zeros(2, 4, 1, 16), torch.zeros(2, 4, 2), torch.zeros(2, 4, 3)
        patches[0] = 1
        layers[:, :2] = 1
        heads[:, :2] = 1
        output = task(make_batch())._replace(decisions=HeadDecisions(patches, layers, heads))
        expected = 3 * ((0.5 - 0.9) ** 2 + abs(1 / 3 - 0.2) + abs(0.5 - 0.3))
        assert task.sparsity(output).item() == pytest.approx(expected, rel=1e-5)

    def test_heads_are_measured_and_counted(self) -> None:
        task, batch = built(AdaViTColorizer, network={"keep_bias": 0.3}).eval(), make_batch()
        with torch.no_grad():
            for linear in task.model.head_decisions:
                linear.weight.zero_()
                linear.bias.copy_(torch.tensor([1.0, -1.0, 1.0]))
            prediction = task.predict(batch)
        scores = task.scores(batch, prediction)
        assert torch.allclose(scores["head_ratio"], torch.full((2,), 2 / 3))
        every = HeadDecisions(prediction.extras["patches"], prediction.extras["layers"])
        assert (scores["multiply_adds_m"] < task.model.multiply_adds(every, (32, 32)) / 1e6).all()

    def test_what_decides_learns_at_a_rate_of_its_own(self) -> None:
        task = built(AdaViTColorizer, decision_lr=10.0)
        usual = {name: 1.0 for name, _ in task.model.named_parameters() if "decisions." not in name}
        groups = task.optimizer(list(task.model.parameters())).param_groups
        rates = {id(p): group["lr"] for group in groups for p in group["params"]}
        for name, parameter in task.model.named_parameters():
            assert rates[id(parameter)] == pytest.approx(usual.get(name, 10.0) * task.setting.fitting.lr), name
        assert 0 < len(usual) < len(rates)

    def test_a_share_beyond_one_is_named(self) -> None:
        with pytest.raises(ValueError, match=r"head_ratio is a share between 0 and 1, got 1\.5"):
            built(AdaViTColorizer, head_ratio=1.5)


class TestAViT:
    def test_blocks_have_a_price_and_scores_a_prior(self) -> None:
        task, batch = built(AViTColorizer, ponder_weight=0.5, prior_weight=0.25).eval(), make_batch()
        output: Halted = task(batch)
        mean = torch.stack([output.halting[:, block].mean() for block in range(4)])
        expected = 0.5 * output.ponder.mean() + 0.25 * halting_divergence(mean, 2)
        assert torch.allclose(task.sparsity(output), expected)

    def test_the_divergence_is_that_of_its_definition(self) -> None:
        halting = torch.tensor([0.1, 0.2, 0.3, 0.2, 0.0, 0.2])
        share = [0.1, 0.2, 0.3, 0.2, 0.01, 0.2]
        gauss = torch.distributions.Normal(3.0, 1.0).log_prob(torch.arange(6.0)).exp()
        prior = 0.98 * gauss / gauss[:3].sum()
        expected = sum(p * torch.tensor(p / q).log() for p, q in zip(share, prior.tolist(), strict=True))
        assert torch.allclose(halting_divergence(halting, 3), expected)

    def test_the_prior_pulls_halting_to_its_block(self) -> None:
        gradients = []
        for block in (2, 10):
            halting = torch.full((12,), 0.3, requires_grad=True)
            halting_divergence(halting, block).backward()
            gradients.append(halting.grad)
        assert gradients[0].argmin() == 2 and gradients[1].argmin() == 10

    @pytest.mark.parametrize(("depth", "block"), [(12, 8), (24, 16), (2, 1), (1, 1)])
    def test_the_prior_lies_two_thirds_of_the_way(self, depth: int, block: int) -> None:
        task = AViTColorizer(AViT(**{**SMALL, "depth": depth}), SETTING)
        assert task.prior_block == block
        halting = torch.full((depth,), 0.5)
        assert torch.isfinite(halting_divergence(halting, block))

    def test_a_prior_outside_is_named(self) -> None:
        with pytest.raises(ValueError, match="from 1 to 3, got 4"):
            built(AViTColorizer, prior_block=4)
