"""Released checkpoints load whole and give the released numbers."""

from functools import lru_cache

import pytest
import torch
from golden_rule import filled_state, golden, golden_input

from colorexp import color, interop
from colorexp.models.disco import Disco
from colorexp.models.disco.anchors import Located
from colorexp.models.exemplar import Exemplar
from colorexp.models.exemplar.network import Reference
from colorexp.models.unet import ResUNet, SimpleUNet, TransUNet
from colorexp.models.vit import IColoriT

SMALL = {"simple_unet": SimpleUNet, "res_unet": ResUNet}


@pytest.mark.parametrize("family", [*SMALL, "trans_unet"])
def test_released_weights_give_the_released_logits(family: str) -> None:
    module, g = interop.from_released(family, filled_state(family)), golden(family)
    assert isinstance(module, {**SMALL, "trans_unet": TransUNet}[family])
    assert not any(part.training for part in module.modules())
    assert torch.equal(golden_input(f"ug:{family}", (1, 3, 64, 64), low=-1, high=1), g["x"])
    with torch.no_grad():
        logits = module(g["x"])[..., ::2, ::2]  # every second pixel is stored
    assert logits.shape == g["logits"].shape
    assert (logits - g["logits"]).abs().max() <= 1e-4 * g["logits"].abs().max()


@pytest.mark.parametrize("family", SMALL)
def test_every_released_tensor_matters(family: str) -> None:
    """A name mapped to the wrong place would load, and change nothing or the wrong thing."""
    released = filled_state(family)
    ours = interop.from_released(family, released).state_dict()
    assert len(ours) == len(released)
    assert sorted(t.double().sum().item() for t in ours.values()) == sorted(t.double().sum().item() for t in released.values())


@pytest.mark.parametrize(
    ("family", "name", "shape", "message"),
    [
        ("simple_unet", "encoder.1.0.weight", None, r"missing encoder\.1\.conv\.weight"),
        ("simple_unet", "encoder.9.0.weight", (1,), r"unexpected encoder\.9\.conv\.weight"),
        ("simple_unet", "encoder.0.0.bias", (9,), r"encoder\.0\.conv\.bias is \(9,\), not \(8,\)"),
        ("res_unet", "out.conv2.bias", None, r"missing head_b\.bias"),
        ("res_unet", "surprise", (1,), r"unexpected surprise"),
        ("res_unet", "out.conv1.weight", None, r"no res_unet checkpoint: it lacks 'out\.conv1\.weight'"),
    ],
)
def test_what_does_not_fit_is_named(family: str, name: str, shape: tuple[int] | None, message: str) -> None:
    state = filled_state(family)
    state.pop(name, None)
    if shape:
        state[name] = torch.zeros(shape)
    with pytest.raises(ValueError, match=message) as raised:
        interop.from_released(family, state)
    assert family in str(raised.value)


def test_every_misfit_is_listed() -> None:
    state = filled_state("simple_unet")
    for name in ("encoder.1.0.weight", "decoder.3.2.running_mean", "botNeck.4.bias"):
        state.pop(name)
    with pytest.raises(ValueError, match="checkpoint does not fit SimpleUNet") as raised:
        interop.from_released("simple_unet", state)
    assert str(raised.value).count("missing") == 3


def test_a_checkpoint_of_another_family_is_refused() -> None:
    with pytest.raises(ValueError, match="the simple_unet checkpoint does not fit"):
        interop.from_released("simple_unet", filled_state("res_unet"))
    with pytest.raises(ValueError, match="no trans_unet checkpoint: it lacks"):
        interop.from_released("trans_unet", filled_state("res_unet"))


def test_another_number_of_bins_is_read_from_the_checkpoint() -> None:
    state = filled_state("simple_unet")
    for head in ("conv1", "conv2"):
        state[f"out.{head}.weight"], state[f"out.{head}.bias"] = torch.zeros(7, 3, 1, 1), torch.zeros(7)
    module = interop.from_released("simple_unet", state)
    assert module(torch.zeros(1, 3, 16, 16)).shape == (1, 2, 7, 16, 16)


def test_an_unknown_family_is_named_beside_the_known() -> None:
    with pytest.raises(
        ValueError, match=r"'deoldify'; choose one of icolorit, spixnet, disco, exemplar, simple_unet, res_unet, trans_unet"
    ):
        interop.from_released("deoldify", {})


class TestIColoriT:
    def test_released_weights_give_the_released_colours(self) -> None:
        module, g = interop.from_released("icolorit", filled_state("icolorit_tiny")), golden("icolorit_tiny")
        assert isinstance(module, IColoriT)
        lab = color.rgb_to_lab(golden_input("icolorit_rgb", (1, 3, 224, 224)))
        L_n, ab_n = color.normalise(lab[:, :1], lab[:, 1:], "icolorit")
        assert torch.allclose(torch.cat([L_n, ab_n], 1).sum((2, 3)), g["lab_normalised_sum"], rtol=1e-4)
        mask = torch.zeros(1, 1, 112, 112)
        mask[0, 0, g["hint_cells"][:, 0], g["hint_cells"][:, 1]] = 1
        cells = torch.cat([torch.nn.functional.avg_pool2d(ab_n, 2) * mask, mask], 1)
        hinted = cells.repeat_interleave(2, 2).repeat_interleave(2, 3)
        with torch.no_grad():
            ab_n = module(torch.cat([L_n, hinted], 1))
        released = g["prediction"].view(14, 14, 16, 16, 2).permute(4, 0, 2, 1, 3).reshape(1, 2, 224, 224)
        assert (ab_n - released).abs().max() <= 1e-4 * released.abs().max()

    def test_sizes_are_read_from_the_checkpoint(self) -> None:
        small = IColoriT(size=48, patch=12, width=64, depth=3, heads=4, mlp_ratio=2)
        back = interop.from_released("icolorit", released_names(small))
        x = torch.rand(1, 4, 48, 48)
        with torch.no_grad():
            assert torch.equal(back(x), small.eval()(x))

    def test_without_relative_positions_it_is_the_released_size(self) -> None:
        plain = IColoriT(width=128, depth=1, heads=2, relative_positions=False)
        back = interop.from_released("icolorit", released_names(plain))
        assert back.blocks[0].attention.heads == 2
        assert back.size == 224

    def test_another_order_of_offsets_is_refused(self) -> None:
        state = filled_state("icolorit_tiny")
        state["blocks.3.attn.relative_position_index"] = state["blocks.3.attn.relative_position_index"].T
        with pytest.raises(ValueError, match=r"other constants than IColoriT: blocks\.3\.attn\.relative_position_index$"):
            interop.from_released("icolorit", state)

    def test_a_linear_head_is_refused(self) -> None:
        state = filled_state("icolorit_tiny")
        state["head.weight"] = torch.zeros(512, 192)
        with pytest.raises(ValueError, match=r"icolorit checkpoint does not fit IColoriT: unexpected head\.weight"):
            interop.from_released("icolorit", state)


class TestDisco:
    @staticmethod
    @lru_cache
    def released() -> Disco:
        module = interop.from_released("disco", filled_state_of_disco())
        assert isinstance(module, Disco)
        return module

    @pytest.mark.parametrize(("colours", "key"), [("modelled", "ab"), ("true", "ab_ground_truth_anchors")])
    def test_released_weights_give_the_released_colours(self, colours: str, key: str) -> None:
        module, g = self.released(), golden("disco")
        ab_n = golden_input("disco_ab", (1, 2, 256, 256), low=-0.6, high=0.6)
        with torch.no_grad():
            seen = module.look(golden_input("disco_gray", (1, 1, 256, 256), low=-1, high=1))
            modelled = module.model(seen)
            logits = modelled.logits.transpose(1, 2).view(1, 313, 16, 16)
            index = logits.argmax(1) if colours == "modelled" else module.truth(ab_n, seen)[1]
            coloured = module.generate(seen, modelled, Located(g["anchor_mask"].bool(), None), index)
        assert (coloured.color_logits - g["color_logits"]).abs().max() < 2e-3  # stored as half floats
        ab_n = coloured.ab_n[..., ::2, ::2]  # every second pixel is stored
        assert (ab_n - g[key]).abs().max() <= 1e-4 * g[key].abs().max()
        if colours == "modelled":
            assert torch.equal(module.centres_n[index].movedim(-1, 1), g["predicted_anchor_colors"])
            assert (coloured.generator_logits - g["conditional_logits"]).abs().max() < 2e-3
            assert torch.equal(coloured.generator_logits.argmax(1), g["conditional_logits_top"])

    def test_the_backbone_sees_what_the_released_one_sees(self) -> None:
        g = golden("disco")
        with torch.no_grad():
            features = self.released().backbone(golden_input("disco_gray", (1, 1, 256, 256), low=-1, high=1))
        assert torch.allclose(features.mean((2, 3)), g["backbone_features_mean"], rtol=1e-4, atol=1e-6)
        assert torch.allclose(features[..., :16, :16], g["backbone_features_patch"], rtol=1e-4, atol=1e-6)

    def test_spectral_norms_are_folded(self) -> None:
        names = self.released().state_dict()
        assert not any("parametrizations" in name for name in names)
        released = filled_state_of_disco()["repnet.conv5_3.2.weight_orig"]
        largest = torch.linalg.matrix_norm(released.flatten(1), ord=2)
        assert torch.allclose(names["backbone.block5.2.weight"], released / largest, rtol=1e-4, atol=1e-8)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("segnet.net.conv4b.1.bias", r"missing superpixels\.encoder\.4\.1\.1\.bias$"),
            ("repnet.conv7_3.4.weight_v", r"missing backbone\.block7\.4\.parametrizations\.weight\.0\._v$"),
            ("wildpath.layers.0.linear1.bias", r"no disco checkpoint: it lacks 'wildpath\.layers\.0\.linear1\.bias'"),
        ],
    )
    def test_what_is_missing_is_named(self, name: str, message: str) -> None:
        state = filled_state_of_disco()
        del state[name]
        with pytest.raises(ValueError, match=message):
            interop.from_released("disco", state)

    def test_other_bins_are_refused(self) -> None:
        state = {**filled_state_of_disco(), "mid_word_prj.weight": torch.zeros(312, 64)}
        with pytest.raises(ValueError, match="colours are 313 bins, this checkpoint has 312"):
            interop.from_released("disco", state)


class TestExemplar:
    @staticmethod
    @lru_cache
    def released() -> Exemplar:
        module = interop.from_released("exemplar", filled_state_of_exemplar())
        assert isinstance(module, Exemplar)
        return module

    def test_released_weights_give_the_released_colours(self) -> None:
        module, g = self.released(), golden("exemplar")
        ab_n = golden_input("ex_ref_ab", (1, 2, 64, 64), low=-0.6, high=0.6)
        histogram = golden_input("ex_hist", (1, 198))
        with torch.no_grad():
            key = module.correspondence.features(module.extractor(g["reference_L"]), g["reference_L"])
            reference = Reference(key, ab_n, histogram / histogram.sum(), torch.tensor([False]))
            colored = module.transfer(module.extractor(g["target_L"]), g["target_L"], reference)
        for i, (ours, step) in enumerate(zip(colored.ab_n, (1, 2, 4), strict=True)):  # every second or fourth pixel is stored
            released = g[f"output_{i}"]
            assert (ours[..., ::step, ::step] - released).abs().max() <= 1e-4 * released.abs().max()

    def test_all_but_the_classifier_of_the_published_parameters_are_there(self) -> None:
        state = filled_state_of_exemplar()
        assert sum(tensor.numel() for tensor in state.values()) == 72_829_686
        classifier = sum(tensor.numel() for name, tensor in state.items() if name.startswith("classify_network"))
        assert sum(p.numel() for p in self.released().parameters()) == 72_829_686 - classifier == 72_316_686

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("ref_network_hist.model1.2.bias", r"missing database_encoder\.quarter\.0\.2\.bias$"),
            ("resblock2_3.conv_block.3.weight", r"missing decoder\.stages\.2\.refine\.4\.body\.3\.weight$"),
            ("classify_network.fc.bias", r"no exemplar checkpoint: it lacks 'classify_network\.fc\.bias'"),
            ("model_head.0.bias", r"no exemplar checkpoint: it lacks 'model_head\.0\.bias'"),
        ],
    )
    def test_what_is_missing_is_named(self, name: str, message: str) -> None:
        state = filled_state_of_exemplar()
        del state[name]
        with pytest.raises(ValueError, match=message):
            interop.from_released("exemplar", state)

    def test_what_is_left_over_is_named(self) -> None:
        state = {**filled_state_of_exemplar(), "model11.0.weight": torch.zeros(1)}
        with pytest.raises(ValueError, match=r"exemplar checkpoint does not fit Exemplar: unexpected model11\.0\.weight$"):
            interop.from_released("exemplar", state)

    def test_other_colours_are_refused(self) -> None:
        state = {**filled_state_of_exemplar(), "model_hist.6.bias": torch.zeros(441)}
        with pytest.raises(ValueError, match="bins must be 198 or 313, got 441"):
            interop.from_released("exemplar", state)


@lru_cache
def _exemplar_state() -> dict[str, torch.Tensor]:
    return filled_state("exemplar")


def filled_state_of_exemplar() -> dict[str, torch.Tensor]:
    return dict(_exemplar_state())


@lru_cache
def _disco_state() -> dict[str, torch.Tensor]:
    return filled_state("disco")


def filled_state_of_disco() -> dict[str, torch.Tensor]:
    return dict(_disco_state())


def released_names(network: IColoriT) -> dict[str, torch.Tensor]:
    """The state of one of our networks under the names of the released code."""
    renames = {
        "embed.": "patch_embed.",
        "head.conv": "head.head",
        "attention": "attn",
        "feedforward": "mlp",
        ".table": ".rpb_table",
    }
    state = {}
    for name, tensor in network.state_dict().items():
        for ours, theirs in renames.items():
            name = name.replace(ours, theirs)
        state[name] = tensor
    return state
