"""Names and headers of the segments of PostgreSQL's log, 16 MB each."""

from __future__ import annotations

import re
import struct

SEGMENT = re.compile(r"[0-9A-F]{24}")
ARCHIVED = re.compile(r"[0-9A-F]{8}\.history|[0-9A-F]{24}(\.[0-9A-F]{8}\.backup|\.partial)?")


def following(segment: str, count: int = 1) -> str:
    """The name of a later segment of the same timeline, for segments of 16 MB: 256 of them share a middle part."""
    number = (int(segment[8:16], 16) << 8) + int(segment[16:24], 16) + count
    return f"{segment[:8]}{number >> 8:08X}{number & 0xFF:08X}"


def holding(position: str, timeline: str) -> str:
    """The name of the segment that a position such as 0/15B3ACC0 is in, on a timeline of 8 digits."""
    high, low = (int(part, 16) for part in position.split("/"))
    return following(f"{timeline}{0:016X}", (high << 32 | low) >> 24)


def cluster_of(segment: bytes) -> str:
    """The system identifier in the header of a segment (XLogLongPageHeaderData, src/include/access/xlog_internal.h)."""
    return str(struct.unpack_from("=Q", segment, 24)[0])
