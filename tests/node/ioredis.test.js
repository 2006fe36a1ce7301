// ioredis: custom commands by `call`, pipelines, auto-pipelining.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import Redis from "ioredis";
import { start } from "./server.js";

for (const shards of [1, 4]) {
  describe(`ioredis with ${shards} shard${shards > 1 ? "s" : ""}`, () => {
    let server;
    let client;

    before(async () => {
      server = await start(shards);
      client = new Redis(server.port, "127.0.0.1");
      const definition = "FIELDS amount FLOAT n INT WINDOWS 5m all AGGREGATE count sum(amount) sum(n)";
      assert.equal(await client.call("STREAM.CREATE", "s", ...definition.split(" ")), "OK");
    });

    after(async () => {
      await client?.quit();
      await server?.stop();
    });

    test("events come back as features", async () => {
      for (let value = 1; value <= 10; value++) {
        assert.equal(await client.call("EVENT.ADD", "user:42", "s", "*", "amount", value / 4, "n", value), "OK");
      }
      const row = await client.call("WINDOW.GET", "user:42", "s", "count:5m", "sum(amount):5m", "sum(n):all");
      assert.deepEqual(row, [10, "13.75", 55]);
    });

    test("a pipeline reads its own writes", async () => {
      const pipeline = client.pipeline();
      for (let step = 0; step < 300; step++) {
        pipeline.call("EVENT.ADD", `p${step % 7}`, "s", "*", "n", 1);
        pipeline.call("WINDOW.GET", `p${step % 7}`, "s", "sum(n):all");
      }
      const replies = await pipeline.exec();
      replies.forEach(([error, reply], place) => {
        assert.equal(error, null);
        const step = Math.floor(place / 2);
        assert.deepEqual(reply, place % 2 === 0 ? "OK" : [Math.floor(step / 7) + 1]);
      });
    });

    test("many callers share one connection", async () => {
      const shared = new Redis(server.port, "127.0.0.1", { enableAutoPipelining: true });
      const adds = Array.from({ length: 500 }, () => shared.call("EVENT.ADD", "shared", "s", "*", "n", 2));
      assert.ok((await Promise.all(adds)).every((reply) => reply === "OK"));
      assert.deepEqual(await shared.call("WINDOW.GET", "shared", "s", "sum(n):5m", "count:all"), [1000, 500]);
      await shared.quit();
    });

    test("an error names what is wrong and the connection lives on", async () => {
      await assert.rejects(client.call("WINDOW.GET", "e", "nostream"), /nostream/);
      await assert.rejects(client.call("EVENT.ADD", "e", "s", "*", "n", "many"), /many/);
      assert.equal(await client.ping(), "PONG");
    });

    test("entities are any bytes", async () => {
      const entity = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
      assert.equal(await client.call("EVENT.ADD", entity, "s", "*"), "OK");
      assert.deepEqual(await client.call("WINDOW.GET", entity, "s", "count:all"), [1]);
    });
  });
}
