"""The unit that has the system start the gateway."""

import os
import shlex
import sys
from pathlib import Path
from xml.sax.saxutils import escape

SYSTEMD = """\
[Unit]
Description=Hermes gateway
After=network-online.target

[Service]
Type=notify
ExecStart={command}
Restart=on-failure
RestartSec=5
WatchdogSec=60
TimeoutStopSec=30
{environment}
[Install]
WantedBy=default.target
"""

LAUNCHD = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>Label</key><string>hermes.gateway</string>
<key>ProgramArguments</key><array>{arguments}</array>
<key>RunAtLoad</key><true/>
<key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>
</dict></plist>
"""


def write_unit(home: Path | None = None, *, platform: str = sys.platform) -> tuple[Path, str]:
    """Write the unit for this installation; gives where it is, and the command that starts it."""
    home = home or Path.home()
    arguments = [sys.executable, "-m", "hermes_cli.main", "gateway"]
    if platform == "darwin":
        path = home / "Library" / "LaunchAgents" / "hermes.gateway.plist"
        text = LAUNCHD.format(arguments="".join(f"<string>{escape(word)}</string>" for word in arguments))
        order = f"launchctl load -w {shlex.quote(str(path))}"
    else:
        config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        path = config / "systemd" / "user" / "hermes-gateway.service"
        named = os.environ.get("HERMES_HOME")
        environment = f'Environment="HERMES_HOME={named}"\n' if named else ""
        text = SYSTEMD.format(command=shlex.join(arguments), environment=environment)
        order = "systemctl --user daemon-reload && systemctl --user enable --now hermes-gateway"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path, order
