"""Bad input through the real command line: exit code 2, one line, and nothing changed on disk.

    python benchmarks/bad_inputs.py [--quick] [--cases N] [--examples N] [--seed N]

A tiny run is made; then every case types one command beside it, after damaging a file where the
case says so. Numbers that no setting may have, files of every stage with a bit turned or cut off,
manifests of other versions, somebody's files at every path, files that are no corpus, and mistakes
by hand. After that hypothesis makes up files and values for the readers, in this process: they
may read them or refuse them with a `UserError` of one line.

The last line is JSON: `cases`, `passed`, `failed` (also: a line that begins with "unexpected"),
`examples` (hypothesis), `elapsed_s`.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import forked
from benchmarks.bad_input_cases import Case, all_cases, sample
from benchmarks.bad_input_examples import PROPERTIES, run_property
from moescope.configs.manifest import hash_folder

TINY = (
    *("experiment=debug", "source.documents_per_topic=40", "source.words_per_document=30"),
    *("corpus.splits.probe_documents=4", "corpus.splits.validation=0.2"),
    *("corpus.clean.min_chars=20", "tokenizer.vocab_size=400", "dataset.sequence_length=32"),
    *("model.hidden_size=32", "model.intermediate_size=48", "model.moe_intermediate_size=24"),
    *("train.batch_size=8", "train.max_steps=4", "train.eval_every=2", "train.snapshots=1"),
    *("report.permutations=19", "report.bootstrap=5"),
)


class Campaign:
    """A finished run that is the same before every case.

    Args:
        folder: its own, empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, folder / "runs"
        self.failures: list[str] = []
        (folder / "files").mkdir()
        done = forked.run(("pipeline", *TINY, f"paths.runs={self.runs}"), folder)
        assert done.code == 0, done.printed
        self.run = self.runs / "debug"
        shutil.copytree(self.run, folder / "kept")

    def judge(self, case: Case) -> bool:
        """Runs a case; returns whether it ended as it has to."""
        words = [word.replace("{run}", str(self.run)) for word in case.words]
        if words[0] != "rerun" and not any(word.startswith("name=") for word in words):
            words += ["name=debug"]
        words += [f"paths.runs={self.runs}"]
        if case.prepare is not None:
            case.prepare(self.run)
        before = hash_folder(self.runs)
        done = forked.run(words, self.folder, lambda: os.environ.update(case.environment))
        trouble = self._trouble(done, before)
        if trouble is not None:
            self.failures.append(f"{case.name} ({' '.join(case.words)}): {trouble}")
            print(f"\nFAILED {self.failures[-1][:1500]}", flush=True)
        if case.prepare is not None or trouble is not None:
            shutil.rmtree(self.runs)
            self.runs.mkdir()
            shutil.copytree(self.folder / "kept", self.run)
        return trouble is None

    def _trouble(self, done: forked.Done, before: dict[str, str]) -> str | None:
        lines = [line for line in done.printed.splitlines() if line.startswith("moescope: ")]
        if done.code != 2:
            return f"exit code {done.code}: {done.printed[-600:]}"
        if len(lines) != 1 or "Traceback" in done.printed:
            return f"not one line: {done.printed[-600:]}"
        if lines[0].startswith("moescope: unexpected"):
            return lines[0]
        after = hash_folder(self.runs)
        changed = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
        changed = [name for name in changed if not name.endswith(".hashes.json")]
        folders = {p.name for p in self.runs.iterdir()} - {"debug", ".aim"}
        return f"changed {changed[:5]} {folders}" if changed or folders else None


def main() -> None:
    """Runs the campaign and prints the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="30 cases and 200 examples")
    parser.add_argument("--cases", type=int, help="so many of the cases, drawn; all without it")
    parser.add_argument("--examples", type=int, help="of hypothesis; 10,000 without it")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    count = options.cases or (30 if options.quick else None)
    examples = options.examples or (200 if options.quick else 10_000)
    clock = time.monotonic()
    forked.preload()
    with tempfile.TemporaryDirectory() as place:
        campaign = Campaign(Path(place))
        cases = all_cases(campaign.run, campaign.folder / "files")
        if count is not None:
            cases = sample(cases, count, random.Random(options.seed))
        for number, case in enumerate(cases):
            if number % 25 == 0:
                print(
                    f"{number} of {len(cases)} cases, {time.monotonic() - clock:.0f} s", flush=True
                )
            campaign.judge(case)
        made = 0
        for name, check in PROPERTIES.items():
            share = -(-examples // len(PROPERTIES))
            if (trouble := run_property(check, share, Path(place), options.seed)) is not None:
                campaign.failures.append(f"{name}: {trouble}")
                print(f"FAILED {name}: {trouble}", flush=True)
            made += share
            print(f"{made} examples, {time.monotonic() - clock:.0f} s", flush=True)
    total, failed = len(cases) + len(PROPERTIES), len(campaign.failures)
    figures = {"cases": total, "passed": total - failed, "failed": failed, "examples": made}
    print(json.dumps({**figures, "elapsed_s": round(time.monotonic() - clock, 1)}))


if __name__ == "__main__":
    main()
