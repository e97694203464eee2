"""The names of keys. All of one organization bear its hash tag, so that a Cluster keeps them together.

| key                  | type         | holds                                                        | ends            |
| -------------------- | ------------ | ------------------------------------------------------------ | --------------- |
| `qw:{o}:m`           | hash         | epoch, seq, now, rev, closed, folded, … of the organization  | never           |
| `qw:{o}:d` `:v` `:h` | hashes       | documents · revision of each · what stopped it               | with it         |
| `qw:{o}:n` `:i`      | hash, zset   | id by kind, parent, name · ids by kind, by kind and parent   | with it         |
| `qw:{o}:a`           | stream       | audit rows, by revision                                      | never           |
| `qw:{o}:k`           | hash         | digest → key, for `dump`                                     | with the key    |
| `qw:{o}:w:<u>:<k>`   | hash         | counters whose window ends at u (0: none), to be forgotten   | `k` + 1 h       |
| `qw:{o}:z`           | zset         | those hashes by k: 0 never, -1 each counter when it is empty | with the hash   |
| `qw:{o}:y`           | zset         | counters that only a claim keeps, by when it ends            | see `prune`     |
| `qw:{o}:c:<counter>` | string       | a rolling counter                                            | with its window |
| `qw:{o}:r` `:p` `:x` | hashes, zset | reservations under way · their plans · ends of their leases  | when they end   |
| `qw:{o}:e:<hour>`    | hash         | ended reservations whose ids were made in that hour          | 49 h after it   |
| `qw:{o}:u`           | stream       | records, by position                                         | see `prune`     |
| `qw:{o}:s:<b>:<c>`   | hash         | sums of a bucket and cube, by dims                           | `keep` + 1 h    |
| `qw:{o}:b` `:g`      | zsets        | those hashes by cube and bucket · by `keep`                  | with the hash   |
| `qw:{o}:o`           | hash         | events to be told                                            | when told       |
| `qw:{o}:t:<name>`    | string       | what is one's for a time (`once`)                            | then            |
| `qw:{o}:q:<process>` | string       | how often a process wrote here                               | an hour later   |
| `qw:k:<digest>`      | string       | where a key lives                                            | with the key    |
| `qw:orgs`            | zset         | the organizations                                            | never           |

What a host named stands only where nothing comes behind it, or with what would end it written as `%` and two digits.
"""

from __future__ import annotations


def encode(text: str) -> bytes:
    """Text as the server keeps it, lone surrogates included."""
    return text.encode("utf-8", "surrogatepass")


def decode(text: bytes) -> str:
    """What `encode` made of it."""
    return text.decode("utf-8", "surrogatepass")


_ENDS = "%\0:{}"


def part(text: str) -> str:
    """Text that something may stand behind: without NUL, colon and braces."""
    for char in _ENDS:
        text = text.replace(char, f"%{ord(char):02x}")
    return text


def whole(text: str) -> str:
    """What `part` made of it."""
    for char in reversed(_ENDS):
        text = text.replace(f"%{ord(char):02x}", char)
    return text


class Names:
    """The names of one organization's keys."""

    def __init__(self, prefix: str, org: str) -> None:
        self.base = encode(f"{prefix}:{{{part(org) or '%'}}}:")  # an empty tag would be none

    def __call__(self, kind: str, rest: str | None = None) -> bytes:
        """The key of a kind (one letter), or one of many of that kind."""
        return self.base + encode(kind if rest is None else f"{kind}:{rest}")

    def window(self, until: int, keep: int) -> bytes:
        """The hash of the counters of windows that end at `until` and may be forgotten at `keep` ms."""
        return self.base + window_name(until, keep)

    def rest(self, key: bytes) -> str:
        """What `rest` was of a key."""
        return decode(key[len(self.base) + 2 :])

    def pattern(self, kinds: str) -> bytes:
        """A glob of all keys of these kinds that are many."""
        literal = b"".join(
            b"\\" + bytes([char]) if char in b"*?[]\\" else bytes([char]) for char in self.base
        )
        return literal + encode(f"[{kinds}]:*")


def window_name(until: int, keep: int) -> bytes:
    """What a window's hash is called in its organization."""
    return b"w:%d:%d" % (until, keep)


def listed(kind: str, id: str, parent: str | None = None) -> bytes:
    """A document's place in the listing by kind, or by kind and parent; those of one listing sort by id."""
    where = f"k\0{part(kind)}\0" if parent is None else f"p\0{part(kind)}\0{part(parent)}\0"
    return encode(where + id)


def named(kind: str, parent: str, name: str) -> bytes:
    """The field of a document's name."""
    return encode(f"{part(kind)}\0{part(parent)}\0{name}")


def bucketed(cube: str, bucket: int) -> bytes:
    """A cube's bucket in the listing of sums; those of one cube sort by time."""
    return encode(f"{part(cube)}\0{bucket:020}")
