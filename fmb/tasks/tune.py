"""Task `tune`: options that make fits better or faster, by Optuna's search (Akiba et al. 2019) over trials.

Each trial fits all inputs and has two values, both to be small: the error on unseen views, and seconds of the fits. The
trials are kept in a journal, a line for each event, so a search that was ended goes on.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fmb import machine
from fmb.command.yaml_file import to_yaml
from fmb.config import PROGRAM, Config, declared, sections
from fmb.fields.looks import evaluate
from fmb.files.meshes import FORMATS, read_mesh
from fmb.files.several import files_of
from fmb.files.tables import write_csv
from fmb.geometry.ground_truth import AUTO
from fmb.machine import Clock, choose_device, tell
from fmb.options import ConfigError, Option, did_you_mean, parse_value, quote
from fmb.pictures.trials import draw_trials
from fmb.shape.recipe import compile_shape_fit, fit_to_views
from fmb.shape.start import start_mixture
from fmb.tasks.batch_jobs import digest_of_file
from fmb.tasks.scenes import scene_of_mesh
from fmb.tasks.shape import streams
from fmb.tasks.shell import task_folder

JOURNAL = "study.journal"
TUNED = ("model", "rendering", "optimization")  # sections of options that change a fit
UNUSED = ("symmetry", "teachers")  # options of theirs that a trial does not read
CONTENTS = "contents"  # of the inputs, in a search's record
WARMING = 0.02  # part of a fit's steps
MISSING = "tune needs the package optuna: pip install optuna, or the extra `tune`"


class Key(NamedTuple):
    """An option to try: between two values, evenly or by their logarithm, or one of some choices."""

    spec: Option
    values: tuple[Any, ...]
    log: bool = False
    choice: bool = False

    def ask(self, trial: Any) -> Any:
        """The value that a trial is to have."""
        if self.choice:
            return trial.suggest_categorical(self.spec.name, self.values)
        kind = trial.suggest_int if self.spec.type is int else trial.suggest_float
        return kind(self.spec.name, *self.values, log=self.log)


def tune(config: Config, clock: Clock) -> None:
    """Trials with other options -> the journal, a table, a picture, and the best options as YAML.

    Raises ValueError for options that are none or change no fit, and where Optuna is not installed.
    """
    if not config.several:
        raise ValueError(f"tune needs meshes to fit: {PROGRAM} tune models/ --trials 40")
    check_options(config)
    keys = keys_of(config.tune.tune_keys)
    optuna = optuna_module()
    paths = files_of(config.several, tuple(f".{kind}" for kind in FORMATS))
    place = machine.prepare_output_dir(task_folder(config))
    tell(choose_device(config.cpu).hint)
    study = open_study(optuna, config, keys, paths, place)
    known = finished(study)
    tell(f"{len(known)} of {config.tune.trials} trials are done already" if known else "")
    with clock("trials"), machine.counting_bar("trials", config.tune.trials) as on_count:
        while len(known := finished(study)) < config.tune.trials:
            on_count(len(known), words_of(config, known))
            carry_out(study, config, keys, paths)
        on_count(len(known), words_of(config, known))
    rows = [row_of(trial) for trial in known]
    write_csv(place / "trials.csv", rows)
    draw_trials(place / "01_trials.png", rows, config.tune.tune_error)
    best = best_of(rows, config)
    values = {key.spec.name: best[key.spec.name] for key in keys}
    found = {**values, "output_dir": declared()["output_dir"].default}  # not this folder, which is a search's
    machine.write_text(place / "best.yaml", to_yaml(with_values(config, found)))
    facts = {"task": "tune", "trials": len(rows), "inputs": [str(path) for path in paths], "best": best}
    machine.write_metrics(place / "metrics.json", facts | {"seconds": clock.seconds()})
    told = ", ".join(
        f"{name} {value if isinstance(value, (str, bool)) else f'{value:.4g}'}" for name, value in values.items()
    )
    tell(f"best of {len(rows)}: {told}; {config.tune.tune_error} {best['error']:.5g}, {best['seconds']:.2f} s a fit")
    tell(f"best.yaml, trials.csv and the journal in {place}/; {PROGRAM} --config {place}/best.yaml uses it")


def check_options(config: Config) -> None:
    """Raises ValueError for what a trial does not do, which a file may ask for."""
    for name in UNUSED:
        spec = declared()[name]
        value = getattr(getattr(config, spec.section), name)
        if value != spec.default:
            raise ValueError(f"{name} is {value}; tune does not read it, so it must be {spec.default}")


def keys_of(text: str) -> list[Key]:
    """The options that a text names, with what they may be.  Raises ConfigError that names the word that is wrong."""
    found = []
    for word in text.split():
        name, equals, values = word.partition("=")
        spec = declared().get(name)
        tuned = [other for other, one in declared().items() if one.section in TUNED and other not in UNUSED]
        if name not in tuned:
            hint = did_you_mean(name, tuned)
            raise ConfigError(
                f"tune_keys: {quote(name)} is no option that changes a fit{hint}; as initial_lr=0.01:0.2:log"
            )
        found.append(key_of(spec, values, f"tune_keys, {name}"))
    twice = {key.spec.name for key in found if sum(other.spec.name == key.spec.name for other in found) > 1}
    if not found or twice:
        raise ConfigError(f"tune_keys is {quote(text)}; must name options, each once")
    return found


def key_of(spec: Option, values: str, label: str) -> Key:
    """The option with what it may be; a word in place of a number is none of that."""
    spec = spec._replace(limits={**spec.limits, "word": None})
    if "|" in values or spec.limits["choices"] is not None or spec.type is bool:
        return Key(spec, tuple(parse_value(spec, value, label) for value in values.split("|")), choice=True)
    ends, log = values.split(":"), values.endswith(":log")
    ends = ends[:2] if log and len(ends) == 3 else ends
    if len(ends) != 2:
        raise ConfigError(f"{label} is {quote(values)}; must be LOW:HIGH, LOW:HIGH:log or ONE|OTHER")
    low, high = (parse_value(spec, end, label) for end in ends)
    if not low < high or (log and low <= 0):
        raise ConfigError(f"{label} is {quote(values)}; the first must be below the second{', and above 0' * log}")
    return Key(spec, (low, high), log)


def optuna_module() -> Any:
    """Optuna, which says nothing of its own.  Raises ValueError where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise ValueError(MISSING) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def open_study(optuna: Any, config: Config, keys: Sequence[Key], paths: Sequence[Path], place: Path) -> Any:
    """The search in the folder, new or as it was left.  Raises ValueError where it is another search."""
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    storage = JournalStorage(JournalFileBackend(str(place / JOURNAL)))
    study = optuna.create_study(
        storage=storage, study_name="tune", directions=["minimize", "minimize"], load_if_exists=True
    )
    record = record_of(config, keys, paths)
    old = study.user_attrs.get("record")
    for name, value in record.items():
        if old is not None and old.get(name, value) != value:  # a record of before may lack what is new
            words = f"{name} was {old.get(name)} and is {value}" if name != CONTENTS else "other contents of its inputs"
            raise ValueError(f"{place}: is another search, {words}; choose another --output-dir")
    study.set_user_attr("record", record)
    # a search that goes on must not draw the same numbers again
    study.sampler = optuna.samplers.TPESampler(seed=(config.random_seed + len(study.trials)) % 2**32)
    return study


def record_of(config: Config, keys: Sequence[Key], paths: Sequence[Path]) -> dict[str, Any]:
    """All that the trials depend on."""
    tried = {key.spec.name: [*key.values, "log" if key.log else "choice" if key.choice else "even"] for key in keys}
    options = {name: value for part in TUNED for name, value in asdict(getattr(config, part)).items()}
    fixed = {name: value for name, value in options.items() if name not in tried}
    inputs = [f"{path.name} of {path.stat().st_size} bytes" for path in paths]
    contents = [digest_of_file(path) for path in paths]
    return {
        "inputs": inputs,
        CONTENTS: contents,
        "tune_error": config.tune.tune_error,
        **fixed,
        "random_seed": config.random_seed,
        **tried,
    }


def finished(study: Any) -> list[Any]:
    """The trials that have ended, well or not; those that were killed under way do not count."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def carry_out(study: Any, config: Config, keys: Sequence[Key], paths: Sequence[Path]) -> None:
    """One more trial; where a fit fails with these options the trial does, and says why."""
    from optuna.trial import TrialState

    trial = study.ask()
    values = {key.spec.name: key.ask(trial) for key in keys}
    try:
        error, seconds = measured(with_values(config, values), paths)
    except (ValueError, FloatingPointError, MemoryError) as failure:
        trial.set_user_attr("failure", str(failure) or "not enough memory")
        study.tell(trial, state=TrialState.FAIL)
        return
    study.tell(trial, [error, seconds])


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """The options with other values for some."""
    for section in sections():
        mine = {name: value for name, value in values.items() if declared()[name].section == section}
        config = replace(config, **{section: replace(getattr(config, section), **mine)}) if mine else config
    return config


def measured(config: Config, paths: Sequence[Path]) -> tuple[float, float]:
    """Mean error on unseen views, and mean seconds of the fits without compilation."""
    errors, seconds = [], []
    drawn = "raycast" if config.rendering.ground_truth == AUTO else config.rendering.ground_truth
    config = replace(config, rendering=replace(config.rendering, ground_truth=drawn))
    for path in paths:
        one = replace(config, io=replace(config.io, mesh_file=str(path)))
        scene = scene_of_mesh(one, streams(one)[0], read_mesh(path))
        views, program = scene.look().views, None
        for effort in (WARMING, 1.0):  # a short fit compiles what the whole one would, which alone is timed
            began = time.perf_counter()
            start = start_mixture(scene.mesh, one.model, one.random_seed, one.optimization.recipe).mixture
            started = time.perf_counter() - began
            program = program or compile_shape_fit(start, scene.shape, one.optimization)
            began = time.perf_counter()
            shorter = program._replace(effort=effort)
            fit = fit_to_views(shorter, start, views["train"], streams(one)[1], point=scene.surface)
            spent = started + time.perf_counter() - began
        seconds.append(spent)
        found = evaluate(fit.mixture, {"novel": views["novel"]}, 1.0, program.supervision.settings)[1]["novel"]
        errors.append(1.0 - found["iou"] if config.tune.tune_error == "iou" else found[config.tune.tune_error])
    return float(np.mean(errors)), float(np.mean(seconds))


def row_of(trial: Any) -> dict[str, Any]:
    """A trial as a row of the table."""
    error, seconds = trial.values or (float("nan"), float("nan"))
    failure = trial.user_attrs.get("failure")
    return {"trial": trial.number, **trial.params, "error": error, "seconds": seconds, "failure": failure}


def best_of(rows: Sequence[Mapping[str, Any]], config: Config) -> Mapping[str, Any]:
    """The trial of least error among those that are fast enough.  Raises ValueError where there is none."""
    good = [row for row in rows if np.isfinite(row["error"])]
    if not good:
        raise ValueError(f"all {len(rows)} trials failed; the first: {rows[0]['failure']}")
    limit = config.tune.most_seconds or np.inf
    fast = [row for row in good if row["seconds"] <= limit]
    if not fast:
        least = min(row["seconds"] for row in good)
        raise ValueError(f"most_seconds is {limit:g}; the fastest of {len(good)} trials takes {least:.2f}")
    return min(fast, key=lambda row: row["error"])


def words_of(config: Config, trials: Sequence[Any]) -> str:
    """The least error so far."""
    errors = [trial.values[0] for trial in trials if trial.values]
    return f"least {config.tune.tune_error} {min(errors):.5g}" if errors else ""
