"""Writes vectors.json from FORMAT.md alone, with the Python package `cryptography` and none of keyfob's code.

    python vectors.py > vectors.json
    python vectors.py KEY-FILE SNAPSHOT    # reads a snapshot of keyfob, and the files that it builds on beside it
"""

import base64
import json
import sys
import zlib
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC = b"keyfob-snapshot\n\x01"
FORMAT = b"\x01\x01"


def number(value: int, length: int = 8) -> bytes:
    return value.to_bytes(length, "big")


def field(data: bytes) -> bytes:
    return number(len(data)) + data


def hkdf(secret: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, None, info).derive(secret)


def some(label: str, length: int) -> bytes:
    """Bytes that look random and are the same every time."""
    return sha256(label.encode()).digest()[:length]


# keyfob-envelope


def associated(store: bytes, name: str, version: int, metadata: bytes, kek_id: bytes) -> tuple[bytes, bytes]:
    identity = FORMAT + store + number(version) + field(name.encode())
    return b"keyfob data key\0" + identity + kek_id, b"keyfob value\0\0\0\0" + identity + field(metadata)


def seal(kek: dict, store: bytes, name: str, version: int, metadata: bytes, value: bytes) -> bytes:
    label = f"{store.hex()} {name} {version}"
    key_nonce, value_nonce, data_key = some(label + " key nonce", 12), some(label + " value nonce", 12), some(label, 32)
    of_key, of_value = associated(store, name, version, metadata, kek["id"])
    wrapping = hkdf(kek["key"], b"keyfob/1 wrap data keys")
    wrapped = FORMAT + kek["id"] + key_nonce + AESGCM(wrapping).encrypt(key_nonce, data_key, of_key)
    return wrapped + value_nonce + AESGCM(data_key).encrypt(value_nonce, value, of_value)


def unseal(kek: dict, store: bytes, name: str, version: int, metadata: bytes, sealed: bytes) -> bytes:
    of_key, of_value = associated(store, name, version, metadata, kek["id"])
    wrapped, ciphertext = sealed[:78], sealed[78:]
    assert wrapped[:18] == FORMAT + kek["id"]
    data_key = AESGCM(hkdf(kek["key"], b"keyfob/1 wrap data keys")).decrypt(wrapped[18:30], wrapped[30:], of_key)
    return AESGCM(data_key).decrypt(ciphertext[:12], ciphertext[12:], of_value)


def slot_context(store: bytes, kek_id: bytes, source: str) -> bytes:
    return b"keyfob key slot\0\x01" + store + kek_id + field(source.encode())


def raw_slot(raw_key: bytes, kek: dict, store: bytes) -> dict:
    source = "key:" + hkdf(raw_key, b"keyfob/1 raw key id")[:8].hex()
    nonce, header = some("slot " + store.hex(), 12), b"\x01\x01"
    context = header + slot_context(store, kek["id"], source)
    sealed = AESGCM(hkdf(raw_key, b"keyfob/1 raw key wrap")).encrypt(nonce, kek["key"], context)
    return {"key": kek["id"].hex(), "source": source, "wrapped": base64.b64encode(header + nonce + sealed).decode()}


def unlock(raw_key: bytes, slot: dict, store: bytes) -> dict:
    wrapped, kek_id = base64.b64decode(slot["wrapped"]), bytes.fromhex(slot["key"])
    context = wrapped[:2] + slot_context(store, kek_id, slot["source"])
    key = AESGCM(hkdf(raw_key, b"keyfob/1 raw key wrap")).decrypt(wrapped[2:14], wrapped[14:], context)
    return {"id": kek_id, "key": key}


# The snapshot


def chain_key(kek: dict, snapshot: bytes) -> bytes:
    return hkdf(kek["key"], b"keyfob/1 purpose" + kek["id"] + snapshot + b"keyfob snapshot bases")


def pack(piece: bytes, deflates: bool) -> bytes:
    if not deflates:
        return b"\0" + number(len(piece), 4) + piece
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = compressor.compress(piece) + compressor.flush()
    return b"\1" + number(len(piece), 4) + number(len(stream), 4) + stream


def unpack(data: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(data[1:5], "big")
    if data[0] == 0:
        return data[5 : 5 + length], data[5 + length :]
    packed = int.from_bytes(data[5:9], "big")
    piece = zlib.decompress(data[9 : 9 + packed], -15)
    assert data[0] == 1 and len(piece) == length
    return piece, data[9 + packed :]


def compact(value: dict) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def details(secret: dict) -> bytes:
    return compact({key: secret[key] for key in ("description", "tags") if key in secret})


def secret_digest(secret: dict) -> bytes:
    fields = field(secret["name"].encode()) + field(details(secret)) + field(secret["value"])
    return sha256(b"keyfob snapshot secret\0" + fields).digest()


def assemble(header: bytes, blocks: list[bytes], index: bytes, manifest: bytes) -> bytes:
    body = header + b"".join(blocks) + index + manifest + number(len(index)) + number(len(manifest))
    return body + sha256(body).digest()


class Snapshot:
    """Everything of a snapshot, so that single things can be changed before it is put together."""

    def __init__(self, label: str, secrets: list[dict], raw_key: bytes, base: "Snapshot | None" = None):
        self.id = some(label + " id", 16)
        self.kek = {"id": some(label + " kek id", 16), "key": some(label + " kek", 32)}
        self.header = MAGIC + self.id
        self.secrets, self.blocks, self.locations = secrets, [], []
        self.manifest = {
            "id": self.id.hex(),
            "begun": "2026-11-30T12:00:00Z",
            "finished": "2026-11-30T12:00:01.123456789Z",
            "store": "memory",
            "location": "this process",
            "prefix": "",
            "keeps": ["description", "tags", "expiry"],
            "whole": True,
            "note": "a vector",
            "slots": [raw_slot(raw_key, self.kek, self.id)],
            "blocks": [],
            "secrets": [],
        }
        if base:
            slot = raw_slot(chain_key(self.kek, self.id), base.kek, base.id)
            self.manifest["bases"] = [{"id": base.id.hex(), "digest": base.file()[-32:].hex(), "slot": slot}]
        known = {secret_digest(secret): at for secret, at in zip(base.secrets, base.locations)} if base else {}
        block = b""
        for secret in secrets:
            entry = {key: secret[key] for key in ("name", "version", "created", "updated", "expires") if key in secret}
            digest = secret_digest(secret)
            if digest in known:
                self.locations.append(known[digest])
                entry["base"] = 0
            else:
                packed = pack(details(secret), False) + pack(secret["value"], len(secret["value"]) >= 64)
                if block and len(block) + len(packed) > 4096:
                    self.blocks.append(block)
                    block = b""
                place = [len(self.blocks), len(block), len(packed)]
                self.locations.append(b"".join(number(item, 4) for item in place) + digest)
                block += packed
            self.manifest["secrets"].append(entry)
        if block:
            self.blocks.append(block)

    def sealed_blocks(self) -> list[bytes]:
        padded = [block + bytes(-len(block) % 4096) for block in self.blocks]
        return [seal(self.kek, self.id, "keyfob snapshot block", at, b"", block) for at, block in enumerate(padded)]

    def file(self, blocks: list[bytes] | None = None, manifest: dict | None = None, index_of: dict | None = None) -> bytes:
        """`manifest` is what stands in the file, `index_of` what the index was made for."""
        blocks = blocks if blocks is not None else self.sealed_blocks()
        lengths = {"blocks": [len(block) for block in blocks]}
        stands = pack(compact({**(manifest or self.manifest), **lengths}), True)
        proven = pack(compact({**(index_of or manifest or self.manifest), **lengths}), True)
        index = seal(self.kek, self.id, "keyfob snapshot index", 0, self.header + proven, b"".join(self.locations))
        return assemble(self.header, blocks, index, stands)


def renamed(manifest: dict, position: int, **changes) -> dict:
    secrets = [dict(secret) for secret in manifest["secrets"]]
    secrets[position].update(changes)
    return {**manifest, "secrets": secrets}


def refused(alone: Snapshot, other: Snapshot) -> dict[str, bytes]:
    """Each changes one thing of the first snapshot, with a digest of the file that fits."""
    blocks, manifest = alone.sealed_blocks(), alone.manifest
    wrong_digest = Snapshot("alone", alone.secrets, some("raw key", 32))
    wrong_digest.locations[0] = wrong_digest.locations[0][:12] + some("another", 32)
    outside = Snapshot("alone", alone.secrets, some("raw key", 32))
    outside.locations[0] = number(0, 4) + number(2**32 - 1, 4) + outside.locations[0][8:]
    no_block = Snapshot("alone", alone.secrets, some("raw key", 32))
    no_block.locations[0] = number(9, 4) + no_block.locations[0][4:]
    fewer = Snapshot("alone", alone.secrets, some("raw key", 32))
    fewer.locations.pop()
    file = alone.file()
    return {
        "a name in the manifest is another": alone.file(manifest=renamed(manifest, 0, name="a/other"), index_of=manifest),
        "a name is another, and the index was made for it": alone.file(manifest=renamed(manifest, 0, name="a/other")),
        "an expiry in the manifest is later": alone.file(manifest=renamed(manifest, 0, expires="2099-01-01T00:00:00Z"), index_of=manifest),
        "a block of another snapshot": alone.file(blocks=[other.sealed_blocks()[0], *blocks[1:]]),
        "two blocks in each other's place": alone.file(blocks=[blocks[1], blocks[0], *blocks[2:]]),
        "the digest of a secret is another": wrong_digest.file(),
        "a secret lies outside of its block": outside.file(),
        "a secret lies in no block": no_block.file(),
        "the index has one secret less": fewer.file(),
        "names out of order": alone.file(manifest={**manifest, "secrets": manifest["secrets"][::-1]}),
        "a name twice": alone.file(manifest={**manifest, "secrets": [manifest["secrets"][0], *manifest["secrets"]]}),
        "a key of the manifest that is not known": alone.file(manifest={**manifest, "colour": "blue"}),
        "a value in a base that is not named": alone.file(manifest=renamed(manifest, 0, base=0)),
        "format version 2": (lambda body: body + sha256(body).digest())(file[:16] + b"\x02" + file[17:-32]),
        "another digest of the file": file[:-1] + bytes([file[-1] ^ 1]),
    }


def read(raw_key: bytes, path: Path) -> list[dict]:
    """Everything that FORMAT.md says under Reading."""

    def opened(file: bytes, kek: dict | None) -> tuple[dict, dict, list[bytes], bytes]:
        assert file[:17] == MAGIC and sha256(file[:-32]).digest() == file[-32:]
        index, manifest = int.from_bytes(file[-48:-40], "big"), int.from_bytes(file[-40:-32], "big")
        packed = file[-48 - manifest : -48]
        document, rest = unpack(packed)
        document = json.loads(document)
        assert not rest and document["id"] == file[17:33].hex()
        kek = kek or unlock(raw_key, document["slots"][0], file[17:33])
        place, blocks = 33, []
        for at, length in enumerate(document["blocks"]):
            blocks.append(unseal(kek, file[17:33], "keyfob snapshot block", at, b"", file[place : place + length]))
            assert len(blocks[-1]) % 4096 == 0
            place += length
        assert place + index + manifest + 48 == len(file)
        sealed = file[place : place + index]
        return document, kek, blocks, unseal(kek, file[17:33], "keyfob snapshot index", 0, file[:33] + packed, sealed)

    file = path.read_bytes()
    document, kek, own, index = opened(file, None)
    assert len(index) == 44 * len(document["secrets"])
    bases = []
    for base in document.get("bases", []):
        base_file = path.with_name(base["id"] + ".snapshot").read_bytes()
        assert base_file[-32:].hex() == base["digest"] and base_file[17:33].hex() == base["id"]
        base_kek = unlock(chain_key(kek, file[17:33]), base["slot"], base_file[17:33])
        bases.append(opened(base_file, base_kek)[2])
    secrets = []
    for at, entry in enumerate(document["secrets"]):
        location = index[44 * at : 44 * at + 44]
        block, offset, length = (int.from_bytes(location[i : i + 4], "big") for i in (0, 4, 8))
        blocks = bases[entry["base"]] if "base" in entry else own
        found, rest = unpack(blocks[block][offset : offset + length])
        value, rest = unpack(rest)
        secret = {**entry, **json.loads(found), "value": value}
        assert not rest and secret_digest(secret) == location[12:]
        secrets.append(secret)
    return secrets


def readable(value):
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {key: readable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [readable(item) for item in value]
    return value


def main() -> None:
    raw_key = some("raw key", 32)
    password = {
        "name": "db/password",
        "version": "7",
        "created": "2026-01-02T03:04:05Z",
        "updated": "2026-01-02T03:04:05.5Z",
        "expires": "2036-01-02T03:04:05.000000001Z",
        "description": "of the shop",
        "tags": {"größe": "π", "team": "payments"},
        "value": b"correct horse",
    }
    empty = {"name": "empty", "version": "1", "value": b""}
    large = {"name": "large", "value": b"".join(some(str(at), 32) for at in range(125)) + b"!"}
    text = {"name": "text", "value": b"battery staple " * 40}
    secrets = [password, empty, large, text]
    alone = Snapshot("alone", secrets, raw_key)
    child = Snapshot("child", [{**password, "value": b"incorrect horse"}, {**empty, "version": "2"}, large, text], raw_key, alone)
    other = Snapshot("other", secrets, raw_key)
    document = {
        "key": raw_key,
        "snapshots": [{"id": snapshot.id, "file": snapshot.file(), "secrets": snapshot.secrets} for snapshot in (alone, child)],
        "refused": [{"why": why, "file": file} for why, file in refused(alone, other).items()],
    }
    print(json.dumps(readable(document), indent=1, ensure_ascii=False))


def show(key_file: str, snapshot: str) -> None:
    for secret in read(base64.b64decode(Path(key_file).read_text()), Path(snapshot)):
        print(json.dumps(readable({**secret, "value": sha256(secret["value"]).digest()}), ensure_ascii=False))


show(*sys.argv[1:]) if len(sys.argv) > 1 else main()
