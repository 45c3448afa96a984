"""Whether the statistics keep their promises: false positives, power, coverage of intervals.

    python benchmarks/calibration.py [--quick] [--corpora N] [--only WORD] [--write]

Corpora are drawn whose truth is known (null_corpora.py, null_tokens.py): kind and unkind ones
without a topic effect, the same with one, and topics that differ in their words alone. `--only`
takes the situations whose name holds a word; `--write` keeps what was measured in
docs/calibration.json, beside what it holds of other situations, and the tables of all of them in
docs/calibration.md.
Last line: JSON with `false_positive_rate`, `power`, `detectable` (power at the effect that a report
prints as the smallest that it would have found) and `coverage` (situation → quantity → share),
`corpora` and `limits` (central 99.8% of the binomial at 5%).
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import stats

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.calibration_coverage import COVERAGE
from benchmarks.calibration_power import DETECTABLE
from benchmarks.calibration_tests import (
    chi_square_p,
    classifier_p,
    document_classifier_p,
    document_p,
    gain_p,
    knockout_family_p,
    knockout_p,
    matching_p,
    time_p,
    token_p,
)
from benchmarks.null_corpora import KIND, UNKIND, planted
from benchmarks.null_tokens import PREVIOUS_NULLS, TOKEN_NULLS, TokenPlan

Shares = Mapping[str, Mapping[str, float]]  # situation → quantity → share
Measured = Callable[[np.random.Generator], Mapping[str, float]]  # quantity → p, or 0 / 1 / share
DOCS = Path(__file__).parent.parent / "docs" / "calibration.md"
LEVEL, FEWER = 0.05, 4  # power and coverage take a quarter of the corpora
WORDS = TOKEN_NULLS["words alone"]
CLASSIFIER_NULLS = (
    "documents with noise",
    "length x4",
    "length x10, no noise",
    "length x10, strong noise",
    "heavy-tailed lengths",
    "one heterogeneous topic",
    "five documents a group",
    "groups span topics",
    "tiny topics",
    "zero-inflated experts",
)
GAIN_NULLS = ("words alone", "words and rare words", "bursty words", "length x10")
UNKIND_WITH_EFFECT = ("length x10", "one heterogeneous topic", "five documents a group")

NULLS: dict[str, Measured] = {
    **{f"documents: {name}": document_p(plan) for name, plan in (KIND | UNKIND).items()},
    **{f"tokens: {name}": token_p(plan) for name, plan in TOKEN_NULLS.items()},
    **{f"tokens: {name}": token_p(plan, pairs_only=True) for name, plan in PREVIOUS_NULLS.items()},
    **{
        f"classifier: {name}": document_classifier_p(plan)
        for name, plan in (KIND | UNKIND).items()
        if name in CLASSIFIER_NULLS
    },
    **{f"classifier, words: {name}": gain_p(TOKEN_NULLS[name]) for name in GAIN_NULLS},
    "knock-outs: losses skewed to the right": knockout_p(0.0),
    "knock-outs: losses skewed to the left": knockout_p(0.0, skew=-1.0),
    "knock-outs: chosen like controls": knockout_family_p(15),
    "knock-outs: chosen like controls, heavy tail": knockout_family_p(15, tail=1.5),
    "knock-outs: four groups of five documents": knockout_family_p(4, 5),
    "knock-outs: twelve groups of five documents": knockout_family_p(12, 5),
    "matching: unrelated, even words": matching_p(0.0, 0.5),
    "matching: unrelated, bursty words": matching_p(1.0, 2.0),
    "matching: unrelated, very bursty words": matching_p(3.0, 2.0),
    "time: 40 speakers of one speech": time_p(40, 1),
    "time: 20 speakers of four speeches": time_p(20, 4),
    "time: 12 speakers of four, texts ten times as long": time_p(12, 4, longer=10.0),
}
EFFECTS: dict[str, Measured] = {
    "documents alike": chi_square_p(planted(KIND["documents alike"], 0.07)),
    "documents with noise": chi_square_p(planted(KIND["documents with noise"], 0.14)),
    **{name: document_p(planted(UNKIND[name], 0.3)) for name in UNKIND_WITH_EFFECT},
    "words and context": token_p(replace(WORDS, context=0.7)),
    "context": token_p(TokenPlan(context=0.7)),
    "documents with noise, read by the classifier": document_classifier_p(
        planted(KIND["documents with noise"], 0.14)
    ),
    "context, read by the classifier": classifier_p(TokenPlan(context=0.7)),
    "knock-outs": knockout_p(0.15),
    "knock-outs, one expert beyond its like": knockout_family_p(15, effect=1.5),
    "matching, related routers of bursty words": matching_p(1.0, 2.0, shared=0.7),
    "time, one expert of 20 speakers": time_p(20, 4, effect=4.0),
}
SITUATIONS = {
    "false_positive_rate": NULLS,
    "power": EFFECTS,
    "detectable": DETECTABLE,
    "coverage": COVERAGE,
}


def rejections(situation: Measured, corpora: int) -> dict[str, float]:
    """Share of corpora with p at or below 5%, by quantity; a missing p is none."""
    found = [situation(np.random.default_rng([7, corpus])) for corpus in range(corpora)]
    return {name: float(np.mean([p[name] <= LEVEL for p in found])) for name in found[0]}


def coverage(situation: Measured, corpora: int) -> dict[str, float]:
    """Share of the 95% intervals that hold the truth, by quantity."""
    held = [situation(np.random.default_rng([11, corpus])) for corpus in range(corpora)]
    return {name: float(np.mean([x[name] for x in held])) for name in held[0]}


def measure(corpora: int, only: str = "", fewest: int = 10) -> dict[str, object]:
    """Runs all situations whose name holds a word."""
    fewer = max(fewest, corpora // FEWER)
    plans = [
        ("false_positive_rate", rejections, corpora),
        ("power", rejections, fewer),
        ("detectable", rejections, corpora),
        ("coverage", coverage, fewer),
    ]
    result: dict[str, object] = {}
    for what, share, number in plans:
        kept = {name: run for name, run in SITUATIONS[what].items() if only in name}
        steps = track(kept.items(), what, console=Console(stderr=True))
        result[what] = {name: share(run, number) for name, run in steps}
    limits = stats.binom.ppf([0.001, 0.999], corpora, LEVEL) / corpora
    return {**result, "corpora": corpora, "limits": [float(limit) for limit in limits]}


def tables(shares: Mapping[str, Shares]) -> dict[str, str]:
    """The measured shares as Markdown, one table for the situations of like quantities."""
    written = {}
    for what, found in shares.items():
        kinds = dict.fromkeys(tuple(row) for row in found.values())
        parts = []
        for names in kinds:
            lines = [f"| situation | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
            for situation, row in found.items():
                if tuple(row) == names:
                    cells = " | ".join(f"{value:.1%}" for value in row.values())
                    lines.append(f"| {situation} | {cells} |")
            parts.append("\n".join(lines))
        written[what] = "\n\n".join(parts)
    return written


def remembered(shares: Mapping[str, Shares], path: Path) -> dict[str, Shares]:
    """Adds what was measured to what a file holds, in the order of the situations."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept = {}
    for what, situations in SITUATIONS.items():
        both = {**old.get(what, {}), **shares.get(what, {})}
        kept[what] = {name: both[name] for name in situations if name in both}
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return kept


def write_tables(shares: Mapping[str, Shares], path: Path) -> None:
    """Puts the tables between their marks in a document."""
    text = path.read_text(encoding="utf-8")
    for what, table in tables(shares).items():
        start, end = f"<!-- {what} -->", f"<!-- end {what} -->"
        before, after = text.split(start)[0], text.split(end)[1]
        text = f"{before}{start}\n{table}\n{end}{after}"
    path.write_text(text, encoding="utf-8")


def main() -> None:
    """Measures and prints a table and, last, JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="40 corpora")
    parser.add_argument("--corpora", type=int, default=400, help="null corpora per situation")
    parser.add_argument("--only", default="", help="situations whose name holds this")
    parser.add_argument("--write", action="store_true", help="fill the tables of the docs")
    options = parser.parse_args()
    clock = time.monotonic()
    result = measure(40 if options.quick else options.corpora, options.only)
    table = Table("what", "situation", "quantity", "share")
    shares: dict[str, Shares] = {what: result[what] for what in SITUATIONS}  # type: ignore[misc]
    for what, found in shares.items():
        for situation, row in found.items():
            for name, value in row.items():
                table.add_row(what, situation, name, f"{value:.3f}")
    Console().print(table)
    if options.write:
        write_tables(remembered(shares, DOCS.with_suffix(".json")), DOCS)
    print(json.dumps({**result, "elapsed_s": round(time.monotonic() - clock, 1)}))


if __name__ == "__main__":
    main()
