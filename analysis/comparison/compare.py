"""The compare stage: finished runs become one page, tables and a summary."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...configs.cli import main
from ...configs.manifest import read_manifest
from ...configs.progress import console
from ...configs.schema import Config
from ...configs.stage import StageRun
from ...configs.stages import COMPARE
from ...configs.whole_files import write_json
from ..data.csv import write_csv
from ..html.page import Section
from ..html.records import without_nan
from .measures import curve_measures, layer_measures, matched_experts, run_measures, similarities
from .page import comparison_page, render_comparison
from .runs import FOLDERS, ComparedRun, find_runs, read_runs
from .sections import Comparison, runs_table
from .seeds import settings_against_seeds
from .settings import read_settings
from .verdict import compare_verdict


def write_comparison(stage: StageRun) -> Mapping[str, Any]:
    """Writes compare.html, tables/*.csv and summary.json; returns the counts.

    Raises:
        UserError: fewer than two runs, or a name without a run.
    """
    config = stage.config
    folders, skipped = find_runs(config.compare.runs, config.paths.runs)
    runs = read_runs(folders, config.paths.runs)
    for line in [*skipped, *(f"{run.name}: {line}" for run in runs for line in run.troubles)]:
        console.print(f"compare: {line}", markup=False, soft_wrap=True)
    comparison = compare_runs(runs, config.seed, config.compare.permutations)
    verdict = compare_verdict(comparison)
    page = comparison_page(comparison, verdict, skipped)
    _write_tables(stage.output_dir / "tables", comparison, page.sections)
    (stage.output_dir / "compare.html").write_text(render_comparison(page), encoding="utf-8")
    table = runs_table(comparison)
    summary = {
        "runs": table.assign(folder=[str(run.folder) for run in runs]).to_dict("records"),
        "settings": list(comparison.settings.differing),
        "similarity": comparison.similarity.to_dict("records"),
        "verdict": [asdict(sentence) for sentence in verdict],
    }
    write_json(stage.output_dir / "summary.json", without_nan(summary))
    for sentence in verdict:
        console.print(f"compare: {sentence.claim}", markup=False, soft_wrap=True)
    return {"runs": [str(run.folder) for run in runs]}


def compare_runs(runs: list[ComparedRun], seed: int, permutations: int) -> Comparison:
    """Computes every number of a comparison.

    Args:
        runs: at least two.
        seed: of the shuffles of token types.
        permutations: how many shuffles.
    """
    generator = np.random.default_rng(seed)
    settings, measures = read_settings(runs), run_measures(runs)
    return Comparison(
        runs=runs,
        settings=settings,
        measures=measures,
        seeds=settings_against_seeds(measures, settings, generator),
        layers=layer_measures(runs),
        curves=curve_measures(runs),
        similarity=similarities(runs, generator, permutations),
        matches=matched_experts(runs, generator, permutations),
    )


def _write_tables(folder: Path, comparison: Comparison, sections: Sequence[Section]) -> None:
    """Writes every number of the page as CSV."""
    folder.mkdir()
    write_csv(comparison.settings.frame, folder / "settings.csv", index=True)
    write_csv(runs_table(comparison), folder / "runs.csv")
    write_csv(comparison.matches, folder / "matched-experts.csv")
    for section in sections:
        for panel in section.panels:
            write_csv(panel.table, folder / f"{panel.name}.csv")


def results_of_runs(config: Config) -> dict[str, str]:
    """Hashes what the comparison reads: it is redone when a run has changed."""
    folders, skipped = find_runs(config.compare.runs, config.paths.runs)
    fingerprints = {}
    for folder in folders:
        for name in FOLDERS.values():
            manifest = read_manifest(folder / name)
            fingerprints[f"{folder}/{name}"] = manifest.fingerprint if manifest else ""
    return fingerprints | dict.fromkeys(skipped, "")


if __name__ == "__main__":
    sys.exit(main([COMPARE], sys.argv[1:], "moescope compare"))
