"""Size and speed of report pages: a run's own, and a large made-up one, in headless Chromium.

    python benchmarks/report.py [--run runs/demo] [--quick]

The large page has 12 layers x 64 experts (two per token) x 20 topics. Last line: JSON with, for
`demo` (null without such a run) and `large`: `bytes`; `build_s`, from the statistics to the page's
text; `interactive_s`, from the start of loading until the browser is idle and takes input, median
of 5; `section_s`, from a jump to a chapter until its first figure is drawn, the slowest chapter;
`requests` beside the page itself; `console_errors`.
"""

import argparse
import dataclasses
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))

from moescope.analysis.chapters import measure_chapters, write_verdict
from moescope.analysis.data.audit import read_audit
from moescope.analysis.data.curves import read_training_curves
from moescope.analysis.data.run import RunData, read_run
from moescope.analysis.html.page import render
from moescope.analysis.report import draw_page
from moescope.configs.compose import compose_config
from moescope.configs.manifest import read_manifest
from moescope.configs.schema import Config
from moescope.inference.store.reader import RoutingStore
from tests.analysis.runs import write_run
from tests.analysis.stores import Planted

LAYERS, EXPERTS, TOPICS, SLOTS = 12, 64, 20, 2
LOADS = 5
IDLE = "new Promise(done => requestIdleCallback(() => done(performance.now())))"
STAGES = {"corpus": "corpus", "mask": "dataset", "train": "model", "route": "routing"}


def large_run(folder: Path, documents: int) -> tuple[Config, RunData]:
    """Opens a planted store, filled up with everything that the page can show.

    Args:
        folder: for the run.
        documents: of each topic.
    """
    plan = Planted(
        topics=tuple(f"topic number {topic}" for topic in range(TOPICS)),
        documents_per_topic=documents,
        layers=tuple(range(LAYERS)),
        experts=EXPERTS,
        effect=1.0,
        effect_layers=tuple(range(LAYERS)),
        tokens=120,
        token_names=tuple(f" token{number}" for number in range(400)),
    )
    config = write_run(folder, plan)
    store = filled(RoutingStore.open(config.paths.routing), np.random.default_rng(0))
    audit, paths = read_audit(config.paths.corpus / "audit.json"), config.paths
    manifests = {name: read_manifest(getattr(paths, key)) for name, key in STAGES.items()}
    return config, RunData(
        store=store,
        settings=config.report,
        seed=config.seed,
        audit=audit,
        curves=read_training_curves(paths.metrics),
        manifests={name: manifest for name, manifest in manifests.items() if manifest},
        started_at=time.monotonic(),
    )


def filled(store: RoutingStore, generator: np.random.Generator) -> RoutingStore:
    """Adds pairs, flow, knock-outs and a second expert per token to a planted store."""
    tokens = int(store.documents["num_untouched"].sum())
    above = np.triu_indices(EXPERTS, 1)
    pairs = np.zeros((LAYERS, EXPERTS, EXPERTS), dtype=np.int64)
    odds = generator.dirichlet(np.full(len(above[0]), 4.0), LAYERS)
    pairs[:, *above] = generator.multinomial(tokens, odds)
    pairs += pairs.swapaxes(1, 2)
    pairs += pairs.sum(axis=2)[:, None] * np.eye(EXPERTS, dtype=np.int64)
    rows = len(store.facts.types)
    tables = {
        "coactivation": pairs,
        "transition": generator.integers(1, 400, (LAYERS - 1, EXPERTS, EXPERTS)),
        "type_expert": generator.poisson(generator.gamma(0.3, 8, (rows + 1, LAYERS, EXPERTS))),
        "class_expert": generator.poisson(2000, store.tables["class_expert"].shape),
    }
    tables["type_tokens"] = tables["type_expert"][:, 0].sum(axis=-1)
    tables["class_tokens"] = tables["class_expert"][:, 0].sum(axis=-1)
    first = store.sample_experts
    second = (first + generator.integers(1, EXPERTS, first.shape)) % EXPERTS
    weights = generator.dirichlet((4, 2), first.shape[:2]).astype(np.float32)
    measured = np.arange(0, len(store.documents), 2)
    kinds = [("chosen", topic) for topic in range(TOPICS)] + [("control", -1)] * TOPICS
    knockout = pd.concat(
        pd.DataFrame(
            {
                "layer": number % LAYERS,
                "expert": number,
                "kind": kind,
                "chosen_for": topic,
                "load": 1 / EXPERTS,
                "document": measured,
                "loss_change": generator.normal(0, 0.1, len(measured)),
                "num_labels": 10,
            }
        )
        for number, (kind, topic) in enumerate(kinds)
    )
    return dataclasses.replace(
        store,
        facts=store.facts.model_copy(update={"top_k": SLOTS, "knockout": "top"}),
        tables={**store.tables, **tables},
        sample_experts=np.concatenate([first, second], axis=-1),
        sample_weights=weights,
        knockout=knockout,
    )


def finished_run(run: Path) -> tuple[Config, RunData]:
    """Opens a finished run (every manifest of it must be there)."""
    manifests = {name: read_manifest(run / folder) for name, folder in STAGES.items()}
    config = compose_config([f"name={run.name}", f"paths.runs={run.parent}"])
    return config, read_run(config, {n: m for n, m in manifests.items() if m})


def measure(browser: Browser, config: Config, run: RunData, path: Path) -> dict[str, Any]:
    """Builds a page and looks at it in the browser."""
    records = measure_chapters(run)
    verdict = write_verdict(records, run.design)
    clock = time.monotonic()
    text = render(draw_page(config.name, run, records, verdict))
    build_s = time.monotonic() - clock
    path.write_text(text, encoding="utf-8")
    url, requests, errors = path.as_uri(), set[str](), []
    interactive = []
    for _ in range(LOADS):
        page = browser.new_context().new_page()
        page.on("request", lambda request: requests.add(request.url))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        interactive.append(page.evaluate(IDLE) / 1000)
        section_s = slowest_section(page)
        page.context.close()
    return {
        "bytes": path.stat().st_size,
        "interactive_s": round(statistics.median(interactive), 2),
        "build_s": round(build_s, 1),
        "section_s": round(section_s, 2),
        "requests": len(requests - {url}),
        "console_errors": len(errors),
    }


def slowest_section(page: Page) -> float:
    """Jumps to every chapter: the longest wait, in seconds, for its first figure."""
    waits = [0.0]
    for link in page.locator(".contents a").all():
        name = (link.get_attribute("href") or "")[1:]
        plot = page.locator(f"section[id={name}] .plot").first
        clock = time.monotonic()
        link.click()
        if page.locator(f"section[id={name}] .plot").count():
            plot.locator(".main-svg").first.wait_for()
            waits.append(time.monotonic() - clock)
    return max(waits)


def main() -> None:
    """Measures and prints a table and, last, JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="a finished run")
    parser.add_argument("--quick", action="store_true", help="fewer documents in the large page")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    result: dict[str, Any] = {"demo": None}
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        folder = Path(scratch)
        if (options.run / "routing").exists():
            result["demo"] = measure(browser, *finished_run(options.run), folder / "demo.html")
        large = large_run(folder / "runs", 15 if options.quick else 50)
        result["large"] = measure(browser, *large, folder / "large.html")
        browser.close()
    shown = {name: values for name, values in result.items() if values}
    table = Table("", *shown)
    for key in result["large"]:
        table.add_row(key, *(str(values[key]) for values in shown.values()))
    Console().print(table)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
