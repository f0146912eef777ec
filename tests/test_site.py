"""The site of the documentation: complete, and without a broken link."""

import shutil
import sys

import my_fractal_tasks.kit as kit
import pytest
import yaml
from rendering import ROOT, run


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the sources, beside copier.yml, from which a part is made."""
    folder = tmp_path_factory.mktemp("repository")
    made = shutil.ignore_patterns("made")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=made)
    for name in ("copier.yml", "SECURITY.md"):
        shutil.copy(ROOT / name, folder)
    return folder / "docs"


def build(source, site):
    options = ("-W", "--keep-going", "--quiet", "-d", site.with_name("doctrees"))
    run(sys.executable, "-m", "sphinx", *options, source, site)


def test_the_site_is_complete_and_a_broken_link_is_an_error(source, tmp_path):
    site = tmp_path / "site"
    build(source, site)

    page = (site / "reference" / "kit.html").read_text("utf-8")
    for name in kit.__all__:
        assert f'id="my_fractal_tasks.kit.{name}"' in page, name
    page = (site / "reference" / "questions.html").read_text("utf-8")
    questions = yaml.safe_load((ROOT / "copier.yml").read_text("utf-8"))
    for name, question in questions.items():
        if not name.startswith("_") and question.get("ask", True):
            assert (f">{name}<" in page) == question.get("when", True), name
    page = (site / "reference" / "workbench.html").read_text("utf-8")
    for option in ("--zarr-dir", "--from", "--package", "--wells"):
        assert option in page
    assert (
        "sigma_xy"
        in (site / "reference" / "made" / "tasks" / "gaussian_blur.html").read_text()
    )

    (source / "guides" / "update.md").write_text(
        "# Update\n\n[this](nowhere.md#at-all)\n"
    )
    with pytest.raises(RuntimeError, match="nowhere"):
        build(source, site)
