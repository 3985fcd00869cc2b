"""A WebSocket server that has never heard of wakewire, by the library `websockets`.

    python3 server.py collect COUNT
    python3 server.py feed TEXT...

Prints the port that it listens at. `collect` prints COUNT messages of one connection in hexadecimal digits, asks for a
pong, and closes the connection; `feed` sends each text, every other one as a binary message, asks for a pong, and waits
for the other side to go.
"""

import asyncio
import sys

from websockets.asyncio.server import serve

what, words = sys.argv[1], sys.argv[2:]
done = asyncio.Event()


async def pong(socket):
    await asyncio.wait_for(await socket.ping(), 20)
    print("pong", flush=True)


async def collect(socket):
    for _ in range(int(words[0])):
        message = await socket.recv()
        assert isinstance(message, bytes), message
        print(message.hex(), flush=True)
        # Nobody asked for it: it is dropped.
        await socket.send("thank you")
    await pong(socket)


async def feed(socket):
    for at, text in enumerate(words):
        await socket.send(text if at % 2 == 0 else text.encode())
    await pong(socket)
    await socket.wait_closed()


async def handle(socket):
    assert not socket.protocol.extensions, "no extension was to be agreed upon"
    try:
        await (collect if what == "collect" else feed)(socket)
    finally:
        done.set()


async def main():
    async with serve(handle, "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await done.wait()


asyncio.run(main())
