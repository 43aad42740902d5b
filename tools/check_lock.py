"""Whether pixi.lock fits pixi.toml, as far as can be told without pixi and without the channel.

    python tools/check_lock.py [pixi.toml pixi.lock]

The rules are those by which pixi decides that a lock is current: the environments, platforms and channels of the
manifest; a record for each of its specs, and for each `depends` of these, recursively; no `constrains` broken; no
record that nothing needs. In addition each record must carry its hash and size and come from conda-forge.
What the lock cannot contain is listed in COMPLETED_BY_FIRST_RUN: pixi solves for it and keeps what is locked.
"""

import fnmatch
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from packaging.version import Version

HOST = "conda.anaconda.org"
CHANNEL = f"https://{HOST}/conda-forge/"

# Packages of which no record with hash and size could be had. That they exist was read off the channel's own listing:
# pyrender-0.1.45-pyh8a188c0_3, jaxtyping-0.3.2-pyhd8ed1ab_0, beartype-0.22.9-pyhd8ed1ab_0,
# scikit-image-0.26.0-np2py311h1ffa155_0 (osx-arm64), pyopengl-3.1.10-pyh534df25_2 (macOS build of a noarch package).
COMPLETED_BY_FIRST_RUN = {
    "linux-64": frozenset({"pyrender", "jaxtyping", "beartype", "scikit-image"}),
    "osx-arm64": frozenset({"pyrender", "jaxtyping", "beartype", "scikit-image", "pyopengl"}),
}

# What pixi takes for granted of a machine where the manifest is silent.
VIRTUAL_PACKAGES = {
    "linux-64": {"__unix": "0", "__linux": "4.18", "__glibc": "2.28"},
    "osx-arm64": {"__unix": "0", "__osx": "13.0"},
}


class Record(NamedTuple):
    """One package of an environment; `fields` is its entry under `packages:` in the lock."""

    url: str
    name: str
    version: str
    build: str
    fields: dict[str, Any]


def parse_url(url: str) -> tuple[str, str, str]:
    """Name, version and build of a conda package, which its file name spells out."""
    name, version, build = re.sub(r"\.(conda|tar\.bz2)$", "", url.rsplit("/", 1)[-1]).rsplit("-", 2)
    return name, version, build


def version_matches(version: str, constraint: str) -> bool:
    """Whether `version` lies in a constraint such as `>=1.2,<2`, `3.11.*`, `=1.4`, `1.0|2.*`.

    Raises ValueError for an operator it does not know.
    """
    if "|" in constraint:
        return any(version_matches(version, part) for part in constraint.split("|"))
    if "," in constraint:
        return all(version_matches(version, part) for part in constraint.split(","))
    operator, bound = re.fullmatch(r"([<>=!~]*)(.*)", constraint.strip()).groups()
    stem = bound.removesuffix("*").removesuffix(".")
    if not stem:
        return True
    if operator in ("", "==", "!="):
        equal = _starts_with(version, stem) if bound.endswith("*") else Version(version) == Version(bound)
        return equal != (operator == "!=")
    if operator == "=":
        return _starts_with(version, stem)
    order = {">=": Version.__ge__, "<=": Version.__le__, ">": Version.__gt__, "<": Version.__lt__}
    if operator not in order:
        raise ValueError(f"{constraint}: unknown operator {operator!r}; known are == != = >= <= > <")
    return order[operator](Version(version), Version(stem))


def _starts_with(version: str, stem: str) -> bool:
    return f"{version}.".startswith(f"{stem}.")


def split_spec(spec: str) -> tuple[str, str, str]:
    """Name, version constraint and build pattern of `name >=1`, `name 1.2 build*` or `name ==1.2=build*`."""
    name, version, build = (*spec.split(), "*", "*")[:3]
    joined = re.fullmatch(r"(=?=?[^=<>!~]+)=([^=]+)", version)
    if joined:
        version, build = joined.groups()
    return name, version, build


def satisfies(version: str, build: str, spec: str) -> bool:
    """Whether a package of this version and build meets a spec of the same name."""
    _, constraint, pattern = split_spec(spec)
    return version_matches(version, constraint) and fnmatch.fnmatchcase(build, pattern)


def environment_features(manifest: dict[str, Any], environment: str) -> list[dict[str, Any]]:
    """The tables an environment is made of: the default one (the manifest itself), then its features."""
    entry = manifest["environments"][environment]
    names = entry if isinstance(entry, list) else entry["features"]
    return [manifest, *(manifest["feature"][name] for name in names)]


def environment_platforms(manifest: dict[str, Any], environment: str) -> set[str]:
    """Platforms of an environment: those of the workspace that no feature excludes."""
    platforms = set(manifest["workspace"]["platforms"])
    for feature in environment_features(manifest, environment)[1:]:
        platforms &= set(feature.get("platforms", platforms))
    return platforms


def manifest_specs(manifest: dict[str, Any], environment: str, platform: str) -> Iterator[str]:
    """Each conda spec the manifest states for an environment on a platform, as `name version build`."""
    for feature in environment_features(manifest, environment):
        for table in (feature, feature.get("target", {}).get(platform, {})):
            for name, spec in table.get("dependencies", {}).items():
                if isinstance(spec, dict):
                    spec = f"{spec['version']} {spec.get('build', '*')}"
                yield f"{name} {spec}"


def virtual_packages(manifest: dict[str, Any], environment: str, platform: str) -> dict[str, str]:
    """Versions of `__glibc` and the like that pixi assumes of the machine."""
    packages = dict(VIRTUAL_PACKAGES[platform])
    for feature in environment_features(manifest, environment):
        packages |= {f"__{name}": version for name, version in feature.get("system-requirements", {}).items()}
    return packages


def check_specs(specs: list[str], records: dict[str, Record], expected_missing: frozenset[str]) -> Iterator[str]:
    """Errors of the manifest's specs: not locked, locked at another version, or locked although listed as missing."""
    for spec in specs:
        name = spec.split()[0]
        record = records.get(name)
        if record is None:
            if name not in expected_missing:
                yield f"{spec}: not locked"
        elif name in expected_missing:
            yield f"{name}: locked, but listed in COMPLETED_BY_FIRST_RUN"
        elif not satisfies(record.version, record.build, spec):
            yield f"{spec}: locked is {record.version} {record.build}"


def check_requirements(records: dict[str, Record], virtual: dict[str, str]) -> Iterator[str]:
    """Errors of `depends` (must be there and fit) and `constrains` (must fit if there)."""
    present = {name: (version, "0") for name, version in virtual.items()}
    present |= {name: (record.version, record.build) for name, record in records.items()}
    for record in records.values():
        for kind in ("depends", "constrains"):
            for spec in record.fields.get(kind, []):
                name = spec.split()[0]
                if name not in present:
                    if kind == "depends":
                        yield f"{record.name}: depends on {spec}, which is not locked"
                elif not satisfies(*present[name], spec):
                    yield f"{record.name}: {kind} {spec}, locked is {' '.join(present[name])}"


def check_reachable(specs: list[str], records: dict[str, Record]) -> Iterator[str]:
    """Errors of records that neither the manifest nor anything it brings needs: pixi calls such a lock outdated."""
    reached: set[str] = set()
    waiting = [spec.split()[0] for spec in specs]
    while waiting:
        name = waiting.pop()
        if name in records and name not in reached:
            reached.add(name)
            waiting += [spec.split()[0] for spec in records[name].fields.get("depends", [])]
    for name in sorted(set(records) - reached):
        yield f"{name}: nothing in the manifest needs it"


def check_record(url: str, fields: dict[str, Any]) -> Iterator[str]:
    """Errors of one entry under `packages:`: where it comes from, its hash and its size."""
    if not url.startswith(CHANNEL):
        yield f"{url}: not from {CHANNEL}"
    if not re.fullmatch(r"[0-9a-f]{64}", str(fields.get("sha256", ""))):
        yield f"{url}: no sha256"
    if not isinstance(fields.get("size"), int) or fields["size"] <= 0:
        yield f"{url}: no size"


def check_environment(
    manifest: dict[str, Any], packages: dict[str, dict[str, Any]], urls: list[str], environment: str, platform: str
) -> Iterator[str]:
    """Errors of one environment on one platform."""
    records: dict[str, Record] = {}
    for url in urls:
        if url not in packages:
            yield f"{url}: no record under packages"
            continue
        name, version, build = parse_url(url)
        if url.rsplit("/", 2)[-2] not in (platform, "noarch"):
            yield f"{url}: not for {platform}"
        elif name in records:
            yield f"{name}: locked twice"
        else:
            records[name] = Record(url, name, version, build, packages[url])
    specs = list(manifest_specs(manifest, environment, platform))
    yield from check_specs(specs, records, COMPLETED_BY_FIRST_RUN[platform])
    yield from check_requirements(records, virtual_packages(manifest, environment, platform))
    yield from check_reachable(specs, records)


def check_lock(manifest: dict[str, Any], lock: dict[str, Any]) -> list[str]:
    """Every reason why the lock does not fit the manifest, one line each; empty if it fits."""
    errors = [f"{host}: a host other than {HOST}" for host in sorted(set(_hosts(lock)) - {HOST})]
    if set(lock["environments"]) != set(manifest["environments"]):
        errors.append(
            f"environments: locked are {sorted(lock['environments'])}, not {sorted(manifest['environments'])}"
        )
    packages = {entry["conda"]: entry for entry in lock["packages"] if "conda" in entry}
    errors += [f"{entry}: not a conda package" for entry in lock["packages"] if "conda" not in entry]
    used: set[str] = set()
    for environment in sorted(set(lock["environments"]) & set(manifest["environments"])):
        locked = lock["environments"][environment]
        platforms = environment_platforms(manifest, environment)
        if [channel["url"] for channel in locked["channels"]] != [CHANNEL]:
            errors.append(f"{environment}: channels are not {CHANNEL} alone")
        if set(locked["packages"]) != platforms:
            errors.append(f"{environment}: platforms are {sorted(locked['packages'])}, not {sorted(platforms)}")
        for platform in sorted(platforms & set(locked["packages"])):
            urls = [next(iter(entry.values())) for entry in locked["packages"][platform]]
            used.update(urls)
            found = check_environment(manifest, packages, urls, environment, platform)
            errors += [f"{environment}, {platform}: {error}" for error in found]
    for url, fields in packages.items():
        errors += check_record(url, fields)
    return errors + [f"{url}: in no environment" for url in sorted(set(packages) - used)]


def _hosts(lock: dict[str, Any]) -> list[str]:
    return re.findall(r'https?://([^/\s"]+)', json.dumps(lock))


def read_lock(path: Path) -> dict[str, Any]:
    """Contents of a pixi.lock; PyYAML's C loader, where there is one, takes a tenth of the time."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def main(arguments: list[str]) -> int:
    """Prints every error and returns 1 if there is one, else 0."""
    root = Path(__file__).resolve().parents[1]
    manifest, lock = map(Path, arguments or [root / "pixi.toml", root / "pixi.lock"])
    errors = check_lock(tomllib.loads(manifest.read_text(encoding="utf-8")), read_lock(lock))
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
