"""Several runs by one command: their names, a failure that stops only its own run, what is next.

Hydra's launchers start the runs: in this process, in others (joblib), or on other machines
(submitit). What became of each goes into a file that they share, one line per run.
"""

import json
import logging
import re
import secrets
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig
from rich.table import Table

from .errors import UserError
from .manifest import digest, read_manifest
from .memory import parse
from .progress import console
from .schema import Config

logger = logging.getLogger(__name__)
SAME_RUN = ("name", "force", "experiment", "paths.runs")  # overrides that name no run
COLUMNS = {
    "validation_loss": ("nats/token", ".3f"),
    "validation_perplexity": ("perplexity", ",.1f"),
    "validation_loss_per_byte": ("nats/byte", ".3f"),
    "parameters": ("parameters", ",d"),
    "active_parameters": ("active", ",d"),
}  # what the train stage counted → its heading and format


@dataclass
class Sweep:
    """What became of the runs.

    Attributes:
        journal: the file that the runs' processes share.
        names: base name of each run → the runs named after it.
        failed: names of the runs that ended with an error.
        models: name of each run → what its train stage counted.
    """

    journal: Path
    names: dict[str, list[str]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    models: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def run(
        self,
        tree: DictConfig,
        arguments: Sequence[str],
        work: Callable[[DictConfig, Sequence[Override]], Config],
        explain: Callable[[Exception], str],
    ) -> None:
        """Does one run's work under a name of its own.

        Args:
            tree: the run's composed config; its name is changed.
            arguments: the command's, which all runs share.
            work: what to do with the run's config and overrides; returns the settled config.
            explain: puts an error into one line.

        """
        base = tree.name
        hydra = HydraConfig.get()
        keys = hydra.sweeper.get("params") or {}
        tree.name = run_name(base, swept(hydra.overrides.task, arguments, keys))
        console.rule(f"run {hydra.job.num + 1}: {tree.name}")
        became: dict[str, Any] = {"number": hydra.job.num, "base": base, "name": tree.name}
        try:
            config = work(tree, parse(hydra.overrides.task))
            if manifest := read_manifest(config.paths.model):
                became["model"] = dict(manifest.counts)
        except Exception as error:
            became["failed"] = True
            line = f"{tree.name} failed: {explain(error)}"
            console.print(line, markup=False, style="red", soft_wrap=True)
            logger.debug("%s failed", tree.name, exc_info=True)
        self._note(became)

    def _note(self, became: Mapping[str, Any]) -> None:
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        with self.journal.open("ab", buffering=0) as stream:  # one write: several may write at once
            stream.write((json.dumps(became) + "\n").encode())

    def collect(self) -> None:
        """Reads what became of the runs, in their order, and removes the file."""
        try:
            lines = self.journal.read_text(encoding="utf-8").splitlines()
        except OSError:
            return
        self.journal.unlink()
        with suppress(OSError):
            self.journal.parent.rmdir()  # if it is empty
        for became in sorted(map(json.loads, lines), key=lambda each: each["number"]):
            self.names.setdefault(became["base"], []).append(became["name"])
            if became.get("failed"):
                self.failed.append(became["name"])
            elif "model" in became:
                self.models[became["name"]] = became["model"]

    def table(self) -> Table:
        """Validation losses of the runs' models, side by side."""
        bases = {run: base for base, runs in self.names.items() for run in runs}
        table = Table(title=f"{', '.join(self.names)}: validation split", title_justify="left")
        table.add_column("run", overflow="fold")
        known = {key for counts in self.models.values() for key in counts}
        columns = {key: shown for key, shown in COLUMNS.items() if key in known}
        for heading, _ in columns.values():
            table.add_column(heading, justify="right")
        for name, counts in self.models.items():
            cells = (f"{counts[k]:{how}}" if k in counts else "" for k, (_, how) in columns.items())
            table.add_row(name.removeprefix(f"{bases[name]}-"), *cells)
        return table

    def failure(self) -> UserError:
        """Says which runs failed."""
        total = sum(map(len, self.names.values()))
        return UserError(
            f"{len(self.failed)} of {total} runs failed: {', '.join(self.failed)}; the same "
            "command takes them up again and skips what is finished"
        )

    def comparison(self, arguments: Sequence[str]) -> str:
        """The command that puts the runs side by side."""
        patterns = [name if runs == [name] else f"{name}*" for name, runs in self.names.items()]
        place = [argument for argument in arguments if argument.startswith("paths.runs=")]
        return shlex.join(["moescope", "compare", f"compare.runs=[{','.join(patterns)}]", *place])


def swept(overrides: Sequence[str], arguments: Sequence[str], keys: Collection[str] = ()) -> str:
    """Returns the overrides that tell a sweep's runs apart.

    Args:
        overrides: of one run.
        arguments: what was typed for all of them: what is no list of values tells none apart,
        keys: except for the keys that the experiment itself sweeps.
    """
    typed = OverridesParser.create().parse_overrides([a for a in arguments if a[:1] != "-"])
    fixed = {o.key_or_group for o in typed if not o.is_sweep_override()} - {*keys}
    key_of = {o: o.partition("=")[0].lstrip("+") for o in overrides}
    return ",".join(sorted(o for o, key in key_of.items() if key not in {*fixed, *SAME_RUN}))


def run_name(name: str, overrides: str) -> str:
    """Names one run of a sweep after what it overrides, as a folder name of at most 120 letters.

    No letter in it means anything to a shell or to Hydra: "demo-router.top_k_2".
    """
    full = re.sub(r"[^A-Za-z0-9._+-]+", "_", overrides.replace(",", "-"))
    full = f"{name}-{full}" if overrides else name
    return full if len(full) <= 120 else f"{full[:100]}-{digest(full)[:8]}"


def new_journal(arguments: Sequence[str]) -> Path:
    """Names the file that a command's runs share, in the folder of all runs."""
    typed = [text.partition("=")[2] for text in arguments if text.startswith("paths.runs=")]
    folder = Path(typed[-1].strip("'\"")) if typed else Path("runs")
    return (folder / f".sweep.{secrets.token_hex(4)}.jsonl").absolute()
