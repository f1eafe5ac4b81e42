"""Which file system a directory is on, as the kernel says: some of them cannot keep what a lock or an fsync promises.

On a network file system a lock may be local to one machine, or be lost with the connection while its owner still
believes in it; an fsync may end in another machine's cache; and a file in use may become stale. Neither
SQLite's log nor an election by compare-and-set survives that, so such directories are refused.
"""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc/self")
"""Where the kernel describes this process."""

NETWORK_TYPES = frozenset(
    "nfs nfs4 cifs smb3 smbfs ncpfs ncp 9p afs coda ceph lustre gpfs beegfs orangefs pvfs2 glusterfs davfs "
    "vboxsf prl_fs vmhgfs fuse.sshfs fuse.glusterfs fuse.ceph fuse.ceph-fuse fuse.s3fs fuse.gcsfuse fuse.goofys "
    "fuse.rclone fuse.davfs fuse.davfs2 fuse.smbnetfs fuse.curlftpfs fuse.juicefs fuse.moosefs fuse.mfs "
    "fuse.vmhgfs-fuse fuse.grpcfuse fuse.osxfs fuse.blobfuse fuse.blobfuse2 fuse.afpfs".split()
)
"""As they are named in ``mountinfo``: file systems of other machines, and folders that a host shares with its guests."""


def file_system(directory: Path) -> str | None:
    """The type of the file system that an existing directory is on. None: the kernel does not tell."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            facts = (PROC / "fdinfo" / str(fd)).read_text()
        finally:
            os.close(fd)
        number = next(line.split()[1] for line in facts.splitlines() if line.startswith("mnt_id:"))
        for line in (PROC / "mountinfo").read_text(errors="replace").splitlines():
            if line.split(" ", 1)[0] == number:
                return line.partition(" - ")[2].split(" ", 1)[0] or None
    except (OSError, StopIteration, IndexError):
        pass  # Another operating system, or no /proc: nothing is known, and nothing is refused.
    return None


def refusal(directory: Path) -> str | None:
    """Why this directory cannot keep a store or a record. None: it can."""
    found = file_system(directory)
    if found not in NETWORK_TYPES:
        return None
    return (
        f"{directory} is on a network file system ({found}): its locks may be lost while they are held, and what "
        "was synced may be too. Use a directory on a disk of this machine"
    )
