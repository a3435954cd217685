#!/usr/bin/env python3
"""What a server costs: processor time and latency of a round trip, memory of an idle connection, an accept storm, datagrams.

    benches/serve.py [PATH of sockkit, default target/release/sockkit] [ROUNDS, default 5]

Beside it runs the least that a server can be: a loop over epoll(7) in C, for datagrams one over recvfrom(2), built with cc(1)
where there is one. Both serve the same load, sockkit's own echo-bench, or datagrams at a steady pace, in turns; each server has
a processor of its own where there are two; medians and their ratios are printed. Of the datagrams sockkit may lose no more
than the floor does. Only loopback is used, and every load is bounded. The status is 1 if a target of the project is missed.
"""
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

SOCKKIT = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/sockkit")
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
SECONDS = 2
IDLE = 10_000
STORM = 10_000
DATAGRAMS = 20_000
DATAGRAMS_PER_SECOND = 10_000
missed = []

# Accepts, reads what there is, sends it back. With an argument it does so with datagrams. No buffer, no queue, no second thread.
FLOOR = r"""
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
static char block[65536];
static void echo_datagrams(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, from;
    socklen_t n = sizeof a;
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    bind(s, (void *)&a, n);
    getsockname(s, (void *)&a, &n);
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    for (;;) {
        n = sizeof from;
        ssize_t got = recvfrom(s, block, sizeof block, 0, (void *)&from, &n);
        if (got >= 0) sendto(s, block, got, 0, (void *)&from, n);
    }
}
int main(int arguments, char **words) {
    (void)words;
    if (arguments > 1) echo_datagrams();
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int on = 1, l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), e = epoll_create1(0);
    struct epoll_event v = {.events = EPOLLIN, .data.fd = l}, all[256];
    bind(l, (void *)&a, n);
    listen(l, 4096);
    getsockname(l, (void *)&a, &n);
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    epoll_ctl(e, EPOLL_CTL_ADD, l, &v);
    for (;;) {
        int count = epoll_wait(e, all, 256, -1);
        for (int i = 0; i < count; i++) {
            int s = all[i].data.fd;
            if (s == l) {
                while ((s = accept4(l, 0, 0, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    v = (struct epoll_event){.events = EPOLLIN | EPOLLET, .data.fd = s};
                    epoll_ctl(e, EPOLL_CTL_ADD, s, &v);
                }
                continue;
            }
            for (;;) {
                ssize_t got = recv(s, block, sizeof block, 0);
                if (got == 0) close(s);
                if (got <= 0) break;
                send(s, block, got, MSG_NOSIGNAL);
                if (got < (ssize_t)sizeof block) break;
            }
        }
    }
}
"""


def on(cpu, command):
    """The same command on one processor, where there is a choice."""
    return ["taskset", "-c", str(cpu), *command] if shutil.which("taskset") and os.cpu_count() > 1 else command


class Server:
    """A server that has told its port; ended by its pid."""

    def __init__(self, command):
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.child.stdout.readline()
        self.port = int(line.rsplit(":", 1)[-1].split()[0])

    def cpu_seconds(self):
        fields = open(f"/proc/{self.child.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        status = open(f"/proc/{self.child.pid}/status").read().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) * 1024

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        return self.child.communicate(timeout=20)[1]


def sockkit(*words):
    return [SOCKKIT, "serve", "-4", "-p", "0", *words]


def tell(what, value, limit=None, worse_above=True):
    met = limit is None or (value <= limit if worse_above else value >= limit)
    target = "" if limit is None else f"   target {'at most' if worse_above else 'at least'} {limit:g}{'' if met else '   MISSED'}"
    print(f"  {what:52} {value:10.3f}{target}")
    if not met:
        missed.append(what)


def load(server, connections):
    """Round trips a second, what each cost the server, and what half of them took at most."""
    before = server.cpu_seconds()
    command = [SOCKKIT, "echo-bench", "--json", "-c", str(connections), "-t", f"{SECONDS}s", f"127.0.0.1:{server.port}"]
    out = subprocess.run(on(1, command), capture_output=True, text=True, timeout=120).stdout
    used = server.cpu_seconds() - before
    result = json.loads(out.splitlines()[-1])
    # The warm-up took the server's time as well.
    count = result["round_trips"] + result["discarded"]
    return result["round_trips_per_s"], used / count * 1e6, result["round_trip"]["p50_us"]


def round_trips(floor):
    limits = {1: None, 64: 1.15, 1000: 1.20}
    for connections, limit in limits.items():
        rates, costs, latencies = {}, {}, {}
        for _ in range(ROUNDS):
            for name, command in (("sockkit", sockkit("--quiet")), ("floor", [floor] if floor else None)):
                if command:
                    with Server(on(0, command)) as server:
                        rate, cost, latency = load(server, connections)
                    rates.setdefault(name, []).append(rate)
                    costs.setdefault(name, []).append(cost)
                    latencies.setdefault(name, []).append(latency)
        print(f"{connections} connections, 64 bytes a message")
        for name in costs:
            tell(f"{name}: server's processor time a round trip, us", statistics.median(costs[name]))
            tell(f"{name}: round trips a second", statistics.median(rates[name]))
            # Of many at once it is the length of the queue, which the rate has told already.
            if connections == 1:
                tell(f"{name}: half of the round trips take at most, us", statistics.median(latencies[name]))
        if floor:
            ratio = lambda values: statistics.median(values["sockkit"]) / statistics.median(values["floor"])
            tell("ratio of the processor time", ratio(costs), limit)
            tell("ratio of the rates", ratio(rates), 0.90 if limit else None, worse_above=False)
            if connections == 1:
                tell("ratio of the medians of the latency", ratio(latencies))


def idle():
    count = min(IDLE, resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with Server(sockkit("--quiet")) as server:
        before, held = server.resident_bytes(), []
        for _ in range(count):
            held.append(socket.create_connection(("127.0.0.1", server.port)))
        for peer in held:
            peer.sendall(b"x")
        for peer in held:
            peer.recv(1)
        after = server.resident_bytes()
        for peer in held:
            peer.close()
    print(f"{count} idle connections that have echoed once")
    tell("resident memory of the empty server, MiB", before / 2**20)
    tell("resident memory of each, KiB", (after - before) / count / 1024, 2.0)


def storm():
    """Everybody connects without waiting for anybody: the kernel's queue and the accept loop have to hold them."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    count = min(STORM, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100)
    with Server(sockkit("--quiet", "--summary", "json")) as server:
        refused, peers, begun = 0, [], time.monotonic()
        for _ in range(count):
            peer = socket.socket()
            try:
                peer.connect(("127.0.0.1", server.port))
                peers.append(peer)
            except OSError:
                refused += 1
        took = time.monotonic() - begun
        for peer in peers:
            peer.sendall(b"x")
        lost = sum(peer.recv(1) != b"x" for peer in peers)
        for peer in peers:
            peer.close()
        print(f"an accept storm of {count} connects, {took:.2f} s")
        tell("refused", refused, 0)
        tell("lost", lost, 0)


def exchange_datagrams(server):
    """Sends them at their pace; says how many were not answered, how many a second there really were, and what each cost."""
    before = server.cpu_seconds()
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.connect(("127.0.0.1", server.port))
    peer.setblocking(False)
    answered, begun = 0, time.monotonic()
    for number in range(DATAGRAMS):
        while time.monotonic() - begun < number / DATAGRAMS_PER_SECOND:
            pass
        peer.send(b"x" * 64)
        try:
            while peer.recv(64):
                answered += 1
        except BlockingIOError:
            pass
    rate = DATAGRAMS / (time.monotonic() - begun)
    peer.settimeout(1)
    try:
        while answered < DATAGRAMS and peer.recv(64):
            answered += 1
    except TimeoutError:
        pass
    peer.close()
    return DATAGRAMS - answered, rate, (server.cpu_seconds() - before) / DATAGRAMS * 1e6


def datagrams(floor):
    """A rate that the floor holds is to be held; where the floor loses some, it is not the server that is measured."""
    lost, rates, costs = {}, {}, {}
    for _ in range(ROUNDS):
        for name, command in (("sockkit", sockkit("-u", "--quiet")), ("floor", [floor, "datagrams"] if floor else None)):
            if command:
                with Server(on(0, command)) as server:
                    results = exchange_datagrams(server)
                for values, result in zip((lost, rates, costs), results):
                    values.setdefault(name, []).append(result)
    print(f"{DATAGRAMS} datagrams, {DATAGRAMS_PER_SECOND} a second, {ROUNDS} times")
    for name in lost:
        limit = max(lost["floor"]) if floor else 0
        tell(f"{name}: lost at most", max(lost[name]), limit if name == "sockkit" else None)
        tell(f"{name}: datagrams a second", statistics.median(rates[name]))
        tell(f"{name}: server's processor time each, us", statistics.median(costs[name]))
    if floor:
        tell("ratio of the processor time", statistics.median(costs["sockkit"]) / statistics.median(costs["floor"]))


def main():
    with tempfile.TemporaryDirectory() as folder:
        floor = None
        if shutil.which("cc"):
            floor, source = os.path.join(folder, "floor"), os.path.join(folder, "floor.c")
            open(source, "w").write(FLOOR)
            subprocess.run(["cc", "-O2", "-o", floor, source], check=True)
        else:
            print("no cc(1): nothing to compare with")
        idle()
        storm()
        datagrams(floor)
        round_trips(floor)
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


main()
