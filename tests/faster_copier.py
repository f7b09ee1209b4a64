"""Copier does the same work many times in one process; this does it once.

An update renders three times and clones the template five times. What comes out is the same; tests
of the commands (`copier copy`, `copier update`) run Copier without this, as people do.
"""

import copy
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from subprocess import check_output
from typing import Any

import copier._main
import copier._template
import jinja2

# What the code of a template depends on, besides its source.
SYNTAX = ("trim_blocks", "lstrip_blocks", "keep_trailing_newline", "block_start_string")


def install() -> None:
    """Have Copier remember until the process ends. A Copier with other insides is only slower."""
    jinja2.Environment.compile = _remember_code(  # type: ignore[method-assign]
        jinja2.Environment.compile
    )
    if hasattr(copier._template, "clone"):
        copier._template.clone = _remember_clones(copier._template.clone)
    if hasattr(copier._template, "load_template_config"):
        copier._template.load_template_config = _remember_questions(
            copier._template.load_template_config
        )
    if hasattr(copier._main.Worker, "_sync_git_index_executable_bit"):
        # It runs git for each file, to find out whether file systems here have modes of files.
        copier._main.Worker._sync_git_index_executable_bit = (  # type: ignore[method-assign]
            lambda *_: None
        )


def _remember_code(compile: Callable[..., Any]) -> Callable[..., Any]:
    """Compile each expression once, and not once for each file whose name is compared with it."""
    known: dict[object, Any] = {}

    def compile_once(
        environment: jinja2.Environment,
        source: Any,
        name: str | None = None,
        filename: str | None = None,
        raw: bool = False,
        defer_init: bool = False,
    ) -> Any:
        # Not the name of the file, which is another one in each clone: only tracebacks show it.
        syntax = (getattr(environment, option) for option in SYNTAX)
        key = (source, name, raw, defer_init, *environment.extensions, *syntax)
        if not isinstance(source, str):
            return compile(environment, source, name, filename, raw, defer_init)
        if key not in known:
            known[key] = compile(environment, source, name, filename, raw, defer_init)
        return known[key]

    return compile_once


def _remember_clones(clone: Callable[..., str]) -> Callable[..., str]:
    """Clone each commit of a local repository once, and link the files of that for each use."""
    known: dict[tuple[str, str], Path] = {}

    def clone_once(url: str, ref: str = "HEAD", location: str | None = None) -> str:
        if location is None or not Path(url).is_dir() or _git(url, "status", "--porcelain"):
            return clone(url, ref, location)
        key = (url, _git(url, "rev-parse", f"{ref}^{{commit}}"))
        if key not in known:
            known[key] = Path(tempfile.mkdtemp(dir=os.environ.get("TESTS_IN_MEMORY"))) / "clone"
            known[key].mkdir()
            clone(url, ref, str(known[key]))
        near = os.stat(location).st_dev == os.stat(known[key]).st_dev
        copy_file = os.link if near else shutil.copy2
        shutil.copytree(
            known[key], location, symlinks=True, copy_function=copy_file, dirs_exist_ok=True
        )
        return location

    return clone_once


def _remember_questions(load: Callable[..., Any]) -> Callable[..., Any]:
    """Parse each text of `copier.yml` once."""
    known: dict[bytes, Any] = {}

    def load_once(path: Path, quiet: bool = False) -> Any:
        text = path.read_bytes()
        if text not in known:
            known[text] = load(path, quiet)
        return copy.deepcopy(known[text])

    return load_once


def _git(folder: str, *arguments: str) -> str:
    command = ["git", "-c", "safe.directory=*", "-C", folder, *arguments]
    return check_output(command, text=True).strip()
