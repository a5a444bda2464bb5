"""Who may import whom. A wrong import is a slow start, a cycle, or a model that knows how it is trained."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import colorexp

PACKAGE = Path(colorexp.__file__).parent
FLOOR = {"color", "hints", "types", "paths", "seeding"}
PARTS = {"disco": {"models.spixnet"}}
"""Networks of the same paper that are trained first, and so are files of their own: a change of DISCO shall not retrain SPixNet."""


def _module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


TREES = {_module(path): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def imports(module: str) -> Iterator[str]:
    """Dotted names of everything `module` imports, inside functions too; `from a import b` gives `a.b`."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: line {node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(module: str) -> set[str]:
    """The modules of colorexp that `module` imports, for example `nn.padding`."""
    dotted = [name.removeprefix("colorexp.") for name in imports(module) if name.startswith("colorexp.")]
    return {name if name in TREES else name.rpartition(".")[0] for name in dotted}


def third_party(name: str) -> set[str]:
    return {module for module in TREES if any(found.split(".")[0] == name for found in imports(module))}


def below(folder: str) -> list[str]:
    return [module for module in TREES if module == folder or module.startswith(f"{folder}.")]


def test_imports_are_seen() -> None:
    """Or every test below would pass on nothing."""
    assert TREES.keys() >= FLOOR
    assert "nn.padding" in own_imports("models.unet")
    assert "color" in own_imports("hints")
    assert "torch_fidelity.metric_fid" in imports("metrics")  # inside a function


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("color", set()),
        ("hints", {"amount", "color", "paths"}),
        ("amount", set()),
        ("types", set()),
        ("paths", set()),
        ("seeding", set()),
    ],
)
def test_the_floor_stands_on_nothing(module: str, allowed: set[str]) -> None:
    assert own_imports(module) <= allowed


@pytest.mark.parametrize("module", below("models"))
def test_a_model_family_stands_on_shared_blocks_and_the_floor(module: str) -> None:
    family = module.split(".")[1:2]
    allowed = FLOOR | set(below("nn")) | {other for other in below("models") if other.split(".")[1:2] == family}
    assert own_imports(module) <= allowed | PARTS.get("".join(family), set())


@pytest.mark.parametrize("module", below("nn"))
def test_shared_blocks_stand_on_one_another_and_the_floor(module: str) -> None:
    assert own_imports(module) <= FLOOR | set(below("nn"))


@pytest.mark.parametrize("module", [*below("models"), *below("nn")])
def test_a_network_knows_nothing_of_training_or_disks(module: str) -> None:
    rooms = {name.split(".")[0] for name in own_imports(module)}
    assert not rooms & {"losses", "paths", "config", "tasks", "data", "runs"}


def test_lightning_stays_in_its_rooms() -> None:
    rooms = {"boot", "runs", "data.datamodule", *below("tasks")}
    assert third_party("pytorch_lightning") <= rooms
    assert third_party("lightning") == set()


def test_matplotlib_stays_in_viz() -> None:
    assert third_party("matplotlib") - {"viz", *below("viz")} == {"report.architecture"}, "which names what viz.diagram returns"


def test_files_are_unpickled_in_one_place_and_as_tensors_alone() -> None:
    """A checkpoint from elsewhere may hold code."""
    calls = [
        (module, {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords})
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert [module for module, _ in calls] == ["weights"]
    assert calls[0][1]["weights_only"] == "True"
    found = {name for module in TREES for name in imports(module)}
    assert not found & {"torch.load", "pickle.load", "pickle.loads", "cloudpickle", "dill"}


@pytest.mark.parametrize("module", ["colorexp", "colorexp.amount", "colorexp.config", "colorexp.paths", "colorexp.seeding"])
def test_what_only_reads_settings_starts_without_torch(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'pytorch_lightning', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stdout == "[]\n"
