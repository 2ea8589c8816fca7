"""Addresses of the internet protocol, version 4 and 6."""

from __future__ import annotations

import ipaddress
import re

from llmos.safety.pii.base import Detector, Finding, before, detector

_VERSION = re.compile(
    r"(?:\bv|\bver(?:sion|s)?|\brelease|\bbuild|\bfirmware|\bkernel|\bsection|\bsec|\bchapter|\bclause|\btable|\bfigure|\boid|§|版本|版|第|章节)"
    r"[a-z ]{0,10}[.:：= ]*$",
    re.IGNORECASE,
)
_HOST = re.compile(
    r"://|@|\bips?\b|ipv4|\baddr|\bhost|\bserver|\bdns\b|\bping\b|\binet\b|\bfrom\b|\breceived|地址|服务器|主机", re.IGNORECASE
)
SMALL = 64


@detector("ip_address")
class IpAddress(Detector):
    """Public ones only, unless private ones are asked for (`ipaddress.is_global`: the registries of IANA). Four numbers after
    "version", with a leading zero, inside a longer dotted number, or as the number of a heading are none. Where all four are small
    and nothing around speaks of hosts they are more often a version or a section: 0.4."""

    pattern = (
        r"\b[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\b"
        r"|\b(?:[23][0-9A-Fa-f]{3}|[fF][cCdDeE][0-9A-Fa-f]{2}):[0-9A-Fa-f:.]*[0-9A-Fa-f:]|::1\b"
    )
    rank = 55

    def check(self, text: str, start: int, end: int) -> Finding | None:
        value = text[start:end]
        if ":" in value and not value.endswith("::") and value.endswith(":"):
            end, value = end - 1, value[:-1]
        if _joined(text, start, end):
            return None
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return None
        if not address.is_global and not self.options.private_ips:
            return None
        if address.version == 6:
            return self.found(start, end, 0.95)
        if before(text, start, _VERSION, 24) or _heading(text, start, address):
            return None
        small = max(address.packed) < SMALL and not before(text, start, _HOST)
        return self.found(start, end, 0.4 if small else 0.85)

    def canonical(self, value: str) -> str:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            return value


def _joined(text: str, start: int, end: int) -> bool:
    """Whether the number goes on before or after: 1.3.6.1.4.1, 1.2.3.4-beta, x_1.2.3.4."""
    previous, after = text[max(0, start - 2) : start], text[end : end + 2]
    if previous[-1:] in ("-", "_", ":") or (previous[-1:] == "." and previous[:1].isalnum()):
        return not (previous[-1:] == ":" and not previous[:1].isdigit())
    return len(after) == 2 and (after[0] in "-_" or after[0] == ".") and after[1].isalnum()


def _heading(text: str, start: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Small numbers that begin a line are those of a section."""
    line = text.rfind("\n", 0, start) + 1
    return all(one < 32 for one in address.packed) and not text[line:start].strip(" \t#*")
