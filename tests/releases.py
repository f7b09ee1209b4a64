"""Earlier states of the template, from which projects update to the working tree."""

from pathlib import Path

import copier
import yaml
from packaging.version import InvalidVersion, Version
from projects import git, snapshot
from questionnaire import ROOT, Answers


def earlier_release() -> str | None:
    """The newest release that is part of the working tree's history, and not HEAD itself."""
    versions: dict[Version, str] = {}
    for tag in git(ROOT, "tag", "--merged=HEAD", "--no-contains=HEAD").splitlines():
        try:
            version = Version(tag)
        except InvalidVersion:
            continue
        if not version.is_prerelease:
            versions[version] = tag
    return versions[max(versions)] if versions else None


def history(destination: Path, release: str) -> None:
    """Make a repository with a release, and after it the working tree."""
    git(ROOT, "clone", "--quiet", str(ROOT), str(destination))
    git(destination, "checkout", "--quiet", "--detach", release)
    git(destination, "switch", "--quiet", "--force-create", "main")
    git(destination, "rm", "-r", "--quiet", ".")
    snapshot(destination)


def questions_of(template: Path, release: str) -> dict[str, Answers]:
    """The questions as they were then, computed ones included."""
    config = yaml.safe_load(git(template, "show", f"{release}:copier.yml"))
    return {name: q for name, q in config.items() if not name.startswith("_")}


def copy_release(template: Path, release: str, project: Path, answers: Answers) -> Path:
    """Copy the template as it was then, without trust."""
    copier.run_copy(
        str(template), project, data=answers, defaults=True, vcs_ref=release, quiet=True
    )
    return project
