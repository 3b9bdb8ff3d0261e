"""What a host is asked first. Its code travels to the host, as hybridtune may be missing there, or be another one:
nothing is imported from it, and nothing but the standard library from elsewhere.
"""


def code_digest() -> str:
    """Of hybridtune's code as it is installed, whether as a checkout or from a wheel."""
    import hashlib
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("hybridtune")
    if spec is None or spec.origin is None:
        return ""
    root = Path(spec.origin).parent
    digest = hashlib.sha256()
    for part in ("data", "models", "search", "spaces"):
        # Through the links of a checkout too.
        for path in sorted((root / part).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def installed() -> dict[str, str]:
    """Versions of what a training needs, "" for what is missing; `code`, a digest of hybridtune's; `clock`, the time
    in seconds.
    """
    import platform
    import time
    from importlib.metadata import PackageNotFoundError, version

    def version_of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return ""

    packages = {name: version_of(name) for name in ("hybridtune", "torch", "ray")}
    return {"python": platform.python_version(), **packages, "code": code_digest(), "clock": str(time.time())}
