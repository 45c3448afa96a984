"""What tests in a browser share: the browser, a plain report and one full of hostile text."""

import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from moescope.data_processors.audit_warnings import AuditWarning

from .browsing import CHROMIUM
from .runs import make_report, write_run
from .stores import Planted

AXE = "4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"  # of axe.min.js
HOSTILE = (
    "</script><script>document.title='broken'</script>",
    "<img src=x onerror=\"document.title='broken'\">",
    "a\x00b\x1b[0m\u202egnp.exe",
    "שלום עולם",
    "{{ 7 * 7 }}" + "w" * 300,
)
TOKENS = (" the", "</script>", "<b>bold", "\u202e", "שלום", "\n")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One at a time: two cannot be driven from one thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def plain_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = Planted(effect=1.5, sample_masked=3)
    return make_report(write_run(tmp_path_factory.mktemp("plain"), plan))


@pytest.fixture(scope="session")
def plain(plain_report: Path) -> str:
    return (plain_report / "report.html").as_uri()


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    plan = Planted(topics=HOSTILE, effect=1.5, token_names=TOKENS)
    config = write_run(
        tmp_path_factory.mktemp("hostile"),
        plan,
        warnings=(AuditWarning("one_topic", {"topic": "<i>look</i>"}),),
    )
    return (make_report(config) / "report.html").as_uri()


@pytest.fixture(scope="session")
def axe(pytestconfig: pytest.Config) -> str:
    """Source of the accessibility checker axe-core: from npm once, then from pytest's cache."""
    assert pytestconfig.cache is not None
    folder = Path(pytestconfig.cache.mkdir("axe"))
    archive = folder / f"axe-core-{AXE}.tgz"
    if not archive.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("no npm on the path; install it, and axe-core is fetched once")
        done = subprocess.run(
            [npm, "pack", f"axe-core@{AXE}", "--silent"],
            cwd=folder,
            capture_output=True,
            timeout=60,
        )
        if done.returncode or not archive.exists():
            pytest.skip("the npm registry is not reachable; axe-core is fetched once")
    with tarfile.open(archive) as content:
        stream = content.extractfile("package/axe.min.js")
        assert stream is not None
        source = stream.read()
    assert hashlib.sha256(source).hexdigest() == SHA256
    return source.decode()
