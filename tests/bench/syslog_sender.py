"""A process that forwards syslog: `udp PORT COUNT RATE` or `tcp PORT COUNT 0`. Prints how many it sent, and how fast.

Numbered messages of what real hosts log; a rate is kept in steps of a hundredth of a second.
"""

import socket
import sys
import time

STEP = 0.01
TEXTS = (
    "<30>Mar 24 12:04:10 pve1 pvedaemon[{n}]: end task UPID:pve1:0017ABAC:026FA8FF:67E12009:qmstart:103:x: OK",
    "<29>Aug 08 20:22:01 pve2 pmxcfs[929]: [status] notice: received log {n}",
    "<28>Nov 24 01:36:50 pve3 pvestatd[2102]: storage 'nas{n}' is not online",
    "<6>Mar 24 00:32:34 pve1 kernel: [{n}.483123] vmbr0: port 2(fwpr112p0) entered disabled state",
    "<30>1 2026-10-27T21:25:23.123456+02:00 pve1 pvedaemon 1014 - - INFO: Finished Backup of VM {n} (00:00:23)",
    "<86>Jan  4 17:34:03 pve2 sshd[{n}]: Accepted publickey for root from 192.168.1.21 port 39516 ssh2",
    "<30>Nov 09 03:00:22 pve3 pvedaemon[971]: worker {n} finished",
    "<29>Feb  7 14:55:34 pve1 corosync[{n}]:   [KNET  ] link: host: 3 link: 0 is down",
)


def message(number: int) -> bytes:
    return TEXTS[number % len(TEXTS)].format(n=number).encode()


def udp(port: int, count: int, rate: float) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", port))
        began, sent = time.perf_counter(), 0
        while sent < count:
            due = min(count, int((time.perf_counter() - began) * rate))
            for number in range(sent, due):
                sender.send(message(number))
            sent = due
            time.sleep(STEP)


def tcp(port: int, count: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sender:
        for start in range(0, count, 500):
            sender.sendall(b"".join(message(number) + b"\n" for number in range(start, min(count, start + 500))))


if __name__ == "__main__":
    how, port, count, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    started = time.perf_counter()
    if how == "udp":
        udp(port, count, rate)
    else:
        tcp(port, count)
    sys.stdout.write(f"{count} {time.perf_counter() - started}\n")
