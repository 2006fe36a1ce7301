"""redis-py as applications use it: both protocols, pipelines, pools, threads, bytes."""

import asyncio
import threading
import time

import pytest
import redis
import redis.asyncio


def number(value):
    """A float as RESP3 gives it, or as text in RESP2."""
    return float(value)


def as_map(reply):
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2]))


def test_a_client_connects_and_is_known(client):
    assert client.ping() is True
    assert client.echo("hello") == "hello"
    client.client_setname("features")
    assert client.client_getname() == "features"
    assert client.client_id() > 0
    assert "redis_version" in client.info()
    seconds, micros = client.time()
    assert seconds > 1_600_000_000 and 0 <= micros < 1_000_000


def test_events_come_back_as_features(client, stream):
    for value in range(1, 11):
        assert client.execute_command("EVENT.ADD", "user:42", stream, "*", "amount", value / 4, "n", value) == "OK"
    count, amount, largest, nothing = client.execute_command(
        "WINDOW.GET", "user:42", stream, "count:5m", "sum(amount):5m", "max(n):all", "count:all"
    )
    assert (count, number(amount), largest, nothing) == (10, 13.75, 10, 10)
    if client.protocol == 3:
        assert isinstance(amount, float)


def test_without_names_every_feature_comes_by_name(client, stream):
    client.execute_command("EVENT.ADD", "e", stream, "*", "amount", 0.5)
    features = client.execute_command("WINDOW.GET", "e", stream)
    if client.protocol == 3:
        assert isinstance(features, dict)
    features = as_map(features)
    assert set(features) == {
        f"{aggregate}:{length}"
        for aggregate in ("count", "sum(amount)", "sum(n)", "max(n)")
        for length in ("5m", "all")
    }
    assert number(features["sum(amount):all"]) == 0.5
    assert features["max(n):5m"] is None


def test_a_pipeline_reads_its_own_writes(client, stream):
    with client.pipeline(transaction=False) as pipeline:
        for step in range(500):
            pipeline.execute_command("EVENT.ADD", f"e{step % 7}", stream, "*", "n", 1)
            pipeline.execute_command("WINDOW.GET", f"e{step % 7}", stream, "sum(n):all")
        replies = pipeline.execute()
    assert replies[::2] == ["OK"] * 500
    assert [row[0] for row in replies[1::2]] == [step // 7 + 1 for step in range(500)]


def test_an_error_in_a_pipeline_is_that_commands_own(client, stream):
    with client.pipeline(transaction=False) as pipeline:
        pipeline.execute_command("EVENT.ADD", "e", stream, "*", "n", 1)
        pipeline.execute_command("EVENT.ADD", "e", stream, "*", "n", "many")
        pipeline.execute_command("WINDOW.GET", "e", stream, "count:all")
        first, second, third = pipeline.execute(raise_on_error=False)
    assert first == "OK"
    assert isinstance(second, redis.ResponseError) and "many" in str(second)
    assert third == [1]


def test_errors_are_exceptions_that_say_why(client, stream):
    for command, reason in [
        (("WINDOW.GET", "e", "nostream"), "nostream"),
        (("EVENT.ADD", "e", stream, "*", "nofield", 1), "nofield"),
        (("EVENT.ADD", "e", stream, "soon"), "soon"),
        (("NONSENSE",), "NONSENSE"),
    ]:
        with pytest.raises(redis.ResponseError, match=f"(?i){reason}"):
            client.execute_command(*command)


def test_madd_and_mget_move_many_at_once(client, stream):
    rows = [part for entity in range(1000) for part in (f"e{entity}", "*", entity)]
    replies = client.execute_command("EVENT.MADD", stream, "FIELDS", 1, "n", "EVENTS", *rows)
    assert replies == ["OK"] * 1000
    entities = [f"e{entity}" for entity in range(1000)]
    rows = client.execute_command("WINDOW.MGET", 1000, *entities, stream, "sum(n):5m", "count:all")
    assert rows == [[entity, 1] for entity in range(1000)]


def test_entities_are_any_bytes(port, client, stream):
    with redis.Redis(port=port, protocol=client.protocol) as raw:
        for entity in (bytes(range(256)), b"\r\n", "Zürich".encode()):
            assert raw.execute_command("EVENT.ADD", entity, stream, "*") == b"OK"
            assert raw.execute_command("WINDOW.GET", entity, stream, "count:all") == [1]


def test_a_pool_shared_by_threads_loses_nothing(port, client, stream):
    pool = redis.ConnectionPool(port=port, protocol=client.protocol, max_connections=8)
    failures = []

    def work():
        try:
            mine = redis.Redis(connection_pool=pool)
            for _ in range(200):
                assert mine.execute_command("EVENT.ADD", "shared", stream, "*", "n", 1) == b"OK"
        except Exception as failure:  # a thread's failure must reach the test
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.disconnect()
    assert failures == []
    assert client.execute_command("WINDOW.GET", "shared", stream, "sum(n):all") == [1200]


def test_the_asyncio_client_works_too(port, client, stream):
    async def main():
        async with redis.asyncio.Redis(port=port, protocol=client.protocol) as mine:
            await asyncio.gather(
                *(mine.execute_command("EVENT.ADD", "e", stream, "*", "n", 2) for _ in range(100))
            )
            return await mine.execute_command("WINDOW.GET", "e", stream, "sum(n):all")

    assert asyncio.run(main()) == [200]


def test_a_stream_is_listed_and_described(client, stream):
    assert stream in str(client.execute_command("STREAM.LIST"))
    assert "sum(amount)" in str(client.execute_command("STREAM.INFO", stream))


def test_images_are_asked_for_as_snapshots_are_in_redis(client, stream):
    client.execute_command("EVENT.ADD", "e", stream, "*", "n", 2)
    assert client.save() is True
    saved = client.lastsave()
    info = client.info("persistence")
    assert int(saved.timestamp()) == info["rdb_last_save_time"]
    assert (info["rdb_last_bgsave_status"], info["rdb_changes_since_last_save"]) == ("ok", 0)
    assert client.bgsave()
    while client.info("persistence")["rdb_bgsave_in_progress"]:
        time.sleep(0.01)
    assert client.info("persistence")["rdb_saves"] == info["rdb_saves"] + 1
    assert client.lastsave() >= saved
    assert client.config_get("save") == {"save": "300"}


def test_what_took_long_is_shown_as_in_redis(client, stream):
    assert client.config_get("slowlog-*") == {"slowlog-log-slower-than": "10000", "slowlog-max-len": "128"}
    client.config_set("slowlog-log-slower-than", 0)
    try:
        client.client_setname("watcher")
        client.execute_command("EVENT.ADD", "e", stream, "*", "amount", 0.5)
        entry = client.slowlog_get(1)[0]
    finally:
        client.config_set("slowlog-log-slower-than", 10_000)
    assert entry["command"] in (f"EVENT.ADD e {stream} * amount 0.5", f"EVENT.ADD e {stream} * amount 0.5".encode())
    assert entry["duration"] >= 0 and entry["start_time"] > 1_600_000_000
    assert client.slowlog_len() > 1
    assert client.slowlog_reset() in (True, "OK")
    assert client.slowlog_len() == 0
    assert client.latency_latest() == []
    assert client.latency_history("command") == []
    assert client.latency_reset() == 0
    histogram = as_map(client.execute_command("LATENCY", "HISTOGRAM", "event.add"))
    assert as_map(histogram["event.add"])["calls"] >= 1


def test_flushall_takes_all_entities_and_leaves_the_streams(client, stream):
    client.execute_command("EVENT.ADD", "e", stream, "*", "n", 2)
    assert client.flushall() is True
    assert client.dbsize() == 0
    assert client.execute_command("WINDOW.GET", "e", stream, "count:all") == [0]
    assert client.flushall(asynchronous=True) is True
    assert client.execute_command("EVENT.ADD", "e", stream, "*", "n", 2) == "OK"
    assert client.dbsize() == 1


def test_users_are_made_and_limited_with_the_acl_methods(client, port, stream):
    name = f"model-{client.protocol}"
    client.acl_setuser(
        name, enabled=True, reset=True, passwords=["+secret"], categories=["+@window"], keys=["user:*"], commands=["+ping"]
    )
    found = client.acl_getuser(name)
    assert (found["enabled"], found["keys"], found["categories"]) == (True, ["~user:*"], ["-@all", "+@window"])
    assert name in client.acl_users() and any(line.startswith(f"user {name} on #") for line in client.acl_list())
    assert client.acl_whoami() == "default" and "window" in client.acl_cat() and len(client.acl_genpass()) == 64
    assert client.acl_dryrun(name, "WINDOW.GET", "user:1", stream) == "OK"
    client.acl_log_reset()
    login = {"port": port, "username": name, "password": "secret", "protocol": client.protocol, "socket_timeout": 30}
    with redis.Redis(**login) as model:
        assert model.ping() is True
        model.execute_command("WINDOW.GET", "user:1", stream)
        for denied in (("WINDOW.GET", "card:1", stream), ("EVENT.ADD", "user:1", stream, "*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                model.execute_command(*denied)
        # Between what was allowed nothing is executed, and the connection goes on.
        with model.pipeline(transaction=False) as pipeline:
            pipeline.ping().execute_command("EVENT.ADD", "user:1", stream, "*").ping()
            first, refused, last = pipeline.execute(raise_on_error=False)
        assert (first, last) == (True, True) and isinstance(refused, redis.exceptions.NoPermissionError)
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis(**{**login, "password": "wrong"}).ping()
    logged = client.acl_log()
    assert {"key", "command", "auth"} <= {entry["reason"] for entry in logged}
    assert all(entry["username"] == name and float(entry["age-seconds"]) >= 0 for entry in logged)
    assert client.acl_deluser(name) == 1 and client.acl_getuser(name) is None
