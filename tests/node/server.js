// Starts the real binary on a free port; the caller stops it.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, openSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const REPOSITORY = path.resolve(import.meta.dirname, "../..");
const READY_WAIT_MS = 60_000;

export async function start(shards) {
  const binary = process.env.WINDROW_BIN ?? path.join(REPOSITORY, "target/debug/windrow");
  if (!existsSync(binary)) {
    throw new Error(`no binary at ${binary}: run \`cargo build -p windrow-server\`, or set WINDROW_BIN`);
  }
  const home = mkdtempSync(path.join(tmpdir(), "windrow-node-"));
  const logPath = path.join(home, "server.log");
  const log = openSync(logPath, "a");
  const port = await freePort();
  const options = ["serve", "--port", port, "--dir", path.join(home, "data"), "--shards", shards];
  const child = spawn(binary, options.map(String), { stdio: ["ignore", log, log] });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  const deadline = Date.now() + READY_WAIT_MS;
  while (!(await answers(port))) {
    if (child.exitCode !== null || Date.now() > deadline) {
      child.kill("SIGKILL");
      throw new Error(`windrow did not start:\n${readFileSync(logPath)}`);
    }
    await sleep(20);
  }
  const stop = async () => {
    child.kill("SIGTERM");
    await ended;
    rmSync(home, { recursive: true });
  };
  return { port, stop };
}

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer();
    probe.on("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    const done = (answer) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1000, () => done(false));
    socket.on("error", () => done(false));
    socket.on("connect", () => socket.write("*1\r\n$4\r\nPING\r\n"));
    socket.on("data", (data) => done(data.toString().startsWith("+PONG")));
  });
}
