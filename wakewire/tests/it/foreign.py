"""A producer of wakewire/1 that follows docs/wire-protocol.md and nothing else; Python's standard library only.

    python3 foreign.py unix:///path SERVICE TEXT...
    python3 foreign.py tcp://host:port SERVICE TEXT...

Sends each text as one message, waits until the last one is acknowledged, says goodbye, prints what was acknowledged.
"""

import os
import socket
import struct
import sys

HELLO, WELCOME, REJECT, DATA, ACK, PING, PONG, CLOSE = 1, 2, 3, 4, 5, 10, 11, 12
CHECKSUM = 1 << 3
NORMAL = 1


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def cbor(value):
    """Encodes the few types that the maps have."""
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())


def head(major, number):
    if number < 24:
        return bytes([major << 5 | number])
    for code, form, bits in ((24, ">B", 8), (25, ">H", 16), (26, ">I", 32), (27, ">Q", 64)):
        if number < 1 << bits:
            return bytes([major << 5 | code]) + struct.pack(form, number)
    raise ValueError(number)


def uncbor(data, at=0):
    """Decodes one value; returns it and where it ends."""
    major, number, at = data[at] >> 5, data[at] & 31, at + 1
    if major == 7:
        return {20: False, 21: True, 22: None}[number], at
    if number >= 24:
        size = 1 << number - 24
        number, at = int.from_bytes(data[at:at + size], "big"), at + size
    if major == 0:
        return number, at
    if major in (2, 3):
        value = data[at:at + number]
        return (value.decode() if major == 3 else value), at + number
    if major == 5:
        result = {}
        for _ in range(number):
            key, at = uncbor(data, at)
            result[key], at = uncbor(data, at)
        return result, at
    raise ValueError(f"major type {major}")


class Peer:
    def __init__(self, endpoint):
        scheme, place = endpoint.split("://", 1)
        self.checksummed = scheme == "tcp"
        if scheme == "unix":
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(30)
            self.socket.connect(place)
        else:
            host, port = place.rsplit(":", 1)
            self.socket = socket.create_connection((host, int(port)), timeout=30)

    def send(self, kind, body=b"", flags=0, message_type=0, sequence=0):
        if self.checksummed:
            flags |= CHECKSUM
        start = struct.pack("<IBBHQQ", len(body), kind, flags, message_type, sequence, 0)
        checksum = crc32c(start + bytes(8) + body) if self.checksummed else 0
        self.socket.sendall(start + struct.pack("<II", 0, checksum) + body)

    def read(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise SystemExit("the peer closed the connection")
            data += part
        return data

    def receive(self):
        header = self.read(32)
        length, kind, flags, _, sequence, _, _, checksum = struct.unpack("<IBBHQQII", header)
        body = self.read(length)
        if self.checksummed:
            assert flags & CHECKSUM, "a frame without checksum over TCP"
            origin = crc32c(header[24:28]) ^ crc32c(bytes(4))
            assert checksum == crc32c(header[:24] + bytes(8) + body) ^ origin, "the checksum does not match"
        return kind, sequence, body


def main(endpoint, service, *texts):
    assert crc32c(b"123456789") == 0xE3069283
    peer = Peer(endpoint)
    limits = {0: 4096, 1: 0, 2: 5000}
    producer = {0: os.urandom(16), 1: 1, 2: False}
    peer.send(HELLO, cbor({0: 1, 1: 1, 2: service, 3: limits, 4: producer}))
    kind, _, body = peer.receive()
    answer, _ = uncbor(body)
    if kind != WELCOME:
        raise SystemExit(f"refused with code {answer[0]}: {answer[1]}")
    acked, have = answer[2], answer[3]
    for sequence, text in enumerate(texts, 1):
        if sequence > max(acked, have):
            peer.send(DATA, text.encode(), flags=NORMAL, message_type=7, sequence=sequence)
    while acked < len(texts):
        kind, sequence, body = peer.receive()
        if kind == ACK:
            assert sequence <= len(texts), "more was acknowledged than was sent"
            acked = max(acked, sequence)
        elif kind == PING:
            peer.send(PONG)
        elif kind == CLOSE:
            raise SystemExit(f"the peer left: {uncbor(body)[0][1]}")
    peer.send(CLOSE, cbor({0: 0, 1: "done", 2: 0}))
    peer.socket.shutdown(socket.SHUT_WR)
    print(acked)


if __name__ == "__main__":
    main(*sys.argv[1:])
