"""The root conftest.py really runs the examples of the documentation, each file as its reader would."""

import pytest
from workspace import ROOT

pytest_plugins = ["pytester"]


@pytest.fixture
def checkout(pytester: pytest.Pytester) -> pytest.Pytester:
    """An empty checkout with our conftest.py, in which `src/` can be imported."""
    pytester.makeconftest((ROOT / "conftest.py").read_text(encoding="utf-8"))
    pytester.makeini("[pytest]\naddopts = --import-mode=importlib\nfilterwarnings = error\n")
    pytester.mkdir("src").joinpath("demo").mkdir()
    pytester.syspathinsert("src")
    return pytester


def outcomes(checkout: pytest.Pytester, **files: str) -> dict[str, int]:
    """Return how many examples passed and failed in a README.md or a module of the package `demo`."""
    for name, text in files.items():
        path = "README.md" if name == "readme" else f"src/demo/{name}.py"
        checkout.path.joinpath(path).write_text(text, encoding="utf-8")
    return checkout.runpytest_inprocess().parseoutcomes()


def block(code: str) -> str:
    """Return a page with one Python code block."""
    return f"# A page\n\n```python\n{code}\n```\n"


def docstring(examples: str) -> str:
    """Return a module whose docstring holds examples."""
    return f'"""A module.\n\nExample:\n    {examples}\n"""\n'


def test_a_true_example_passes(checkout: pytest.Pytester) -> None:
    """Code blocks, their doctests and docstrings are all collected."""
    files = {"readme": block("ONE = 1") + block(">>> ONE\n1"), "__init__": docstring(">>> 1\n    1")}

    assert outcomes(checkout, **files) == {"passed": 3}


def test_a_lying_code_block_fails(checkout: pytest.Pytester) -> None:
    """A page whose code does not hold is a failure."""
    assert outcomes(checkout, readme=block("assert 1 == 2")) == {"failed": 1}


def test_a_lying_docstring_fails(checkout: pytest.Pytester) -> None:
    """A docstring whose example prints something else is a failure."""
    assert outcomes(checkout, __init__="", module=docstring(">>> 1\n    2")) == {"failed": 1}


def test_a_warning_in_an_example_fails(checkout: pytest.Pytester) -> None:
    """Examples show no deprecated ways."""
    assert outcomes(checkout, readme=block("import warnings; warnings.warn('old')")) == {"failed": 1}


def test_a_page_runs_in_a_folder_of_its_own(checkout: pytest.Pytester) -> None:
    """The blocks of a page share one folder, which is neither the checkout nor left behind."""
    write = block("open('file', 'x').close()")
    read = block("assert __import__('os').listdir() == ['file']")

    assert outcomes(checkout, readme=write + read) == {"passed": 2}
    assert not (checkout.path / "file").exists()


def test_a_page_is_a_module(checkout: pytest.Pytester) -> None:
    """Classes of a page find each other by name and can be pickled, as they could in a script."""
    define = block("class A:\n    pass\n\n\nclass B:\n    a: 'A'")
    use = block("import pickle, typing\nassert typing.get_type_hints(B)['a'] is A is pickle.loads(pickle.dumps(A))")

    assert outcomes(checkout, readme=define + use) == {"passed": 2}


def test_a_module_is_not_loaded_twice(checkout: pytest.Pytester) -> None:
    """Running the examples of a package executes it once, so that what it registers is registered once."""
    refuse_twice = "from pathlib import Path\nPath(__file__).with_name('loaded').touch(exist_ok=False)\n"

    assert outcomes(checkout, __init__=docstring(">>> 1\n    1") + refuse_twice) == {"passed": 1}


def test_a_module_that_cannot_be_imported_fails(checkout: pytest.Pytester) -> None:
    """A broken module is one failure among the results, not the end of the run."""
    broken = docstring(">>> 1\n    1") + "import nowhere\n"

    assert outcomes(checkout, readme=block("ONE = 1"), __init__=broken) == {"failed": 1, "passed": 1}


def test_a_docstring_sees_its_module(checkout: pytest.Pytester) -> None:
    """An example uses the names of its module, the very objects that importers get."""
    example = docstring(">>> import demo.module; A is demo.module.A\n    True")

    assert outcomes(checkout, __init__="", module=example + "class A:\n    pass\n") == {"passed": 1}
