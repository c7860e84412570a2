"""docs/notify-mail.png: two mails as Chromium shows them, side by side. Needs `chromium` on PATH.

`scripts/docs_mail_picture.py [OUT.png] [--dark]`
"""

import shutil
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path
from zoneinfo import ZoneInfo

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mqtt_bridge.notifiers.render_html import html  # noqa: E402 -- after the path
from tests.support.notices import digest, event, notice  # noqa: E402

WIDTH, HEIGHT = 1240, 860
WIN = {"name": "win11"}
ZONE = ZoneInfo("Europe/Berlin")


def page(*mails: str) -> str:
    """Each in a frame of its own, as a mail program shows it."""
    frame = '<iframe srcdoc="{}" style="border:0;width:620px;height:860px" scrolling="no"></iframe>'
    frames = "".join(frame.format(escape(mail)) for mail in mails)
    return f'<body style="margin:0;display:flex;background:#8884">{frames}</body>'


def main(out: Path, *, dark: bool) -> None:
    """Raises FileNotFoundError without Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise FileNotFoundError("chromium is not installed")
    failed = event(40, severity="error", ok=False, title="Backup of win11 failed: guest agent is silent", context=WIN)
    warned = event(41, severity="warning", title="Backup of media finished with a warning", context={"name": "media"})
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "mails.html"
        source.write_text(page(html(notice(), ZONE), html(digest(12, failed, warned), ZONE)), encoding="utf-8")
        subprocess.run(  # noqa: S603 -- our own file
            [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={out}",
                *(["--blink-settings=preferredColorScheme=0"] if dark else []), source.as_uri(),
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    main(Path(given[0] if given else ROOT / "docs" / "notify-mail.png").absolute(), dark="--dark" in sys.argv)
