"""Mask secrets in a text, in whatever encoding an error message quotes them.

A password reaches a message as it is, percent-encoded in a URL, escaped in JSON, Python, a shell or HTML, or as base64
in a header. Every character is looked for in each of its spellings, so that a mixture of them is found as well.
"""

import base64
import re
from collections.abc import Iterable
from html.entities import codepoint2name

MASK = "***"
#: Shorter ones are no secrets, and would mask parts of ordinary words.
SHORTEST = 4
#: Characters of base64 below which a coincidence is likely.
SHORTEST_BASE64 = 6
_ESCAPES = {"\t": "t", "\n": "n", "\r": "r", "\b": "b", "\f": "f"}


def masked(text: str, secrets: Iterable[str]) -> str:
    """The text with every spelling of the secrets replaced; a secret of several lines also line by line."""
    patterns: set[str] = set()
    for secret in secrets:
        for part in {secret, *secret.splitlines()}:
            if len(part.strip()) >= SHORTEST:
                patterns.update(_patterns(part))
    for pattern in sorted(patterns, key=len, reverse=True):  # a secret that holds another one goes first
        text = re.sub(pattern, MASK, text)
    return text


def _patterns(secret: str) -> list[str]:
    octets = secret.encode()
    return ["".join(map(_character, secret)), f"(?i:{octets.hex()})", *map(re.escape, _base64(octets))]


def _character(one: str) -> str:
    """All spellings of a character, as a regular expression."""
    point, octets = ord(one), one.encode()
    percent = "".join(f"%(?:25)*{octet:02x}" for octet in octets)  # a URL within a URL is encoded twice
    hexadecimal = "".join(rf"\\+x{octet:02x}" for octet in octets)
    octal = "".join(rf"\\+{octet:03o}" for octet in octets)
    utf16 = one.encode("utf-16-be")
    unicode = "".join(rf"\\+u{utf16[i : i + 2].hex()}" for i in range(0, len(utf16), 2))
    spellings = [
        rf"(?i:{percent}|{hexadecimal}|{unicode}|\\+u\{{0*{point:x}\}}|\\+U{point:08x}|&(?:amp;)*\#x0*{point:x};)",
        rf"\\+x{point:02x}" if point < 256 else "(?!)",
        octal,
        rf"&(?:amp;)*\#0*{point};",
        rf"\\*{re.escape(one)}",
    ]
    if point in codepoint2name:
        spellings.append(f"&(?:amp;)*{codepoint2name[point]};")
    if one in _ESCAPES:
        spellings.append(rf"\\+{_ESCAPES[one]}")
    if one in "'\"":
        spellings.append(f"{one}{one}")  # SQL, CSV
        spellings.append("&(?:amp;)*apos;" if one == "'" else "(?!)")
        spellings.append(r"'(?:\\'|\"'\")'" if one == "'" else "(?!)")  # a shell
    if one == " ":
        spellings.append(r"\+")
    if one == "&":
        spellings.append("&(?:amp;)+")
    return f"(?:{'|'.join(sorted(spellings, key=len, reverse=True))})"


def _base64(octets: bytes) -> list[str]:
    """The secret within base64 of more, such as `user:password`: what does not depend on its neighbours."""
    found = set()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + octets)
        first = -(-before * 8 // 6)
        last = (before + len(octets)) * 8 // 6
        core = encoded[first:last].decode()
        if len(core) >= SHORTEST_BASE64:
            found |= {core, core.replace("+", "-").replace("/", "_")}
    return sorted(found)
