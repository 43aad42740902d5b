"""Fuzzy metaballs: fit mixtures of Gaussians to meshes, masks and depth, render them, and find cameras with them.

The interface below is loaded when a name is first used, so that `import fmb` costs nothing. The renderer for work of
your own is `fm_render`; the rooms (fmb.geometry, fmb.fields, ...) are open, too, but may change.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = (
    "Cameras",
    "Mixture",
    "Model",
    "estimate_pose",
    "fit_shape",
    "load_capture",
    "load_mesh",
    "load_model",
    "render",
    "save_mesh",
    "save_model",
    "to_mesh",
)


def __getattr__(name: str) -> Any:
    """The names of __all__, from fmb.api (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'fmb' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module("fmb.api"), name)


def __dir__() -> list[str]:
    """What completion offers."""
    return sorted(__all__)
