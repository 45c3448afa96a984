"""axe-core finds no serious accessibility violation, in light and dark, on desk and phone."""

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from .browsing import NO_CHROMIUM, draw

pytestmark = NO_CHROMIUM

AXE = "4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"  # of axe.min.js
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def axe(pytestconfig: pytest.Config) -> str:
    """The checker's source: from npm once, then from pytest's cache."""
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


@pytest.mark.parametrize(("scheme", "window"), [("light", DESK), ("dark", DESK), ("light", PHONE)])
def test_no_serious_violation(
    browser: Browser, plain: str, axe: str, scheme: str, window: dict[str, int]
) -> None:
    # the checker is no part of the page: its policy would refuse it
    context = browser.new_context(viewport=window, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(f"{plain}#examples")
    page.locator("#token-3").hover()
    draw(page, "topics", "depth", "loss")
    page.locator("#search").fill("graph")
    for summary in page.locator("#topics details summary").all():
        summary.click()
    page.add_script_tag(content=axe)
    result = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    grave = [
        (found["id"], [node["html"][:120] for node in found["nodes"][:3]])
        for found in result["violations"]
        if found["impact"] in ("serious", "critical")
    ]
    assert grave == []
    context.close()
