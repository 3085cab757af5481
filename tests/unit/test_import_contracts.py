"""The import contracts hold what the modules say of themselves."""

import ast
import re
import tomllib
from pathlib import Path

import regcred

ROOT = Path(__file__).parents[2]
PACKAGE = Path(regcred.__path__[0])
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

SAYS_PURE = re.compile(r"\bPure\b|; pure\b(?! but for)")


def _pure_modules() -> set[str]:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        if SAYS_PURE.search(text) and SAYS_PURE.search(ast.get_docstring(ast.parse(text)) or ""):
            name = ".".join(("regcred", *path.relative_to(PACKAGE).with_suffix("").parts))
            found.add(name.removesuffix(".__init__"))
    return found


def test_each_module_that_says_it_is_pure_is_held_to_it() -> None:
    (contract,) = (item for item in CONTRACTS if item["name"].startswith("Pure modules"))
    held = contract["source_modules"]
    pure = _pure_modules()
    assert len(pure) > 40
    missing = {name for name in pure if not any(name == item or name.startswith(f"{item}.") for item in held)}
    assert not missing, "add these to the contract of pure modules in pyproject.toml"
    assert set(held) <= pure, "these no longer say that they are pure"


def test_the_layers_name_every_module_of_the_package() -> None:
    (layers,) = (item for item in CONTRACTS if item["type"] == "layers")
    assert layers["exhaustive"]
    assert layers["containers"] == ["regcred"]


def test_each_package_forbids_circles_among_its_modules() -> None:
    (circles,) = (item for item in CONTRACTS if item["type"] == "acyclic_siblings")
    assert circles["ancestors"] == ["regcred"], "the contract holds for every package below"


def test_each_verb_and_place_is_in_the_contract_that_forbids_sdks_or_is_an_edge() -> None:
    """Only adapters, wiring, the command line and the places may call a server or a vendor's SDK."""
    (contract,) = (item for item in CONTRACTS if item["name"].startswith("The verbs and the nouns"))
    edges = {"adapters", "wiring", "cli", "registry", "vault", "cluster", "log", "settings"}
    modules = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    inner = {f"regcred.{name}" for name in modules - edges - {"__init__"}}
    assert inner <= set(contract["source_modules"])
