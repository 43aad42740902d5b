"""Whether the cameras and masks of a capture agree, before any fit (`--check-cameras`)."""

from fmb import machine
from fmb.config import Config
from fmb.hull.check import check_cameras
from fmb.machine import tell
from fmb.options import NONE
from fmb.pictures import draw
from fmb.pictures.cameras import agreement_sheet, camera_drawings, draw_frusta
from fmb.tasks.scenes import read_placed
from fmb.tasks.shell import task_folder
from fmb.whole import whole_folder

REPORT, FOLDER = "cameras_report.json", "check_cameras"


def check_capture(config: Config) -> None:
    """Capture -> visual hull of each view's companions -> numbers, verdict and two pictures.

    The results have a folder of their own. Raises ValueError where no capture is named.
    """
    if config.capture.data == NONE:
        raise ValueError("--check-cameras looks at a capture: name its folder with --data")
    capture = read_placed(config.capture)
    place = task_folder(config) / FOLDER
    with whole_folder(place, (REPORT,)) as folder:
        found = check_cameras(capture.views)
        draw.draw_sheet(folder / "cameras_masks.png", agreement_sheet(found))
        drawings = camera_drawings(capture.views, found)
        draw_frusta(folder / "cameras.png", drawings, f"{len(capture.names)} cameras and the hull of their masks", "")
        numbers = {"agreement": found.agreement, "fine": found.fine, "verdict": found.verdict}
        views = {"name": capture.names, "iou": found.iou, "explained": found.explained, "filled": found.filled}
        trials = [trial._asdict() for trial in found.trials]
        faults = [{**fault._asdict(), "name": capture.names[fault.view]} for fault in found.faults]
        machine.write_metrics(folder / REPORT, {**numbers, "trials": trials, "faults": faults, "views": views})
    tell(*capture.notices, found.verdict, f"pictures and numbers in {place}/")
