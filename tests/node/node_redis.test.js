// node-redis: both protocols, `sendCommand`, `multi().execAsPipeline()`.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createClient } from "redis";
import { start } from "./server.js";

for (const shards of [1, 4]) {
  for (const RESP of [2, 3]) {
    describe(`node-redis, RESP${RESP}, ${shards} shard${shards > 1 ? "s" : ""}`, () => {
      let server;
      let client;

      before(async () => {
        server = await start(shards);
        client = createClient({ RESP, socket: { port: server.port, host: "127.0.0.1" } });
        client.on("error", (error) => console.error(error));
        await client.connect();
        const definition = "FIELDS amount FLOAT n INT WINDOWS 5m all AGGREGATE count sum(amount) sum(n)";
        assert.equal(await client.sendCommand(["STREAM.CREATE", "s", ...definition.split(" ")]), "OK");
      });

      after(async () => {
        await client?.close();
        await server?.stop();
      });

      test("events come back as features", async () => {
        for (let value = 1; value <= 10; value++) {
          const event = ["EVENT.ADD", "user:42", "s", "*", "amount", String(value / 4), "n", String(value)];
          assert.equal(await client.sendCommand(event), "OK");
        }
        const row = await client.sendCommand(["WINDOW.GET", "user:42", "s", "count:5m", "sum(amount):5m", "sum(n):all"]);
        assert.deepEqual(row, [10, RESP === 3 ? 13.75 : "13.75", 55]);
      });

      test("without names every feature comes by name", async () => {
        assert.equal(await client.sendCommand(["EVENT.ADD", "e", "s", "*", "n", "7"]), "OK");
        const reply = await client.sendCommand(["WINDOW.GET", "e", "s"]);
        const pairs = Array.isArray(reply)
          ? reply.filter((_, place) => place % 2 === 0).map((name, place) => [name, reply[place * 2 + 1]])
          : Object.entries(reply);
        const features = new Map(pairs);
        assert.equal(features.get("sum(n):5m"), 7);
        assert.equal(features.get("count:all"), 1);
        assert.equal(features.size, 6);
      });

      test("a pipeline keeps the order of its replies", async () => {
        const pipeline = client.multi();
        for (let step = 0; step < 300; step++) {
          pipeline.addCommand(["EVENT.ADD", `p${step % 7}`, "s", "*", "n", "1"]);
          pipeline.addCommand(["WINDOW.GET", `p${step % 7}`, "s", "sum(n):all"]);
        }
        const replies = await pipeline.execAsPipeline();
        replies.forEach((reply, place) => {
          const step = Math.floor(place / 2);
          assert.deepEqual(reply, place % 2 === 0 ? "OK" : [Math.floor(step / 7) + 1]);
        });
      });

      test("an error names what is wrong and the connection lives on", async () => {
        await assert.rejects(client.sendCommand(["WINDOW.GET", "e", "nostream"]), /nostream/);
        assert.equal(await client.ping(), "PONG");
      });
    });
  }
}
