"""What the wheel holds, and what the constraints promise."""

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from the checkout with the hatchling that is installed here."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True, timeout=120)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_carries_every_demo_inside_the_package(wheel: zipfile.ZipFile, repository: Path) -> None:
    demos = repository / "demos"
    kept = [path for path in demos.rglob("*") if path.is_file() and path.suffix in {".py", ".npz", ".md"}]
    expected = {f"optrace/demos/{path.relative_to(demos).as_posix()}" for path in kept}
    assert "optrace/demos/data/digits.npz" in expected
    assert expected <= set(wheel.namelist())


def test_the_wheel_installs_one_package(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0] for name in wheel.namelist()} == {"optrace", "torch_optrace-0.1.0.dist-info"}


def test_everything_that_is_required_is_pinned(repository: Path) -> None:
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    here = {canonical(pin.name): pin for pin in pins if pin.marker is None or pin.marker.evaluate()}
    assert all(str(pin.specifier).startswith("==") and pin.url is None for pin in pins)
    assert len(here) == sum(pin.marker is None or pin.marker.evaluate() for pin in pins), "a package is pinned twice"

    required = [Requirement(text) for text in importlib.metadata.requires("torch-optrace") or []]
    for requirement in required:
        if requirement.marker is None or requirement.marker.evaluate({"extra": "test"}):
            pin = here[canonical(requirement.name)]
            version = str(pin.specifier).removeprefix("==")
            assert requirement.specifier.contains(version), f"{requirement} leaves out the pinned {version}"


def canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
