#!/usr/bin/env python3
"""How fast `connect` sends what it reads from a pipe and from a file, beside nc(1), ncat(1) and socat(1) where they are
installed, and beside sendfile(2) and splice(2), which copy nothing in the process.

    benches/connect.py [PATH of sockkit, default target/release/sockkit] [ROUNDS, default 5] [GiB, default 2]

Each client sends to a reader of this script's own, over loopback. The clients take turns, and medians are compared. The status is 1
if sockkit is slower than the best of the other programs. sendfile and splice are no programs to beat but the reason why
`connect` reads and sends instead: on loopback they are slower, and they would have to be faster somewhere to be worth a
second way.
"""
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

SOCKKIT = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/sockkit")
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
SIZE_BYTES = int(sys.argv[3] if len(sys.argv) > 3 else 2) << 30
BLOCK_BYTES = 1 << 20
missed = []


def receive_all(listener):
    """A child that reads one connection to its end and says how many bytes came."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        connection, _ = listener.accept()
        received, block = 0, bytearray(BLOCK_BYTES)
        while count := connection.recv_into(block):
            received += count
        os.write(tell, str(received).encode())
        os._exit(0)
    os.close(tell)
    return child, told


def send_by(call):
    """What the process `call` sends with, in a child of its own: sendfile or splice from stdin to a socket."""
    def client(port, source):
        child = os.fork()
        if child == 0:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                while call(connection.fileno(), source):
                    pass
                connection.shutdown(socket.SHUT_WR)
            os._exit(0)
        return child
    return client


def program(*command):
    def client(port, source):
        words = [word.replace("PORT", str(port)) for word in command]
        return os.posix_spawnp(words[0], words, os.environ, file_actions=[
            (os.POSIX_SPAWN_DUP2, source, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        ])
    return client


def rate(client, source):
    """Bytes a second from the first byte read to the last one received."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader, told = receive_all(listener)
        begun = time.monotonic()
        child = client(listener.getsockname()[1], source)
        os.close(source)
        os.waitpid(reader, 0)
        elapsed = time.monotonic() - begun
        os.waitpid(child, 0)
        received = int(os.read(told, 64))
        os.close(told)
    if received != SIZE_BYTES:
        missed.append(f"{received} bytes came, of {SIZE_BYTES}")
    return SIZE_BYTES / elapsed


def compare(title, clients, open_source):
    rates = {}
    for _ in range(ROUNDS):
        for name, client in clients.items():
            source, done = open_source()
            rates.setdefault(name, []).append(rate(client, source))
            done()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"\n{title}")
    for name, median in medians.items():
        ratio = "" if name == "sockkit" else f"   sockkit/{name}: {medians['sockkit'] / median:.2f}"
        print(f"  {name:<18} {median / 2**30:6.2f} GiB/s{ratio}", flush=True)
    peers = [median for name, median in medians.items() if name not in ("sockkit", "sendfile", "splice")]
    if peers and medians["sockkit"] < max(peers):
        missed.append(f"{title}: slower than the best of the others by {1 - medians['sockkit'] / max(peers):.0%}")


def pipe():
    """A pipe that is fed as fast as it is read."""
    feeder = subprocess.Popen(["head", "-c", str(SIZE_BYTES), "/dev/zero"], stdout=subprocess.PIPE)
    source = os.dup(feeder.stdout.fileno())
    feeder.stdout.close()
    return source, feeder.wait


def file_named(name):
    return lambda: (os.open(name, os.O_RDONLY), lambda: None)


peers = {
    "nc": program("nc", "-N", "127.0.0.1", "PORT"),
    "ncat": program("ncat", "--send-only", "127.0.0.1", "PORT"),
    "socat": program("socat", "-u", "-", "TCP:127.0.0.1:PORT"),
    "socat -b262144": program("socat", "-b262144", "-u", "-", "TCP:127.0.0.1:PORT"),
}
clients = {
    "sockkit": program(SOCKKIT, "connect", "127.0.0.1:PORT"),
    **{name: client for name, client in peers.items() if shutil.which(name.split()[0])},
}
splice = send_by(lambda connection, source: os.splice(source, connection, BLOCK_BYTES))
sendfile = send_by(lambda connection, source: os.sendfile(connection, source, None, BLOCK_BYTES))

compare(f"{SIZE_BYTES >> 30} GiB from a pipe", {**clients, "splice": splice}, pipe)
with tempfile.NamedTemporaryFile(prefix="sockkit-bench-") as file:
    file.truncate(SIZE_BYTES)
    for offset in range(0, SIZE_BYTES, BLOCK_BYTES):
        # Pages that are there, and not a hole that costs nothing to read.
        os.pwrite(file.fileno(), b"\1" * BLOCK_BYTES, offset)
    compare(f"{SIZE_BYTES >> 30} GiB from a file in the page cache", {**clients, "sendfile": sendfile}, file_named(file.name))

for miss in missed:
    print(f"missed: {miss}", file=sys.stderr)
sys.exit(bool(missed))
