"""A WebSocket client that has never heard of wakewire, by the library `websockets`.

    python3 client.py produce URL [--ca FILE] [--basic USER:PASSWORD] [--idle SECONDS] TEXT...
    python3 client.py consume URL COUNT [--ca FILE] [--basic USER:PASSWORD]

`produce` sends each text, every other one as a binary message, asks for a pong after each, and says goodbye; `consume`
prints COUNT messages in hexadecimal digits as they come. A goodbye of the other side is printed with its code.
"""

import argparse
import asyncio
import base64
import ssl

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

parser = argparse.ArgumentParser()
parser.add_argument("role", choices=["produce", "consume"])
parser.add_argument("url")
parser.add_argument("words", nargs="*")
parser.add_argument("--ca")
parser.add_argument("--basic")
parser.add_argument("--idle", type=float, default=0)


def options(given):
    options = {"open_timeout": 20, "close_timeout": 20}
    if given.ca:
        options["ssl"] = ssl.create_default_context(cafile=given.ca)
    if given.basic:
        basic = base64.b64encode(given.basic.encode()).decode()
        options["additional_headers"] = {"Authorization": f"Basic {basic}"}
    return options


async def produce(socket, given):
    for at, text in enumerate(given.words):
        await socket.send(text if at % 2 == 0 else text.encode())
        pong = await socket.ping()
        await asyncio.wait_for(pong, 20)
        print("pong", flush=True)
        await asyncio.sleep(given.idle)


async def consume(socket, given):
    for _ in range(int(given.words[0])):
        message = await socket.recv()
        print((message if isinstance(message, bytes) else message.encode()).hex(), flush=True)


async def main():
    given = parser.parse_intermixed_args()
    async with connect(given.url, **options(given)) as socket:
        assert not socket.protocol.extensions, "no extension was to be agreed upon"
        try:
            await (produce if given.role == "produce" else consume)(socket, given)
        except ConnectionClosed as closed:
            print("closed", closed.rcvd.code if closed.rcvd else None, flush=True)


asyncio.run(main())
