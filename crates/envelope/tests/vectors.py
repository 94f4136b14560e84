"""Writes vectors.json from FORMAT.md alone, with the Python package `cryptography` and none of keyfob's code.

    python vectors.py > vectors.json
"""

import json
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def number(value: int, length: int = 8) -> bytes:
    return value.to_bytes(length, "big")


def field(data: bytes) -> bytes:
    return number(len(data)) + data


def hkdf(secret: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, None, info).derive(secret)


def some(label: str, length: int) -> bytes:
    """Bytes that look random and are the same every time."""
    return sha256(label.encode()).digest()[:length]


FORMAT = b"\x01\x01"


def shared(c: dict) -> bytes:
    return FORMAT + c["store"] + number(c["version"]) + field(c["name"].encode())


def seal(c: dict, label: str) -> dict:
    key_nonce, value_nonce, data_key = some(label + " key nonce", 12), some(label + " value nonce", 12), some(label, 32)
    wrapped_aad = b"keyfob data key\0" + shared(c) + c["kek_id"]
    value_aad = b"keyfob value\0\0\0\0" + shared(c) + field(c["metadata"])
    wrapping = hkdf(c["kek"], b"keyfob/1 wrap data keys")
    wrapped = FORMAT + c["kek_id"] + key_nonce + AESGCM(wrapping).encrypt(key_nonce, data_key, wrapped_aad)
    ciphertext = value_nonce + AESGCM(data_key).encrypt(value_nonce, c["value"], value_aad)
    blob = b"keyfob-sealed\n" + b"\x01" + field(wrapped) + ciphertext
    return {
        **c,
        "data_key": data_key,
        "key_nonce": key_nonce,
        "value_nonce": value_nonce,
        "wrapped_key": wrapped,
        "ciphertext": ciphertext,
        "blob": blob,
    }


def slot_context(s: dict) -> bytes:
    return b"keyfob key slot\0\x01" + s["store"] + s["kek_id"] + field(s["source"].encode())


def raw_slot(key: bytes, s: dict) -> dict:
    s = {**s, "key": key, "source": "key:" + hkdf(key, b"keyfob/1 raw key id")[:8].hex()}
    header = b"\x01\x01"
    sealed = AESGCM(hkdf(key, b"keyfob/1 raw key wrap")).encrypt(s["nonce"], s["kek"], header + slot_context(s))
    return {**s, "wrapped": header + s["nonce"] + sealed}


def passphrase_slot(passphrase: str, cost: tuple[int, int, int], s: dict) -> dict:
    salt = some(passphrase + " salt", 16)
    memory, passes, lanes = cost
    secret = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory).derive(passphrase.encode())
    s = {**s, "passphrase": passphrase, "memory_kib": memory, "passes": passes, "lanes": lanes, "salt": salt}
    s["source"] = "passphrase:" + salt[:8].hex()
    header = b"\x01\x02" + number(memory, 4) + number(passes, 4) + number(lanes, 4) + salt
    header += hkdf(secret, b"keyfob/1 passphrase check")
    sealed = AESGCM(hkdf(secret, b"keyfob/1 passphrase wrap")).encrypt(s["nonce"], s["kek"], header + slot_context(s))
    return {**s, "wrapped": header + s["nonce"] + sealed}


def readable(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: readable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [readable(item) for item in value]
    return value


def main() -> None:
    keys = {"store": some("store", 16), "kek_id": some("kek id", 16), "kek": some("kek", 32)}
    slot = {**keys, "nonce": some("slot nonce", 12)}
    typical = {**keys, "name": "db/password", "version": 7, "metadata": b'{"tags":{}}', "value": b"correct horse"}
    values = [
        seal(typical, "typical"),
        seal({**keys, "name": "empty", "version": 1, "metadata": b"", "value": b""}, "empty"),
        seal({**keys, "name": "größe/π", "version": 2**64 - 1, "metadata": bytes(range(256)), "value": bytes(1000)}, "long"),
    ]
    # Each changes one thing of the first value and must be refused.
    refused = [
        {"why": why, **values[0], **changes}
        for why, changes in {
            "another name": {"name": "db/passwore"},
            "a version earlier": {"version": 6},
            "another store": {"store": some("other store", 16)},
            "edited metadata": {"metadata": b'{"tags":{ }'},
            "a byte moved from the name to the metadata": {"name": "db/passwor", "metadata": b'd{"tags":{}}'},
            "another key of the same id": {"kek": some("other kek", 32)},
            "the data key of another value": {"wrapped_key": values[1]["wrapped_key"]},
            "the ciphertext of another value": {"ciphertext": values[1]["ciphertext"]},
            "ciphertext cut by a byte": {"ciphertext": values[0]["ciphertext"][:-1]},
            "ciphertext longer by a byte": {"ciphertext": values[0]["ciphertext"] + b"\0"},
            "format version 2": {"wrapped_key": b"\x02" + values[0]["wrapped_key"][1:]},
            "algorithm 2": {"wrapped_key": b"\x01\x02" + values[0]["wrapped_key"][2:]},
            "no domain separation": {
                "ciphertext": values[0]["value_nonce"]
                + AESGCM(values[0]["data_key"]).encrypt(values[0]["value_nonce"], typical["value"], shared(typical)),
            },
        }.items()
    ]
    raw = raw_slot(some("raw key", 32), slot)
    other_store = {**raw, "store": some("other store", 16)}
    other_kek = {**raw, "kek_id": some("other kek id", 16)}
    least = passphrase_slot("correct horse battery staple", (19 * 1024, 2, 1), slot)
    document = {
        "values": values,
        "refused_values": refused,
        "derived": [
            {**keys, "purpose": purpose, "derived": hkdf(keys["kek"], b"keyfob/1 purpose" + keys["kek_id"] + keys["store"] + purpose.encode())}
            for purpose in ["integrity", ""]
        ],
        "raw_key_slots": [raw],
        "refused_raw_key_slots": [{"why": "another store", **other_store}, {"why": "another key id", **other_kek}],
        "passphrase_slots": [least, passphrase_slot("pässwörd 密码", (64 * 1024, 3, 4), slot)],
        "refused_passphrase_slots": [
            {"why": "a terabyte of memory", **least, "wrapped": b"\x01\x02" + number(2**30, 4) + least["wrapped"][6:]},
            {"why": "one KiB of memory", **least, "wrapped": b"\x01\x02" + number(1, 4) + least["wrapped"][6:]},
            {"why": "no pass", **least, "wrapped": least["wrapped"][:6] + number(0, 4) + least["wrapped"][10:]},
        ],
    }
    print(json.dumps(readable(document), indent=2, ensure_ascii=False))


main()
