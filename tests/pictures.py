"""Makes the pictures of README.md again, from real runs: `uv run --with pillow tests/pictures.py`.

The questionnaire is the screen of a terminal; a test compares it with what README.md shows. The
page /docs is what Chromium shows of a service without a network; it needs `chromium` (on Debian:
`apt-get install chromium`).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pexpect
import pyte
from projects import copy, snapshot
from questionnaire import ASKED, ROOT
from services import environment, free_port

PICTURE = ROOT / "docs/service.png"
SIZE = (1000, 700)
# All that is printed fits in, or the beginning would scroll away.
ROWS, COLUMNS = 500, 120
ENTER, DOWN = "\r", "\x1b[B"
# What is typed where Enter alone is not the answer.
TYPED = {"database": DOWN, "read_replica": "y"}


class Screen(pyte.Stream):
    """A terminal's screen, written to as a file."""

    def __init__(self) -> None:
        self.screen = pyte.Screen(COLUMNS, ROWS)
        super().__init__(self.screen)

    def write(self, text: str) -> None:
        """Show text, and obey the codes in it."""
        self.feed(text)

    def flush(self) -> None:
        """A file has this, too."""

    def __str__(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display).strip()


def questionnaire(template: Path, destination: Path) -> str:
    """What a person sees who asks for PostgreSQL with a replica, up to the first file."""
    screen = Screen()
    with pexpect.spawn(
        sys.executable,
        ["-m", "copier", "copy", "--vcs-ref=HEAD", str(template), str(destination)],
        env=os.environ | {"PROMPT_TOOLKIT_NO_CPR": "1"},
        encoding="utf-8",
        dimensions=(ROWS, COLUMNS),
        timeout=60,
    ) as terminal:
        terminal.logfile_read = screen
        # Who does not tune the pool is not asked about it.
        for name in [name for name in ASKED if "{{ tune_pool" not in str(ASKED[name].get("when"))]:
            terminal.expect_exact(ASKED[name]["help"])
            terminal.send(TYPED.get(name, "") + ENTER)
        terminal.expect(pexpect.EOF)
    shown = str(screen).partition("\nCopying from")[0].strip()
    # Whether a question leaves an empty line behind depends on when the screen was drawn.
    introduction, _, questions = shown.partition("\n\n")
    shown = introduction + "\n\n" + re.sub(r"\n+", "\n", questions)
    # The terminal wraps what is longer than its width.
    assert max(map(len, shown.splitlines())) < COLUMNS, shown
    return shown


def photograph() -> None:
    """Render a service, start it, and take a picture of its /docs."""
    with tempfile.TemporaryDirectory() as folder:
        project = copy(snapshot(Path(folder, "template")), Path(folder, "my-service"), {})
        port = free_port()
        variables = environment(PORT=str(port))
        service = subprocess.Popen(
            ["uv", "run", "--quiet", "python", "-m", "app"], cwd=project, env=variables
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/docs")
            width, height = SIZE
            command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu"]
            command += ["--hide-scrollbars", f"--window-size={width},{height}"]
            command += ["--virtual-time-budget=20000", f"--screenshot={folder}/docs.png"]
            # No network: a page that needs one would stay empty.
            command += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
            subprocess.run([*command, f"http://127.0.0.1:{port}/docs"], check=True)
        finally:
            service.terminate()
            service.wait()
        from PIL import Image  # Nothing else needs it.

        PICTURE.parent.mkdir(exist_ok=True)
        picture = Image.open(f"{folder}/docs.png").convert("RGB").quantize(32)
        picture.save(PICTURE, optimize=True)


def wait_for(url: str) -> None:
    """Wait until a server answers."""
    for _ in range(300):
        try:
            urlopen(url).close()
        except (URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"{url} does not answer")


def main() -> None:
    """Take both pictures."""
    if shutil.which("chromium") is None:
        sys.exit("There is no `chromium` here.")
    readme = ROOT / "README.md"
    with tempfile.TemporaryDirectory() as folder:
        shown = questionnaire(snapshot(Path(folder, "template")), Path(folder, "my-service"))
    block = re.compile(r"(?<=<!-- questionnaire -->\n```text\n).*?(?=\n```)", re.DOTALL)
    readme.write_text(block.sub(lambda _: shown, readme.read_text("utf-8")), "utf-8")
    photograph()


if __name__ == "__main__":
    main()
