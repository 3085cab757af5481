"""FROZEN: the floor that sync is measured against.

Do not tune, extend or tidy this file: its figures are comparable only while it stays as it is.

A small aiohttp client that sends the bytes that sync sends (same method, path, query, headers and body, as
sync's own account) and decides nothing. Orders come as JSON lines on standard input, answers go as JSON lines
to standard output:

    {"do": "write", "method": "PUT", "name": …, "body": …, "namespaces": […]}   all at once, 32 in flight
    {"do": "react", "name": …, "body": …}   then POST into the namespace of each new labelled Deployment
"""

import asyncio
import base64
import json
import ssl
import sys
import time
from pathlib import Path

import aiohttp

IN_FLIGHT = 32
PATH = "/api/v1/namespaces/{}/secrets"
QUERY = "?fieldManager=regcred"
WATCH = "/apis/apps/v1/deployments?watch=1&labelSelector=regcred.bench/floor%3Dtrue"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


async def main(config: dict) -> None:
    server = config["clusters"][0]["cluster"]["server"]
    authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    headers = {
        "Authorization": "Bearer " + config["users"][0]["user"]["token"],
        "Accept": METADATA,
        "Content-Type": "application/json",
        "User-Agent": "regcred-floor",
    }
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=authority), limit=IN_FLIGHT + 4)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as http:
        reader = asyncio.StreamReader(limit=2**24)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        say({"ready": time.time()})
        reacting = set()
        while line := await reader.readline():
            order = json.loads(line)
            if order["do"] == "write":
                say(await write(http, server, order))
            else:
                reacting.add(asyncio.create_task(react(http, server, order)))


async def write(http: aiohttp.ClientSession, server: str, order: dict) -> dict:
    body = order["body"].encode()
    todo = iter(order["namespaces"])
    suffix = f"/{order['name']}{QUERY}" if order["method"] == "PUT" else QUERY
    failed = 0

    async def work() -> None:
        nonlocal failed
        for namespace in todo:
            url = server + PATH.format(namespace) + suffix
            async with http.request(order["method"], url, data=body) as response:
                await response.read()
                failed += response.status >= 400

    started, cpu = time.time(), time.process_time()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return {"started": started, "ended": time.time(), "cpu": time.process_time() - cpu, "failed": failed}


async def react(http: aiohttp.ClientSession, server: str, order: dict) -> None:
    body = order["body"].encode()

    async def post(namespace: str) -> None:
        async with http.post(server + PATH.format(namespace) + QUERY, data=body) as response:
            await response.read()

    tasks = set()
    async with http.get(server + WATCH) as response:
        say({"reacting": time.time()})
        async for line in response.content:
            event = json.loads(line)
            if event["type"] == "ADDED":
                tasks.add(task := asyncio.create_task(post(event["object"]["metadata"]["namespace"])))
                task.add_done_callback(tasks.discard)


def say(answer: dict) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


asyncio.run(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
