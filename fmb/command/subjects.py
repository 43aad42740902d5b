"""What a task works on: the option that a word stands for, and what is said of a word that it cannot be."""

import os

from fmb.command.tasks import TASKS
from fmb.files.options import FILE_SUFFIXES, IMAGE_SUFFIXES, MESH_SUFFIXES, MODEL_SUFFIXES
from fmb.options import ConfigError

FILES = {"mesh_file": ("a mesh", MESH_SUFFIXES), "model_file": ("a mixture", MODEL_SUFFIXES)}
FILES["image_file"] = ("an image", IMAGE_SUFFIXES)
OTHERS = {"data": "a folder of photographs with masks", "shapes": "a folder that learn has written"}


def is_subject(word: str) -> bool:
    """Whether a word in the place of the task is a file or folder to work on."""
    # not Path.exists, which raises for a name that is too long
    return os.path.exists(word) or word.lower().endswith(FILE_SUFFIXES)


def subject_option(task: str, word: str) -> str:
    """The option that a file or folder named after the task stands for."""
    suffix = os.path.splitext(word)[1].lower()
    if task == "morph" and suffix not in (".npz", ".pkl"):
        return "shapes"
    if os.path.isdir(word):
        return "data"
    if task in ("points", "compare", "predict"):
        return TASKS[task].works_on[0]
    if task == "shape" and suffix == ".npz":  # a capture of arrays; a model is no start
        return "data"
    return "model_file" if task == "export" or suffix in (".npz", ".pkl") else "mesh_file"


def check_file(task: str, word: str) -> None:
    """Raises ConfigError for a folder, or a file of no kind that is read, as a mesh or mixture of the task."""
    is_folder = os.path.isdir(word)
    kinds = {suffix for other in TASKS[task].works_on for suffix in FILES.get(other, ("", ()))[1]}
    named = os.path.exists(word) or os.path.splitext(word)[1]  # what is not there and has no ending is told later
    if is_folder or (named and not word.lower().endswith(tuple(kinds))):
        found = "is a folder" if is_folder else "is of no kind that is known here"
        raise ConfigError(f"{word}: {found}; task {task} reads {read_by(task)}")


def read_by(task: str) -> str:
    """What the task can work on, in words."""
    named = [
        f"{FILES[name][0]} ({', '.join(FILES[name][1])})" if name in FILES else OTHERS.get(name, name)
        for name in TASKS[task].works_on
    ]
    return " or ".join(named)
