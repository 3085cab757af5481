"""The import contracts in pyproject.toml match the docstrings of the modules."""

import ast
import re
import tomllib
from pathlib import Path

import regcred

ROOT = Path(__file__).parents[2]
PACKAGE = Path(regcred.__path__[0])
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

IMPORTED_TESTS = re.compile(r"^ *from +((?:\w+\.)*test_\w+) +import", re.MULTILINE)
SAYS_PURE = re.compile(r"\bPure\b|; pure\b(?! but for)")


def _pure_modules() -> set[str]:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        if SAYS_PURE.search(text) and SAYS_PURE.search(ast.get_docstring(ast.parse(text)) or ""):
            name = ".".join(("regcred", *path.relative_to(PACKAGE).with_suffix("").parts))
            found.add(name.removesuffix(".__init__"))
    return found


def test_each_module_whose_docstring_says_pure_is_in_the_contract() -> None:
    (contract,) = (item for item in CONTRACTS if item["name"].startswith("Pure modules"))
    held = contract["source_modules"]
    pure = _pure_modules()
    assert len(pure) > 40
    missing = {name for name in pure if not any(name == item or name.startswith(f"{item}.") for item in held)}
    assert not missing, "add these modules to the contract of pure modules in pyproject.toml"
    assert set(held) <= pure, "the docstrings of these modules no longer say Pure"


def test_the_contract_of_layers_names_each_module() -> None:
    (layers,) = (item for item in CONTRACTS if item["type"] == "layers")
    assert layers["exhaustive"]
    assert layers["containers"] == ["regcred"]


def test_import_circles_are_forbidden_in_each_package() -> None:
    (circles,) = (item for item in CONTRACTS if item["type"] == "acyclic_siblings")
    assert circles["ancestors"] == ["regcred"], "the contract covers each package below"


def test_each_inner_package_is_in_the_contract_that_forbids_sdks() -> None:
    """Only adapters, wiring, the command line and the places may call a server or a vendor's SDK."""
    (contract,) = (item for item in CONTRACTS if item["name"].startswith("The verbs and the nouns"))
    edges = {"adapters", "wiring", "cli", "registry", "vault", "cluster", "log", "settings"}
    modules = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    inner = {f"regcred.{name}" for name in modules - edges - {"__init__"}}
    assert inner <= set(contract["source_modules"])


def test_tests_share_code_only_by_helper_modules() -> None:
    """A fixture or a class of another test module would tie the two files together."""
    found = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in (ROOT / "tests").rglob("*.py")
        for module in IMPORTED_TESTS.findall(path.read_text("utf-8"))
        if (ROOT / "tests" / f"{module.replace('.', '/')}.py").exists()
    }
    assert found == set(), "move what they share into a helper module"
