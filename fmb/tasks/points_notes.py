"""What a run of `points` says before its fit: options that change nothing, and what is taken in place of an option."""

from dataclasses import fields, replace

from fmb.clouds.methods import LOSSES
from fmb.clouds.options import PointsOptions
from fmb.clouds.recipe import preset_of
from fmb.clouds.table import METHODS, OF_ALL
from fmb.command.tasks import TASKS
from fmb.config import Config, declared
from fmb.fields.points import Cloud

# options that the config keeps elsewhere, under these names
NAMES = {"components": "num_mixtures", "group": "symmetry", "latent_space": "shapes"}


def notes(config: Config, cloud: Cloud) -> list[str]:
    """A line for each thing that the user may not expect of these options with the method that was chosen."""
    options, found = config.cloud, []
    reads = (*METHODS[options.points_method].reads, *OF_ALL)
    for entry in fields(PointsOptions):
        name = entry.name
        if name in reads or getattr(options, name) == entry.default:
            continue
        readers = ", ".join(other for other, method in METHODS.items() if name in method.reads)
        words = f"method {options.points_method} does not read it, but {readers}"
        found.append(f"note: {flag(name)} changes nothing: {words}")
    if options.use_normals and cloud.normal is None and "use_normals" in reads:
        found.append("note: --use-normals changes nothing: the file has no normals")
    if not options.use_normals and options.normal_weight != PointsOptions.normal_weight and "normal_weight" in reads:
        found.append("note: --normal-weight changes nothing without --use-normals true")
    return found + moved_skip(options)


def moved_skip(options: PointsOptions) -> list[str]:
    """A line where the network is too flat for the preset's skip, which then stands elsewhere."""
    if options.points_method not in LOSSES:
        return []
    usual, found = preset_of(replace(options, network_depth=0)).skip, preset_of(options).skip
    if found == usual:
        return []
    where = f"before hidden layer {found + 1}" if found else "nowhere"
    return [
        f"note: with --network-depth {options.network_depth} the input enters a second time {where}, "
        f"not before layer {usual + 1} as in preset {options.preset}"
    ]


def flag(name: str) -> str:
    """The flag of an option as task `points` has it."""
    return TASKS["points"].flag(declared()[NAMES.get(name, name)])
