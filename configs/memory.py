"""A run remembers its settings: its manifests lie below what the command line says.

In order, the later wins:

1. the presets and defaults in YAML;
2. what the manifests of the run say, section by section;
3. a preset that is named (`source=…`, `model=…`): it replaces its section;
4. single values that are typed.

`experiment=…` names a whole set of settings: then 2 is left out for the stages of the command.
Sections of stages upstream that the command does not run are always what their manifests say.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from .definition import Stage
from .errors import UserError
from .load import load_config
from .manifest import Earlier, Manifest
from .plugins import is_loaded, plugins_of
from .remembered import earlier_settings, find_manifests, refuse_lost, stages_before
from .schema import Config
from .typed import Typed


@dataclass(frozen=True)
class Settled:
    """What a command works with.

    Attributes:
        configs: stage → its config; they differ in the seed alone.
        manifests: stage → what it wrote before, for every stage of the run that is finished.
        remembered: stage → the settings that it had, also of stages whose folder is gone.
        upstream: stage → the settings of the stages before it, for its manifest.
        notes: lines for the user.
    """

    configs: Mapping[str, Config]
    manifests: Mapping[str, Manifest]
    remembered: Mapping[str, Earlier]
    upstream: Mapping[str, Mapping[str, Earlier]]
    notes: Sequence[str]


def settle(tree: DictConfig, typed: Typed, stages: Sequence[Stage]) -> Settled:
    """Lays the run's settings below what was typed.

    Args:
        tree: what Hydra composed; it may lack the single values that were typed.
        typed: the command line.
        stages: those that the command runs.

    Raises:
        UserError: a value that does not fit.
    """
    plain = open_tree(tree)
    manifests = find_manifests(plain, typed)
    remembered = earlier_settings(manifests, plain)
    refuse_lost(stages, plain, typed, remembered)
    notes: list[str] = []
    facts = _sections(stages_before(stages), remembered)
    lost = {} if typed.experiment else _lost_plugins(stages, manifests)
    if lost and not typed.sets("plugins"):
        names = ",".join(dict.fromkeys(name for own in lost.values() for name in own))
        raise UserError(
            f"name={plain.name}: {' and '.join(lost)} ran with plugins=[{names}], which is loaded "
            f"only when it is named: add plugins=[{names}], or plugins=[] to go on without"
        )
    if not typed.experiment:
        notes += [
            f"{stage.name}: {plain.paths[stage.output]} is gone; its settings are those that the "
            "stages after it remember"
            for stage in stages
            if stage.name in remembered
            and stage.name not in manifests
            and not Path(plain.paths[stage.output]).exists()
        ]
    notes += [f"{name}: starts from the defaults, without {own[0]}" for name, own in lost.items()]
    kept = [stage for stage in stages if stage.name not in lost]
    memory = {} if typed.experiment else _sections(kept, remembered)
    try:
        config = load_config(_laid(plain, typed, memory, facts))
    except UserError:
        if not facts:
            raise
        # upstream may hold what a plugin gave that this command neither needs nor loads
        config = load_config(_laid(plain, typed, memory, {}))
    seeds = _seeds(stages, config, remembered, typed, notes)
    configs = {name: config.model_copy(update={"seed": seed}) for name, seed in seeds.items()}
    now = remembered | {stage.name: _settings(stage, configs[stage.name]) for stage in stages}
    upstream = {
        stage.name: {s.name: now[s.name] for s in stages_before([stage]) if s.name in now}
        for stage in stages
    }
    return Settled(configs, manifests, remembered, upstream, notes)


def _settings(stage: Stage, config: Config) -> Earlier:
    return Earlier(config=stage.settings(config), side=stage.side_settings(config))


def _lost_plugins(
    stages: Iterable[Stage], manifests: Mapping[str, Manifest]
) -> dict[str, list[str]]:
    """Stage → the plugins that it ran with and that are not loaded now."""
    used = {s.name: plugins_of(manifests[s.name].inputs) for s in stages if s.name in manifests}
    lost = {stage: [name for name in own if not is_loaded(name)] for stage, own in used.items()}
    return {stage: own for stage, own in lost.items() if own}


def _laid(
    plain: DictConfig, typed: Typed, memory: Mapping[str, Any], facts: Mapping[str, Any]
) -> DictConfig:
    """Lays memory and facts over what was composed, and over them what was typed."""
    tree = plain.copy()
    for name, section in {**memory, **facts}.items():
        if name in facts or name not in typed.named:
            tree[name] = OmegaConf.create(section) if isinstance(section, dict) else section
    for preset in typed.partial:
        tree.merge_with({k: v for k, v in preset.items() if k not in facts})
    for override in typed.values:
        if override.key_or_group.partition(".")[0] not in facts:
            apply(tree, override)
    return tree


def open_tree(tree: DictConfig) -> DictConfig:
    """Resolves the paths, so that one of them can change, and opens the tree."""
    plain = OmegaConf.create(OmegaConf.to_container(tree, resolve=False))
    assert isinstance(plain, DictConfig)
    OmegaConf.resolve(plain.paths)
    return plain


def apply(tree: DictConfig, override: Override) -> None:
    """Applies one typed value as Hydra would; unknown keys are found when the tree is checked."""
    key = override.key_or_group
    with open_dict(tree):
        if not override.is_delete():
            OmegaConf.update(tree, key, override.value(), merge=True, force_add=True)
            return
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(tree, parent) if parent else tree
        if node is None or name not in node:
            raise UserError(f"~{key}: nothing there to delete")
        del node[name]


def _sections(stages: Iterable[Stage], remembered: Mapping[str, Earlier]) -> dict[str, Any]:
    sections: dict[str, Any] = {}
    for stage in stages:
        if stage.name in remembered:
            earlier = remembered[stage.name]
            own = earlier.config | earlier.side
            sections |= {k: v for k, v in own.items() if k in (*stage.sections, *earlier.side)}
    return sections


def _seeds(
    stages: Sequence[Stage],
    config: Config,
    remembered: Mapping[str, Earlier],
    typed: Typed,
    notes: list[str],
) -> dict[str, int]:
    """Each stage's seed: typed, else its own from before, else that of the stage before it."""
    seeds: dict[str, int] = {}
    for stage in stages:
        own = remembered.get(stage.name)
        earlier = [remembered[s.name].seed for s in stages_before([stage]) if s.name in remembered]
        seed = config.seed
        if not typed.experiment and not typed.sets("seed"):
            seed = own.seed if own is not None else (earlier or [config.seed])[-1]
        if own is not None and seed != own.seed and _is_shared(stage, config, own):
            place = getattr(config.paths, stage.output)
            notes.append(f"{stage.name}: {place} is shared between runs and keeps seed={own.seed}")
            seed = own.seed
        seeds[stage.name] = seed
    return seeds


def _is_shared(stage: Stage, config: Config, earlier: Earlier) -> bool:
    """Whether a result lies outside the run and only its seed is not the one asked for."""
    folder: Path = getattr(config.paths, stage.output)
    if folder.absolute().is_relative_to(config.paths.run.absolute()):
        return False
    return stage.settings(config) | {"seed": earlier.seed} == earlier.config


def parse(arguments: Iterable[str]) -> list[Override]:
    """Reads overrides, in order; flags are left out.

    Raises:
        UserError: a word that is none; names it.
    """
    parser = OverridesParser.create()
    return [_parsed(parser, word) for word in arguments if word[:1] != "-"]


def _parsed(parser: OverridesParser, word: str) -> Override:
    try:
        return parser.parse_override(word)
    except HydraException as error:
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"{word}: settings are typed as KEY=VALUE") from error
        # a backslash is taken for itself but before a quote
        whole = re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + m[2].replace('"', '\\"'), value)
        raise UserError(
            f"{word}: {value!r} cannot be read; text with brackets, commas or quotes goes into "
            f"two pairs of quotes: '{key}=\"{whole}\"'"
        ) from error
