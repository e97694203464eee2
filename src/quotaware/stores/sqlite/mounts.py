"""Whether a path lies on a network file system, where SQLite's locks and shared memory cannot be relied on."""

from __future__ import annotations

import os
from pathlib import Path

_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb2",
    "smb3",
    "smbfs",
    "ncpfs",
    "afs",
    "ceph",
    "lustre",
    "gpfs",
    "beegfs",
    "9p",
}
_FUSE = {"sshfs", "glusterfs", "ceph", "s3fs", "rclone", "davfs2", "gcsfuse", "smbnetfs"}
NETWORK = frozenset(_NETWORK | {f"fuse.{name}" for name in _FUSE})
"""Types of file systems whose locks go over a network, or do not hold."""
MOUNTS = Path("/proc/mounts")


def network_type(path: str, mounts: str | None = None) -> str | None:
    """The type of the network file system that a path lies on; None on a local one, or where that cannot be told.

    `mounts` is a list as /proc/mounts has it (proc(5), fstab(5)); the system's where it is not given.
    """
    if mounts is None:
        try:
            mounts = MOUNTS.read_text(errors="replace")
        except OSError:
            return None
    found, length = "", -1
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 2:
            place = _unescaped(fields[1])
            if len(place) >= length and _within(path, place):  # of two on one place the later one is on top
                found, length = fields[2], len(place)
    return found if found in NETWORK else None


def _within(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + os.sep)


def _unescaped(field: str) -> str:
    for code, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        field = field.replace(code, character)
    return field
