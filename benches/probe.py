#!/usr/bin/env python3
"""What a probe costs, beside nc(1) where that is installed: wall clock and processor time; and its peak memory.

    benches/probe.py [PATH of sockkit, default target/release/sockkit] [ROUNDS, default 5]

Everything happens in network namespaces of its own, so that no other process' ports are in the way; that takes unshare(1),
ip(8) and, for silent ports, iptables(8). The programs take turns, and medians are compared. The status is 1 if a target of
the project is missed.
"""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

SOCKKIT = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/sockkit")
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
LISTENING = [22, 8080, 33333, 47113, 65432]
missed = []

# Runs inside the namespace: listens, begins the program, and says what it took.
INSIDE = """
import os, socket, struct, subprocess, sys, threading, time
peak = 0
ports, out, command = eval(sys.argv[1]), sys.argv[2], sys.argv[3:]
held = [socket.create_server(("127.0.0.1", port), backlog=1024) for port in ports]
def reset(listener):
    while True:
        peer, _ = listener.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
resetting = socket.create_server(("127.0.0.1", 7))
threading.Thread(target=reset, args=(resetting,), daemon=True).start()
if out == "-":
    # What a process was before its exec counts in ru_maxrss: its peak is read while it still prints.
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in child.stdout:
        status = open(f"/proc/{child.pid}/status").read()
        peak = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), peak)
    sys.exit(print(int(peak) / 1024))
begun = time.monotonic()
child = os.posix_spawnp(command[0], command, os.environ, file_actions=[
    (os.POSIX_SPAWN_OPEN, 1, out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
])
_, status, usage = os.wait4(child, 0)
print(time.monotonic() - begun, usage.ru_utime + usage.ru_stime, os.waitstatus_to_exitcode(status))
"""


def inside(command, out, furnish, ports):
    """What the program in the namespace says."""
    script = f'ip link set lo up; {furnish}; exec python3 -c "$INSIDE" "$@"'
    return subprocess.run(
        ["unshare", "-rn", "sh", "-c", script, "sh", repr(ports), out, *command],
        env={**os.environ, "INSIDE": INSIDE}, check=True, capture_output=True, text=True,
    ).stdout.split()


def run(command, furnish="true", ports=LISTENING):
    """Wall seconds, processor seconds, status, and what was printed."""
    with tempfile.NamedTemporaryFile("r") as printed:
        wall, cpu, status = inside(command, printed.name, furnish, ports)
        return float(wall), float(cpu), int(status), printed.read()


def peak_mib(command):
    """Peak memory as of the last line that it prints."""
    return float(inside(command, "-", "true", LISTENING)[0])


def compare(title, commands, furnish="true", is_right=lambda printed, status: True):
    """Medians of each program, and the first one's ratio to each other."""
    rows = {}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            wall, cpu, status, printed = run(command, furnish)
            rows.setdefault(name, []).append((wall, cpu))
            if name == "sockkit" and not is_right(printed, status):
                missed.append(f"{title}: wrong answer, status {status}")
    medians = {name: [statistics.median(column) for column in zip(*values)] for name, values in rows.items()}
    print(f"\n{title}")
    for name, (wall, cpu) in medians.items():
        ours = medians["sockkit"]
        ratio = "" if name == "sockkit" else f"   sockkit/{name}: {ours[0] / wall:.2f} wall, {ours[1] / cpu:.2f} CPU"
        print(f"  {name:<8} {wall * 1e3:9.1f} ms wall {cpu * 1e3:9.1f} ms CPU{ratio}", flush=True)
    return medians


def demand(what, value, limit):
    if value > limit:
        missed.append(f"{what}: {value:.2f} is more than {limit}")


def ports_of(printed):
    return sorted(int(line.split("\t")[3]) for line in printed.splitlines())


nc = {"nc": ["nc", "-z", "-n", "-w1", "127.0.0.1"]} if shutil.which("nc") else {}
sweep = [SOCKKIT, "probe", "--open", "-o", "grep"]

one = compare(
    "one open port",
    {"sockkit": [SOCKKIT, "probe", "127.0.0.1:22"], **{name: [*command, "22"] for name, command in nc.items()}},
)
every = compare(
    "65,535 loopback ports, 6 open",
    {"sockkit": [*sweep, "127.0.0.1:1-65535"], **{name: [*command, "1-65535"] for name, command in nc.items()}},
    is_right=lambda printed, status: ports_of(printed) == sorted([7, *LISTENING]) and status == 0,
)
peak = peak_mib([*sweep, "127.0.0.1:1-65535"])
print(f"  sockkit's peak memory: {peak:.1f} MiB")
demand("65,535 ports: MiB", peak, 6)
for name in nc:
    demand("one port: wall", one["sockkit"][0] / one[name][0], 1.2)
    demand("one port: CPU", one["sockkit"][1] / one[name][1], 1.2)
    demand("65,535 ports: wall", every["sockkit"][0] / every[name][0], 1.0)
    demand("65,535 ports: CPU", every["sockkit"][1] / every[name][1], 1.0)

if shutil.which("iptables"):
    silent = compare(
        "1,000 silent ports, 1 s timeout",
        {"sockkit": [SOCKKIT, "probe", "--quiet", "-w1", "127.0.0.1:1000-1999"]},
        "iptables -A INPUT -p tcp --dport 1000:1999 -j DROP",
        lambda _, status: status == 110,
    )
    demand("1,000 silent ports: s", silent["sockkit"][0], 1.2)
    demand("1,000 silent ports: ms CPU", silent["sockkit"][1] * 1e3, 60)

opened = sum(run([SOCKKIT, "probe", "--quiet", "127.0.0.1:7"])[2] == 0 for _ in range(30))
print(f"\naccepts and resets at once: open {opened} of 30")
demand("accepts and resets: not open", 30 - opened, 0)

print("\nmissed: " + "; ".join(missed) if missed else "\nall targets met")
sys.exit(bool(missed))
