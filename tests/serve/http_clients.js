// undici gets the files of a site: node -e SCRIPT URL ROOT PATH... Takes the one behind node's
// fetch, and with pipelining the module of this name if it is installed.

const { readFileSync } = require("node:fs");
const assert = require("node:assert");

const [base, root, ...paths] = process.argv.slice(1);
const files = new Map(paths.map((path) => [path, readFileSync(root + path)]));
const ROUNDS = 20;

function check(path, status, body) {
  assert.equal(status, 200, path);
  assert(body.equals(files.get(path)), `${path}: other bytes`);
}

async function withFetch() {
  const get = async (path) => {
    const answer = await fetch(base + path);
    check(path, answer.status, Buffer.from(await answer.arrayBuffer()));
  };
  await Promise.all(Array(ROUNDS).fill(paths).flat().map(get));
  const part = await fetch(`${base}/64k`, { headers: { range: "bytes=0-9" } });
  assert.equal(part.status, 206);
  assert.equal((await part.arrayBuffer()).byteLength, 10);
}

async function withPipelining({ Pool }) {
  const pool = new Pool(base, { connections: 2, pipelining: 8 });
  const get = async (path) => {
    const { statusCode, body } = await pool.request({ path, method: "GET" });
    check(path, statusCode, Buffer.from(await body.arrayBuffer()));
  };
  await Promise.all(Array(ROUNDS).fill(paths).flat().map(get));
  await pool.close();
}

async function main() {
  await withFetch();
  let modules = "fetch";
  try {
    const undici = require("undici");
    await withPipelining(undici);
    modules = "fetch and the module undici";
  } catch (error) {
    if (error.code !== "MODULE_NOT_FOUND") throw error;
  }
  console.log(`undici ${process.versions.undici}, ${modules}: all as it should be`);
}

main();
