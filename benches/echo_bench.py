#!/usr/bin/env python3
"""echo-bench beside other instruments: the plainest client in C, sockperf(1) and qperf(1), as far as they are installed.

    benches/echo_bench.py [PATH of sockkit, default target/release/sockkit] [ROUNDS, default 5]

The programs take turns against servers of one CPU, in a network namespace of their own (unshare(1), ip(8), taskset(1));
medians are compared. The C client needs cc(1); without it, or without the others, their rows say so. What `cargo bench
--bench echo_bench` measures is whether the numbers are right; this is how they compare. The status is 1 if a target of the
project is missed.
"""
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile

SOCKKIT = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/sockkit")
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
SECONDS = 1
BYTES = 64
missed = []

if not os.environ.get("SOCKKIT_BENCH_INSIDE"):
    os.environ["SOCKKIT_BENCH_INSIDE"] = "1"
    script = 'ip link set lo up && exec python3 "$@"'
    os.execvp("unshare", ["unshare", "-rn", "sh", "-c", script, "sh", __file__, SOCKKIT, str(ROUNDS)])

# Nothing but connect, send, receive and the clock. Prints the median round trip in microseconds, and how many a second.
FLOOR = r"""
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}
static int compare(const void *a, const void *b) {
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}
static void die(const char *what) { perror(what); exit(1); }
static int dial(int port, int type) {
    int fd = socket(AF_INET, type, 0), one = 1;
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}
static void one_connection(int port, int type, long length, double seconds) {
    long capacity = 1 << 22, count = 0, *times = malloc(capacity * sizeof *times);
    char *message = calloc(1, length);
    int fd = dial(port, type);
    long begun = now(), sent = begun, end = begun + seconds * 1e9;
    while (sent < end && count < capacity) {
        if (send(fd, message, length, 0) != length) die("send");
        for (long got = 0; got < length;) {
            long part = recv(fd, message + got, length - got, 0);
            if (part <= 0) die("recv");
            got += part;
        }
        long received = now();
        times[count++] = received - sent;
        sent = received;
    }
    qsort(times, count, sizeof *times, compare);
    printf("%f %f\n", times[count / 2] / 1e3, count / ((sent - begun) / 1e9));
}
static void many_connections(int port, int connections, long length, double seconds) {
    int epoll = epoll_create1(0);
    long count = 0, *got = calloc(connections, sizeof *got);
    int *fds = malloc(connections * sizeof *fds);
    char *message = calloc(1, length);
    for (int i = 0; i < connections; i++) {
        fds[i] = dial(port, SOCK_STREAM);
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        struct epoll_event event = { .events = EPOLLIN, .data.u32 = i };
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event)) die("epoll_ctl");
    }
    long begun = now(), end = begun + seconds * 1e9;
    for (int i = 0; i < connections; i++) if (send(fds[i], message, length, 0) != length) die("send");
    while (now() < end) {
        struct epoll_event ready[256];
        int found = epoll_wait(epoll, ready, 256, 100);
        for (int r = 0; r < found; r++) {
            int i = ready[r].data.u32;
            long part = recv(fds[i], message, length - got[i], 0);
            if (part < 0 && errno == EAGAIN) continue;
            if (part <= 0) die("recv");
            if ((got[i] += part) < length) continue;
            got[i] = 0;
            count++;
            if (send(fds[i], message, length, 0) != length) die("send");
        }
    }
    printf("0 %f\n", count / ((now() - begun) / 1e9));
}
int main(int argc, char **argv) {
    int port = atoi(argv[2]), connections = atoi(argv[3]);
    long length = atol(argv[4]);
    double seconds = atof(argv[5]);
    if (connections > 1) many_connections(port, connections, length, seconds);
    else one_connection(port, strcmp(argv[1], "udp") ? SOCK_STREAM : SOCK_DGRAM, length, seconds);
}
"""

folder = tempfile.TemporaryDirectory()
floor = os.path.join(folder.name, "floor")
if shutil.which("cc"):
    subprocess.run(["cc", "-O2", "-o", floor, "-x", "c", "-"], input=FLOOR, text=True, check=True)
else:
    floor = None
# Each is left out, and said to be, where it is not installed.
absent = [name for name, found in [("cc", floor), ("sockperf", shutil.which("sockperf")), ("qperf", shutil.which("qperf"))] if not found]
if absent:
    print("skipped, because not installed:", ", ".join(absent))


class Server:
    """A server on a CPU of its own, ended by its pid."""

    def __init__(self, command, cpu=0, port=None):
        self.child = subprocess.Popen(["taskset", "-c", str(cpu), *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.port = port
        if port is None:
            self.port = int(re.search(r":(\d+) ", self.child.stdout.readline())[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()


def serve(transport, cpu=0):
    return Server([SOCKKIT, "serve", "-4", "-p", "0", "--quiet", *(["-u"] if transport == "udp" else [])], cpu)


def run(command, cpu):
    return subprocess.run(["taskset", "-c", str(cpu), *command], capture_output=True, text=True, check=True).stdout


def by_sockkit(transport, connections, cpu):
    """Median round trip in microseconds, and round trips a second."""
    with serve(transport) as server:
        words = ["-u"] if transport == "udp" else []
        text = run(
            [SOCKKIT, "echo-bench", "--json", *words, "-c", str(connections), "--threads", "1", "-l", str(BYTES),
             "-t", f"{SECONDS}s", f"127.0.0.1:{server.port}"], cpu)
        report = json.loads(text)
        return report["round_trip"]["p50_us"], report["round_trips_per_s"]


def by_floor(transport, connections, cpu):
    with serve(transport) as server:
        median, rate = run([floor, transport, str(server.port), str(connections), str(BYTES), str(SECONDS)], cpu).split()
        return float(median), float(rate)


def until_open(port):
    """sockperf and qperf say nothing when they listen."""
    while socket.socket().connect_ex(("127.0.0.1", port)):
        pass


def by_sockperf(transport, connections, cpu):
    port = 21000 + random.randrange(1000)
    words = ["-i", "127.0.0.1", "-p", str(port), *(["--tcp"] if transport == "tcp" else [])]
    with Server(["sockperf", "sr", *words], port=port) as server:
        if transport == "tcp":
            until_open(port)
        else:
            # Its first line comes before it listens, and there is nobody to ask.
            while f"{port:04X}" not in open("/proc/net/udp").read():
                pass
        text = run(["sockperf", "pp", *words, "-m", str(BYTES), "-t", str(SECONDS), "--full-rtt"], cpu)
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)
        count = re.search(r"\[Valid Duration\] RunTime=([\d.]+) sec; SentMessages=(\d+)", text)
        return float(re.search(r"percentile 50.000 =\s+([\d.]+)", text)[1]), int(count[2]) / float(count[1])


def by_qperf(transport, connections, cpu):
    port = 22000 + random.randrange(1000)
    with Server(["qperf", "-lp", str(port)], port=port):
        until_open(port)
        text = run(["qperf", "-lp", str(port), "-t", str(SECONDS), "-m", str(BYTES), "-e", "5", "127.0.0.1", f"{transport}_lat"], cpu)
        number, unit = re.search(r"latency\s+=\s+([\d.,]+) (\w+)", text).groups()
        # It tells the half of the mean.
        microseconds = 2 * float(number.replace(",", "")) * {"ns": 1e-3, "us": 1, "ms": 1e3}[unit]
        return microseconds, 1e6 / microseconds


def compare(title, transport, connections, cpu, others):
    """Medians of each, in turns; sockkit's ratio to each other one."""
    ways = {"sockkit": by_sockkit, **others}
    found = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            found[name].append(way(transport, connections, cpu))
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in found.items()}
    # Neighbours in time have the same machine: their ratios differ less than the numbers do.
    print(f"\n{title}")
    ratios = {}
    for name, (median, rate) in medians.items():
        ratios[name] = [
            statistics.median(ours[column] / theirs[column] if theirs[column] else 0 for ours, theirs in zip(found["sockkit"], found[name]))
            for column in range(2)
        ]
        shown = f"{median:9.2f} µs" if median else " " * 12
        ratio = "" if name == "sockkit" else f"   sockkit/{name}: {ratios[name][1]:.3f} rate" + (f", {ratios[name][0]:.3f} time" if median else "")
        print(f"  {name:<9}{shown} {rate:9.0f}/s{ratio}", flush=True)
    return ratios


def demand(what, holds):
    if not holds:
        missed.append(what)


def installed(**ways):
    present = {"floor": floor, "sockperf": "sockperf" not in absent, "qperf": "qperf" not in absent}
    return {name: way for name, way in ways.items() if present[name]}


for transport in ["tcp", "udp"]:
    ratios = compare(
        f"one connection, {transport}, {BYTES} B, both ends on one CPU (sockperf: median; qperf: mean)", transport, 1, 0,
        installed(floor=by_floor, sockperf=by_sockperf, qperf=by_qperf))
    if floor:
        demand(f"{transport}: p50 {ratios['floor'][0]:.3f} of the C client's, at most 1.05", ratios["floor"][0] <= 1.05)

cpus = sorted(os.sched_getaffinity(0))
for connections in [64, 1000] if floor and len(cpus) > 1 else []:
    ratios = compare(f"{connections} connections, tcp, {BYTES} B, server and client on a CPU each", "tcp", connections, cpus[1], {"floor": by_floor})
    demand(f"{connections} connections: {ratios['floor'][1]:.3f} of the epoll client's rate, at least 0.95", ratios["floor"][1] >= 0.95)


def verdicts():
    """Whether runs of one thing are told from slower ones: forty are recorded now, and groups of five drawn from them."""
    path = lambda name: os.path.join(folder.name, name)
    with serve("tcp") as server:
        run([SOCKKIT, "echo-bench", "-t", "250ms", "--warm-up", "100ms", "--runs", "40", "--save", path("recorded"), f"127.0.0.1:{server.port}"], 0)
    recorded = json.load(open(path("recorded")))

    def write(name, factor):
        drawn = [dict(one) for one in random.choices(recorded["runs"], k=5)]
        for one in drawn:
            for percentile in ["p50_us", "p99_us"]:
                one[percentile] = one[percentile] and one[percentile] * factor
        json.dump({**recorded, "runs": drawn}, open(path(name), "w"))
        return path(name)

    def is_regression(factor):
        command = [SOCKKIT, "echo-bench", "--merge", write("now", factor), "--baseline", write("then", 1), "--fail-on-regression", "5%"]
        return subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 5

    same, slower = (sum(is_regression(factor) for _ in range(100)) for factor in [1, 1.1])
    print(f"\nverdicts on 40 runs recorded now: regressions found between equals {same} of 100, of 10 % {slower} of 100")
    demand(f"a regression between equals, {same} of 100, at most 5", same <= 5)
    demand(f"a regression of 10 % found, {slower} of 100, at least 95", slower >= 95)


verdicts()
print("\nmissed: " + "; ".join(missed) if missed else "\nall targets met")
sys.exit(bool(missed))
