"""Mails as Proxmox, its hosts and other people write them."""

from email.message import EmailMessage
from email.policy import SMTP


def proxmox(number: int | str = 1, *, outcome: str = "failed", body: str = "", **headers: str) -> bytes:
    """A backup's mail, one of its own by its number."""
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = f"vzdump backup status (pve{number}.example.com): backup {outcome}"
    mail["From"] = f"Proxmox VE <root@pve{number}.example.com>"
    mail["To"] = "admin@example.com"
    mail["Date"] = "Thu, 23 Apr 2026 22:02:56 +0200"
    mail["Message-ID"] = f"<backup-{number}@pve.example.com>"
    for name, value in headers.items():
        mail[name.replace("_", "-")] = value
    table = (
        "VMID    Name      Status    Time      Size    Filename\n100     web       err       2m 42s    0 B     null\n"
    )
    mail.set_content(f"Details\n=======\n{table}\n{body}")
    return mail.as_bytes()


def letter(number: int | str = 1) -> bytes:
    """Somebody's private mail."""
    return (
        f"Subject: Lunch {number}?\r\nFrom: Ann <ann@example.net>\r\nMessage-ID: <ann-{number}@example.net>\r\n"
        "\r\nShall we?\r\n"
    ).encode()
