"""Starts the real binary on a free port, once for each number of shards."""

import os
import pathlib
import socket
import subprocess
import time

import pytest
import redis

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
READY_WAIT_S = 60


def missing(what):
    """What a test needs is not there: it says so in the summary of ./test, and in CI, where all of it must be there, it fails."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def pytest_terminal_summary(terminalreporter):
    """The lines that ./test repeats in its summary."""
    reasons = {report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.getreports("skipped")}
    for report in terminalreporter.getreports("xfailed"):
        reasons |= set(report.wasxfail.split("; "))
    for reason in sorted(reasons):
        terminalreporter.write_line(f"SKIP: {reason}")


def binary() -> pathlib.Path:
    path = pathlib.Path(os.environ.get("WINDROW_BIN", REPOSITORY / "target/debug/windrow"))
    if not path.is_file():
        pytest.exit(f"no binary at {path}: run `cargo build -p windrow-server`, or set WINDROW_BIN", returncode=2)
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session", params=[1, 4], ids=["one_shard", "four_shards"])
def port(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("windrow")
    chosen = free_port()
    log = (home / "server.log").open("w+")
    command = [binary(), "serve", "--port", str(chosen), "--dir", home / "data", "--shards", str(request.param)]
    server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until_ready(server, chosen, home / "server.log")
        yield chosen
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            raise


def wait_until_ready(server, port, log):
    deadline = time.monotonic() + READY_WAIT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.exit(f"windrow ended with {server.returncode}: {log.read_text()}", returncode=2)
        try:
            redis.Redis(port=port, socket_timeout=5).ping()
            return
        except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
            time.sleep(0.02)
    pytest.exit(f"windrow is not ready after {READY_WAIT_S} s: {log.read_text()}", returncode=2)


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def client(request, port):
    with redis.Redis(port=port, protocol=request.param, decode_responses=True, socket_timeout=30) as client:
        client.protocol = request.param
        yield client


@pytest.fixture
def resp3(port):
    """For tests whose subject is not the protocol: numbers keep their types."""
    with redis.Redis(port=port, protocol=3, decode_responses=True, socket_timeout=120) as client:
        yield client


@pytest.fixture
def stream(client, request):
    """A stream of its own for each test."""
    name = "s_" + "".join(c if c.isalnum() else "_" for c in request.node.name)[-60:]
    definition = "FIELDS amount FLOAT n INT WINDOWS 5m all AGGREGATE count sum(amount) sum(n) max(n)".split()
    assert client.execute_command("STREAM.CREATE", name, *definition) in ("OK", True)
    yield name
    client.execute_command("STREAM.DROP", name)


@pytest.fixture
def make_stream(resp3, request):
    """Makes streams with the definitions it is given; they go with the test."""
    made = []

    def make(*definition):
        name = f"t{len(made)}_" + "".join(c if c.isalnum() else "_" for c in request.node.name)[-50:]
        assert resp3.execute_command("STREAM.CREATE", name, *definition) in ("OK", True)
        made.append(name)
        return name

    yield make
    for name in made:
        resp3.execute_command("STREAM.DROP", name)
