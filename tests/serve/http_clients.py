"""httpx and aiohttp get the files of a site: python3 http_clients.py URL ROOT PATH..."""

import asyncio
import pathlib
import sys

import aiohttp
import httpx

BASE, ROOT = sys.argv[1:3]
FILES = {path: pathlib.Path(ROOT + path).read_bytes() for path in sys.argv[3:]}
ROUNDS = 20


def check(path, status, body, is_whole=True):
    assert status == (200 if is_whole else 206), (path, status)
    if is_whole:
        assert body == FILES[path], f"{path}: other bytes"


def with_httpx():
    with httpx.Client(base_url=BASE, timeout=60) as client:
        for _ in range(ROUNDS):
            for path in FILES:
                answer = client.get(path)
                check(path, answer.status_code, answer.content)
        head = client.head("/12")
        assert head.headers["content-length"] == "12" and head.content == b"", head
        part = client.get("/64k", headers={"Range": "bytes=10-19"})
        check("/64k", part.status_code, part.content, is_whole=False)
        assert len(part.content) == 10 and part.headers["content-range"] == "bytes 10-19/65536"
        tag = {"If-None-Match": client.get("/64k").headers["etag"]}
        assert client.get("/64k", headers=tag).status_code == 304
        assert client.get("/none").status_code == 404
        assert client.post("/12", content=b"x" * 1000).status_code == 405


async def with_httpx_at_once():
    async with httpx.AsyncClient(base_url=BASE, timeout=60) as client:
        paths = list(FILES) * ROUNDS
        for path, answer in zip(paths, await asyncio.gather(*map(client.get, paths))):
            check(path, answer.status_code, answer.content)


async def with_aiohttp():
    async with aiohttp.ClientSession(BASE) as session:

        async def get(path):
            async with session.get(path) as answer:
                check(path, answer.status, await answer.read())

        await asyncio.gather(*(get(path) for path in list(FILES) * ROUNDS))
        async with session.get("/64k", headers={"Range": "bytes=-5"}) as answer:
            assert (answer.status, len(await answer.read())) == (206, 5)


with_httpx()
asyncio.run(with_httpx_at_once())
asyncio.run(with_aiohttp())
print(f"httpx {httpx.__version__}, aiohttp {aiohttp.__version__}: all as it should be")
