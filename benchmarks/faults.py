"""What kills, damage, full disks, moves and second commands leave of a run.

    python benchmarks/faults.py [--kills N] [--faults N] [--seed N] [--quick]

A tiny run is made twice without trouble; the files in which both agree byte by byte (corpus,
dataset, weights, checkpoints, stores, tables) are what every other run has to end with.
- Kills: SIGKILL at a random moment of a stage, before a change of the disk (every rename, sync and
  removal gets its turn), or in a write of weights or states, half of which is left. Every other
  kill hits a stage whose result is there already and is done anew. Then the same command again.
- Faults: a bit flipped in, or the second half cut off, every kind of file of every stage, before
  the stage that reads it or the whole pipeline runs again; disks that are full (a small tmpfs,
  where mounting is allowed) or fail (EIO).
- Runs that are moved and renamed between stages, and two commands at once on one run.

The last line is JSON: `kills`; `survived` (of them: same command, same result); `lost` (an earlier
result is gone, or the command does not get to one again); `faults`, `moves`, `races`; `differing`
(exit code 0 and another result); `silent` (damage of which nothing was said, and neither was it
repaired); `tracebacks` (also: an exit code other than 0 and 2); `files` that are compared.
"""

import argparse
import errno
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import forked
from benchmarks.forked import Done, Trouble

STAGES = {  # → its folder
    "corpus": "corpus",
    "mask": "dataset",
    "train": "model",
    "route": "routing",
    "report": "report",
}
TINY = (
    *("experiment=debug", "source.documents_per_topic=40", "source.words_per_document=30"),
    *("corpus.splits.probe_documents=4", "corpus.splits.validation=0.2"),
    *("corpus.clean.min_chars=20", "tokenizer.vocab_size=400", "dataset.sequence_length=32"),
    *("model.hidden_size=32", "model.intermediate_size=48", "model.moe_intermediate_size=24"),
    *("model.dropout=0.1", "train.batch_size=8", "train.max_steps=10", "train.log_every=2"),
    *("train.eval_every=2", "train.eval_examples=10", "train.snapshots=1"),
    *("report.permutations=19", "report.bootstrap=5"),
)


class Campaign:
    """Runs cases against an undisturbed run and counts what came of them.

    Args:
        folder: where runs are made; its own.
        generator: draws moments and places.
        stages: those that take part, from the first.
    """

    def __init__(self, folder: Path, generator: random.Random, stages: Sequence[str]) -> None:
        self.folder, self.random, self.stages = folder, generator, stages
        self.counts: Counter[str] = Counter()
        self.elapsed: dict[str, float] = {}
        self.changes: dict[str, int] = {}
        self.cases = 0
        self.base = self._undisturbed("base")
        second = hashes(self._undisturbed("second"))
        self.expected = dict(hashes(self.base).items() & second.items())

    def _undisturbed(self, name: str) -> Path:
        runs = self.folder / name
        runs.mkdir()
        for stage in self.stages:
            counted = runs / f"changes-{stage}"
            clock = time.monotonic()
            done = forked.run(command(stage, runs), self.folder, forked.count_changes(counted))
            assert done.code == 0, done.printed
            self.elapsed[stage] = time.monotonic() - clock
            self.changes[stage] = counted.stat().st_size
        return runs / "debug"

    # -- kills ------------------------------------------------------------------------------------

    def kill(self, stage: str, trouble: Trouble | None, *, anew: bool) -> None:
        """Kills a stage once and types its command again.

        Args:
            stage: the command.
            trouble: what kills it; None = a random moment.
            anew: its result is there already, and made again.
        """
        run = self.copy("kill", upto=stage, included=anew)
        before = hashes(run)
        arguments = command(stage, run.parent, *(["force=true"] if anew else []))
        running = forked.start(arguments, self.folder, trouble)
        moment = self.random.uniform(0, 1.1) * self.elapsed[stage] if trouble is None else None
        done = running.wait(kill_after=moment)
        case = f"{stage}{' anew' if anew else ''} killed, {done.code}"
        upstream = tuple(f"{folder}/" for folder in folders_before(stage))
        kept = {n: v for n, v in before.items() if n.startswith(upstream)}
        again = forked.run(command(stage, run.parent), self.folder)
        self._judge_traceback(case, again)
        self.counts["kills"] += 1
        after = hashes(run)
        if again.code or any(after.get(name) != value for name, value in kept.items()):
            self._count("lost", case, again)
        elif self._differs(run, upto=stage):
            self._count("differing", case, again)
        else:
            self.counts["survived"] += 1
        self.drop(run)

    # -- faults -----------------------------------------------------------------------------------

    def damage(self, name: str, how: str, stage: str) -> None:
        """Damages one file of a finished run, and lets a stage or the whole pipeline run again."""
        run = self.copy("damage", upto=self.stages[-1], included=True)
        path = run / name
        spoil(path, how, self.random)
        spoilt = path.read_bytes()
        if stage != "pipeline":
            shutil.rmtree(run / STAGES[stage])
        done = forked.run(command(stage, run.parent), self.folder)
        case = f"{name} {how}, then {stage}"
        said = done.code == 2 or any(part in done.printed for part in (path.name, path.parent.name))
        repaired = path.exists() and path.read_bytes() != spoilt
        self.counts["faults"] += 1
        self._judge_traceback(case, done)
        if done.code == 0 and self._differs(run, upto=self.stages[-1], without=name):
            self._count("differing", case, done)
        if not said and not repaired:
            self._count("silent", case, done)
        self.drop(run)

    def fail(self, stage: str, trouble: Trouble, what: str) -> None:
        """Lets the disk fail under a stage, once, and types its command again."""
        run = self.copy("fail", upto=stage, included=False)
        done = forked.run(command(stage, run.parent), self.folder, trouble)
        self._judge_failure(f"{stage}: {what}", stage, run, done)
        self.drop(run)

    def fill(self, stage: str, share: float) -> None:
        """Runs a stage on a disk that holds a share of what it writes; then there is room."""
        run = self.copy("fill", upto=stage, included=False)
        names = (STAGES[stage], *(("checkpoints", "metrics.jsonl") if stage == "train" else ()))
        size = sum(tree_size(self.base / name) for name in names)
        with small_disk(self.folder / "full", int(size * share)) as disk:
            if disk is None:
                self.counts["unmounted"] += 1
                return
            moved = [f"paths.{field(name)}={disk / name}" for name in names]
            done = forked.run(command(stage, run.parent, *moved), self.folder)
        self._judge_failure(f"{stage}: room for {share:.0%}", stage, run, done)
        self.drop(run)

    def _judge_failure(self, case: str, stage: str, run: Path, done: Done) -> None:
        self.counts["faults"] += 1
        self._judge_traceback(case, done)
        again = forked.run(command(stage, run.parent), self.folder)
        self._judge_traceback(f"{case}, again", again)
        if again.code:
            self._count("lost", case, again)
        elif self._differs(run, upto=stage):
            self._count("differing", case, again)

    # -- moves and races --------------------------------------------------------------------------

    def move(self, stage: str) -> None:
        """Moves and renames a run before a stage, then runs the rest."""
        run = self.copy("move", upto=stage, included=False)
        if stage == "train":  # stopped on the way, then moved
            half = forked.in_a_write(9)
            forked.run(command(stage, run.parent), self.folder, half)
        target = self.folder / f"elsewhere-{self.cases}" / "renamed"
        target.parent.mkdir()
        run.rename(target)
        self.counts["moves"] += 1
        rest = self.stages[self.stages.index(stage) :]
        for name in rest:
            done = forked.run(command(name, target.parent, "name=renamed"), self.folder)
            self._judge_traceback(f"moved before {stage}, {name}", done)
            if done.code:
                self._count("lost", f"moved before {stage}, {name}", done)
                break
        if self._differs(target, upto=self.stages[-1]):
            self._count("differing", f"moved before {stage}", done)
        self.drop(target)

    def race(self, first: str, second: str) -> None:
        """Runs two commands on one run at once, then the pipeline."""
        run = self.copy("race", upto=self.stages[-1], included=True)
        started = [
            forked.start(command(stage, run.parent, "force=true"), self.folder)
            for stage in (first, second)
        ]
        self.counts["races"] += 1
        case = f"{first} with {second}"
        for running in started:
            self._judge_traceback(case, running.wait())
        done = forked.run(command("pipeline", run.parent), self.folder)
        self._judge_traceback(case, done)
        if done.code:
            self._count("lost", case, done)
        elif self._differs(run, upto=self.stages[-1]):
            self._count("differing", case, done)
        self.drop(run)

    # -- what all need ----------------------------------------------------------------------------

    def copy(self, name: str, *, upto: str, included: bool) -> Path:
        """Copies the undisturbed run up to a stage to a place of its own."""
        self.cases += 1
        run = self.folder / f"{name}-{self.cases}" / "debug"
        run.mkdir(parents=True)
        wanted = [*folders_before(upto), *(folders_of(upto) if included else ())]
        for path in self.base.iterdir():
            if path.name in wanted or path.name.strip(".").split(".")[0] in wanted:
                (shutil.copytree if path.is_dir() else shutil.copy2)(path, run / path.name)
        return run

    def drop(self, run: Path) -> None:
        shutil.rmtree(run.parent)

    def _differs(self, run: Path, *, upto: str, without: str = "") -> bool:
        folders = tuple(f"{name}/" for name in (*folders_before(upto), *folders_of(upto)))
        found = hashes(run)
        return any(
            found.get(name) != value
            for name, value in self.expected.items()
            if name.startswith(folders) and name != without
        )

    def _judge_traceback(self, case: str, done: Done) -> None:
        if "Traceback" in done.printed or done.code not in (0, 2):
            self._count("tracebacks", case, done)

    def _count(self, key: str, case: str, done: Done) -> None:
        self.counts[key] += 1
        print(f"{key}: {case}: exit code {done.code}\n{done.printed[-1500:]}", flush=True)


def command(stage: str, runs: Path, *more: str) -> list[str]:
    """The words of a command on the tiny run in a folder of runs."""
    return [stage, *TINY, f"paths.runs={runs}", *more]


def folders_of(stage: str) -> tuple[str, ...]:
    """What a stage writes."""
    more = ("checkpoints", "metrics") if stage == "train" else ()
    return (STAGES[stage], *more)


def folders_before(stage: str) -> list[str]:
    """What the stages before it write."""
    names = list(STAGES)
    return [name for earlier in names[: names.index(stage)] for name in folders_of(earlier)]


def field(name: str) -> str:
    """The field of `paths` for a name in a run."""
    return {"metrics.jsonl": "metrics"}.get(name, name)


def hashes(run: Path) -> dict[str, str]:
    """Hashes the results of a run: file → hash; what names times or commands stays out."""
    from moescope.configs.manifest import hash_file

    found = {}
    for stage in STAGES:
        for path in sorted((run / STAGES[stage]).rglob("*")):
            if path.is_file():
                found[path.relative_to(run).as_posix()] = hash_file(path)
    return found


def spoil(path: Path, how: str, generator: random.Random) -> None:
    """Flips a bit of a file, or cuts off its second half."""
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    else:
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    path.write_bytes(content)


def tree_size(path: Path) -> int:
    """Bytes of a file or of all below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path | None]:
    """A file system of so many bytes; None where mounting is not allowed."""
    folder.mkdir()
    options = ("-t", "tmpfs", "-o", f"size={max(size, 8192)}", "tmpfs", str(folder))
    mounted = subprocess.run(["mount", *options], capture_output=True, check=False)
    try:
        yield None if mounted.returncode else folder
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def kinds(base: Path) -> list[tuple[str, str]]:
    """One file of every kind of every folder, and the stage that reads it next."""
    reader = dict(zip(list(STAGES.values()), [*list(STAGES)[1:], "pipeline"], strict=True))
    chosen: dict[tuple[str, str], str] = {}
    for folder in STAGES.values():
        for path in sorted((base / folder).rglob("*")):
            if path.is_file() and path.stat().st_size > 1:
                # train-00000-of-00001.parquet and validation-… are of one kind
                kind = path.suffix if path.suffix in (".parquet", ".arrow", ".csv") else path.name
                chosen.setdefault((folder, kind), path.relative_to(base).as_posix())
    files = [(name, reader[folder]) for (folder, _), name in chosen.items()]
    newest = max((base / "checkpoints").glob("checkpoint-*"), key=lambda p: int(p.name[11:]))
    below = [newest, next((base / "checkpoints" / "snapshots").iterdir())]
    for path in (p for folder in below for p in sorted(folder.iterdir())):
        stage = "route" if path.parent != newest else "train"
        files.append((path.relative_to(base).as_posix(), stage))
    files.append(("checkpoints/run.json", "train"))
    files.append(("metrics.jsonl", "report"))
    return files


def run_kills(campaign: Campaign, number: int) -> None:
    """Kills in turns over the stages and the three kinds of moments."""
    stages = campaign.stages
    for case in range(number):
        stage, turn = stages[-1 - case % len(stages)], case // len(stages)
        if stage == "train" and turn % 3 == 0:
            trouble: Trouble | None = forked.in_a_write(1 + turn % 20)
        elif turn % 3 == 2:
            trouble = None
        else:
            last = max(campaign.changes[stage], 1)
            trouble = forked.at_change(campaign.random.randint(1, last), forked.die)
        campaign.kill(stage, trouble, anew=turn % 2 == 1)


def run_faults(campaign: Campaign, number: int) -> None:
    """Damages files."""
    files = kinds(campaign.base)
    cases = [(name, how, stage) for name, stage in files for how in ("flip", "cut")]
    # a finished pipeline reads no checkpoint
    read = [name for name, _ in files if not name.startswith("checkpoints/")]
    cases += [(name, "flip", "pipeline") for name in read]
    cases = [case for case in cases if case[2] in campaign.stages or len(campaign.stages) == 5]
    for name, how, stage in campaign.random.sample(cases, min(number, len(cases))):
        campaign.damage(name, how, stage)


def run_disks(campaign: Campaign) -> None:
    """Lets writing fail, twice in every way for every stage."""
    for stage in campaign.stages:
        for code in (errno.ENOSPC, errno.EIO):
            for _ in range(2):
                moment = campaign.random.randint(1, campaign.changes[stage])
                campaign.fail(stage, forked.failing(moment, code), errno.errorcode[code])
        for share in (0.2, 0.8):
            campaign.fill(stage, share)


def run_all(campaign: Campaign, kills: int, faults: int) -> None:
    """The whole campaign."""
    run_kills(campaign, kills)
    run_faults(campaign, faults)
    run_disks(campaign)
    for stage in campaign.stages[1:]:
        campaign.move(stage)
    for first, second in (("mask", "corpus"), *(("train", "train"), ("route", "train"))):
        campaign.race(first, second)
    campaign.race("report", "route")


def run_quick(campaign: Campaign) -> None:
    """A few."""
    run_kills(campaign, 2)
    run_faults(campaign, 2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the campaign and prints what went wrong and, last, JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=120, help="number of kills")
    parser.add_argument("--faults", type=int, default=200, help="files to damage, at most")
    parser.add_argument("--seed", type=int, default=0, help="draws moments and places")
    parser.add_argument(
        "--quick", action="store_true", help="a few of each, of the first three stages"
    )
    options = parser.parse_args(arguments)
    os.environ |= {"HF_HUB_OFFLINE": "1", "COLUMNS": "2000", "OMP_NUM_THREADS": "1"}
    forked.preload()
    clock = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        stages = list(STAGES)[: 3 if options.quick else None]
        campaign = Campaign(Path(folder), random.Random(options.seed), stages)
        if options.quick:
            run_quick(campaign)
        else:
            run_all(campaign, options.kills, options.faults)
        keys = ("kills", "survived", "lost", "faults", "moves", "races", "differing", "silent")
        result = {key: campaign.counts[key] for key in (*keys, "tracebacks", "unmounted")}
        result |= {"files": len(campaign.expected), "seed": options.seed}
    print(json.dumps({**result, "elapsed_s": round(time.monotonic() - clock, 1)}))


if __name__ == "__main__":
    main()
