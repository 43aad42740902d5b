"""The tasks: what each runs, which options it reads, and what its help says. The first is the default."""

from typing import NamedTuple

from fmb.config import Config, declared
from fmb.options import NONE, Option


class Task(NamedTuple):
    """A task; `module` and `function` are loaded when it is asked for, so that help and messages come at once.

    It reads the options in `sections` but those `unread`, those that name what it works on, and those of every task.
    """

    module: str
    function: str
    text: str
    sections: tuple[str, ...]
    works_on: tuple[str, ...]
    examples: tuple[str, ...]
    unread: tuple[str, ...] = ()
    switches: tuple[str, ...] = ("cpu",)
    own: tuple[tuple[str, str], ...] = ()  # flags of another option's name, and the option that they mean here
    also: tuple[str, ...] = ()  # options of other sections
    several: str = ""  # what it works on, in words, if that is any number of files and folders
    optional: bool = False  # whether it also works without any
    second: str = ""  # the option that a second file named after the task stands for
    counts: bool = False  # whether it can tell the number of components from the data

    def reads(self, spec: Option) -> bool:
        """Whether the task reads the option."""
        if spec.section == "io" or spec.name in self.works_on:
            return spec.name == "output_dir" or spec.name in self.works_on
        return spec.name in self.also or (spec.section in ("", *self.sections) and spec.name not in self.unread)

    def flag(self, spec: Option) -> str:
        """The option's flag as it is typed for this task."""
        return next((flag for flag, name in self.own if name == spec.name), spec.flag)

    def reads_flag(self, name: str) -> bool:
        """Whether the task reads the option or the switch of that name."""
        spec = declared().get(name)
        return name in self.switches if spec is None else self.reads(spec)


VIEWS_ALONE = ("num_views", "ground_truth")
TASKS = {
    "shape": Task(
        "fmb.tasks.shape",
        "shape",
        "Fit a mixture to the silhouettes of a mesh, or of photographs with masks and cameras.",
        ("model", "rendering", "optimization", "capture", "cluster", "export"),
        ("mesh_file", "data"),
        (
            "shape --num-mixtures 80 --cpu",
            "shape their.obj --output-dir output/theirs",
            "shape photographs/ --check-cameras",
        ),
        switches=("cpu", "resume", "view", "check_cameras"),
        counts=True,
    ),
    "pose": Task(
        "fmb.tasks.pose",
        "pose",
        "Find the camera of a depth image, a mask, or both (without them: of a simulated view).",
        ("model", "rendering", "pose"),
        ("mesh_file", "model_file"),
        (
            "pose",
            "pose output/model.npz --sensor-noise 1",
            "pose model.npz --mask-file m.png --intrinsics-file K.txt --initial-pose-file p.json",
        ),
        (*VIEWS_ALONE, "num_frames", "symmetry"),
    ),
    "track": Task(
        "fmb.tasks.track",
        "track",
        "Follow the camera through a sequence, simulated or in folders of images.",
        ("model", "rendering", "pose"),
        ("mesh_file", "model_file"),
        (
            "track --image-width 80 --image-height 60",
            "track output/model.npz --num-frames 30",
            "track --sensor-noise 1",
        ),
        (*VIEWS_ALONE, "bop_dir", "symmetry"),
    ),
    "export": Task(
        "fmb.tasks.export",
        "export_model",
        "Write a mixture as mesh, points, Gaussian splats or a turning film.",
        ("export",),
        ("model_file",),
        (
            "export output/model.npz --mesh glb",
            "export output/model.npz --splats true --turntable mp4",
            "export splats.ply --mesh ply --output-dir output/theirs",
        ),
        ("film", "report", "uncertainty"),
        switches=("cpu", "overwrite"),
    ),
    "convert": Task(
        "fmb.tasks.convert",
        "convert",
        "Turn a mesh into a mixture, by its silhouettes and depths.",
        ("model", "rendering", "optimization", "export"),
        ("mesh_file",),
        ("convert their.obj", "convert their.obj --num-mixtures 160", "convert their.obj --mesh glb --splats true"),
        ("film", "report", "uncertainty", "ground_truth", "point_weight", "teachers"),
        counts=True,
    ),
    "points": Task(
        "fmb.tasks.points",
        "points",
        "Fit a closed surface to a cloud of points.",
        ("model", "cloud", "export"),
        ("cloud_file", "shapes"),
        (
            "points scan.ply",
            "points scan.npy --method diff_cd --preset quality",
            "points scan.xyz --method diff_cd --reference-mesh truth.ply",
            "points part.ply --method latent --shapes shapes",
            "points --depth-file depth.png --intrinsics-file K.json --method latent --shapes shapes --turned true",
        ),
        (
            *("init", "gmm_points", "gmm_init_scale", "rand_sphere_size", "film", "uncertainty", "mesh_field"),
            *("mesh_resolution", "mesh_faces", "points", "num_points", "splats", "turntable"),
        ),
        switches=("cpu", "resume", "view"),
        own=(("--method", "points_method"),),
        also=("depth_file", "depth_unit", "mask_file", "intrinsics_file"),
    ),
    "symmetry": Task(
        "fmb.tasks.symmetry",
        "symmetry",
        "Find the planes and axes of symmetry of a mesh or a model, and say whether they hold.",
        ("model", "export", "reflection"),
        ("mesh_file", "model_file"),
        (
            "symmetry their.obj",
            "symmetry output/model.npz",
            "symmetry their.obj --symmetry cyclic_3",
            "symmetry their.obj --symmetrise centre",
        ),
        (
            *("film", "uncertainty", "mesh", "mesh_field", "mesh_resolution", "mesh_faces", "points", "num_points"),
            *("splats", "turntable"),
        ),
    ),
    "learn": Task(
        "fmb.tasks.learn",
        "learn",
        "Learn a space of shapes from meshes: a code for each, and one network that decodes them.",
        ("space", "export"),
        (),
        (
            "learn spot.ply bob.ply --output-dir shapes",
            "learn models/ --learn-steps 6000 --output-dir more_shapes",
            "learn 'models/*.ply' other.obj samples.npz",
        ),
        ("film", "uncertainty", "mesh_field", "mesh_faces", "points", "num_points", "splats", "turntable"),
        switches=("cpu", "resume"),
        several="Meshes to learn from, folders of meshes, patterns, and .npz files of signed distances (pos and neg)",
    ),
    "morph": Task(
        "fmb.tasks.morph",
        "morph_shape",
        "Move a shape of a space, or a mixture, until a loss on the vertices of its surface is least.",
        ("morph",),
        ("shapes", "model_file", "data"),
        (
            "morph shapes/ --source spot --target bob",
            "morph shapes/ --source spot --data CAPTURE/ --fast",
            "morph ball.npz --target torus.ply --loss normals",
        ),
        switches=("cpu", "fast"),
        also=(
            *("image_width", "image_height", "vfov_degrees", "format", "longest_side", "hold_out", "reference_mesh"),
            *("depth_file", "depth_unit", "mask_file", "intrinsics_file", "initial_pose_file"),
            *("surface_resolution", "mesh", "report"),
        ),
    ),
    "compare": Task(
        "fmb.tasks.compare",
        "compare",
        "Measure how well a mesh, a model or points agree with another, and draw where they do not.",
        ("comparison", "export"),
        ("shape_file", "reference_file"),
        (
            "compare mesh.ply truth.obj",
            "compare output/model.npz truth.obj --align icp",
            "compare scan.ply truth.stl --length-factor 1000",
        ),
        ("mesh", "mesh_faces", "points", "num_points", "splats", "turntable", "film", "uncertainty"),
        second="reference_file",
    ),
    "template": Task(
        "fmb.tasks.template",
        "template",
        "Bend a mesh, symmetric or not, to the silhouettes of a mesh or of photographs.",
        ("rendering", "capture", "template", "export"),
        ("mesh_file", "data"),
        (
            "template their.obj --num-views 32",
            "template photographs/ --template-mesh other.obj",
            "template their.obj --template-mirror false",
        ),
        (
            *(
                "fit_color",
                "refine_cameras",
                "camera_degrees",
                "stream_views",
                "mesh_field",
                "mesh_resolution",
                "mesh_faces",
            ),
            *("points", "num_points", "splats", "turntable", "film", "uncertainty"),
        ),
    ),
    "train-encoder": Task(
        "fmb.tasks.train_encoder",
        "train_encoder",
        "Train a network that makes a symmetric shape of one image, on shapes that are made here or on captures.",
        ("encoding", "export"),
        (),
        (
            "train-encoder",
            "train-encoder --families car --encoder-steps 2000 --film gif",
            "train-encoder captures/ --output-dir mine",
        ),
        (
            *("mesh", "mesh_field", "mesh_resolution", "mesh_faces", "points", "num_points", "splats", "turntable"),
            "uncertainty",
        ),
        switches=("cpu", "resume"),
        also=("format", "longest_side", "fit_devices"),
        several="Captures to learn from, folders of captures, and .npz files of --save-sights (none: made here)",
        optional=True,
    ),
    "predict": Task(
        "fmb.tasks.predict",
        "predict",
        "Make a symmetric, coloured shape of one image of an object with its mask.",
        ("prediction", "export"),
        ("image_file",),
        (
            "predict photo_with_alpha.png",
            "predict photo.jpg --mask-file mask.png --mesh glb",
            "predict photo.png --encoder mine --refine-epochs 40",
        ),
        ("film", "uncertainty"),
        also=("mask_file", "intrinsics_file", "initial_pose_file", "reference_mesh"),
    ),
}

TASKS["batch"] = Task(
    "fmb.tasks.batch",
    "batch",
    "Fit many meshes, captures or clouds at once: a folder for each, a table and a page.",
    ("model", "rendering", "optimization", "capture", "cloud", "batch", "export"),
    (),
    (
        "batch models/ --output-dir output/all",
        "batch 'models/*.ply' other.obj --task convert --num-mixtures 80",
        "batch scans/ --task points --method diff_cd",
        "batch models/ --shard 3/8",
    ),
    (
        *("symmetry", "film", "uncertainty", "report", "refine_cameras", "camera_degrees", "fit_devices", "teachers"),
        *("reference_mesh", "stream_views"),
    ),
    switches=("cpu", "overwrite"),
    own=(("--task", "batch_task"), ("--names", "batch_names"), ("--method", "points_method")),
    several="Meshes, captures, clouds of points, folders of them, and patterns",
)

TASKS["tune"] = Task(
    "fmb.tasks.tune",
    "tune",
    "Search for options that make fits of given meshes better or faster, by Optuna.",
    ("model", "rendering", "optimization", "tune"),
    (),
    (
        "tune their.obj --trials 40",
        "tune their.obj --tune-error iou --most-seconds 5",
        "tune models/ --keys 'num_mixtures=20:80 initial_lr=0.01:0.2:log schedule=cosine|one_cycle'",
    ),
    ("symmetry", "teachers"),
    own=(("--keys", "tune_keys"),),
    several="Meshes to fit in each trial, folders of them, and patterns",
)
TASKS["doctor"] = Task(
    "fmb.tasks.doctor",
    "doctor",
    "Say what the program finds on this machine, and whether it computes here what it should.",
    (),
    (),
    ("doctor", "doctor --cpu", "doctor --json"),
    ("random_seed",),
    switches=("cpu", "json"),
)


def draws_mesh(config: Config) -> bool:
    """Whether the task begins with pictures of a mesh by OpenGL."""
    drawn = config.capture.data == NONE and config.rendering.ground_truth != "raycast"
    return config.task == "shape" and drawn and not config.check_cameras


def subjects(*tasks: Task) -> tuple[str, ...]:
    """The options that name what these tasks work on."""
    return tuple(dict.fromkeys(name for task in tasks for name in task.works_on))
