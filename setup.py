"""Package: the code, and inside it the configs and the list of public checkpoints, so that a wheel runs on its own."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent


def version() -> str:
    """mimeval.__version__, read without importing the package."""
    found = re.search(r'^__version__ = "(.+)"$', (HERE / "mimeval" / "__init__.py").read_text(encoding="utf-8"), re.M)
    if found is None:
        raise RuntimeError('mimeval/__init__.py has no line __version__ = "..."')
    return found[1]


def requirements() -> list[str]:
    """The pins of requirements.txt."""
    lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


class BuildWithConfigs(build_py):
    """Copies configs/ to mimeval/configs and checkpoints/zoo.yaml to mimeval/checkpoints."""

    def run(self) -> None:
        """Build the package, then add what lies beside it in a checkout."""
        super().run()
        package = Path(self.build_lib, "mimeval")
        target = package / "configs"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(HERE / "configs", target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        zoo = HERE / "checkpoints" / "zoo.yaml"
        if zoo.is_file():
            shutil.copy(zoo, package / "checkpoints" / "zoo.yaml")


readme = HERE / "README.md"
setup(
    name="mimeval",
    version=version(),
    description="Measure what a masked-image-modeling checkpoint transfers to, and pre-train the methods it measures",
    long_description=readme.read_text(encoding="utf-8") if readme.is_file() else "",
    long_description_content_type="text/markdown",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["mimeval", "mimeval.*"]),
    package_data={"mimeval.transfer.report": ["style.css"]},
    install_requires=requirements(),
    entry_points={"console_scripts": ["mimeval = mimeval.cli.main:main"]},
    cmdclass={"build_py": BuildWithConfigs},
)
