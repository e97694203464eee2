"""Whatever headers a request has, one key is found in them, or one clear error says why not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quotaware import ApiError
from quotaware.inbound.credentials import only_credential, our_credential, repeated, tokens
from quotaware.tenancy import keys

ONE, OTHER = "qw_live_000000000000000000000000000000", "qw_admin_000000000000000000000000000001"
ONE, OTHER = (text + keys._checksum(text) for text in (ONE, OTHER))

names = st.sampled_from([b"authorization", b"Authorization", b"x-api-key", b"X-API-Key", b"cookie"])
values = st.binary(max_size=600) | st.builds(
    lambda scheme, gap, key, end: scheme + gap + key + end,
    st.sampled_from([b"Bearer", b"bEARER", b"Basic", b"", b"Bearer Bearer"]),
    st.sampled_from([b" ", b"\t ", b"", b"  "]),
    st.sampled_from([ONE.encode(), OTHER.encode(), b"qw_nonsense", b"eyJ.x.y", b""]),
    st.sampled_from([b"", b" ", b"\t", b"\0", b", x"]),
)
headers = st.lists(st.tuples(names, values), max_size=4)


def said(value: bytes, carrier: bytes) -> str | None:
    """What a header says, read the slow way."""
    text = value.decode("latin-1").strip(" \t")
    if carrier == b"x-api-key":
        return text
    scheme, rest = text[:6], text[6:]
    return rest.lstrip(" \t") if scheme.lower() == "bearer" and rest[:1] in {" ", "\t"} else None


def judged(found: list[tuple[bytes, bytes]], *, all_of_them: bool) -> str | int | None:
    """The key, the status of the refusal, or None: by the contract's words."""
    carried = [(n.lower(), said(v, n.lower())) for n, v in found if n.lower() != b"cookie"]
    if not all_of_them:
        carried = [(name, text) for name, text in carried if text is not None and text.startswith("qw_")]
        if not carried:
            return None
    if len({name for name, _ in carried}) < len(carried) or len({text or "" for _, text in carried}) > 1:
        return 400
    text = carried[0][1] if carried else None
    return text if text in {ONE, OTHER} else 401


def outcome(work: object, found: list[tuple[bytes, bytes]]) -> str | int | None:
    try:
        return work(found)  # type: ignore[operator]
    except ApiError as error:
        return error.status


@given(headers)
def test_what_is_found_is_what_the_contract_says(found: list[tuple[bytes, bytes]]) -> None:
    assert outcome(only_credential, found) == judged(found, all_of_them=True)
    assert outcome(our_credential, found) == judged(found, all_of_them=False)


@given(headers)
def test_a_header_that_is_there_twice_is_seen(found: list[tuple[bytes, bytes]]) -> None:
    carriers = [name.lower() for name, _ in found if name.lower() != b"cookie"]
    assert repeated(found) == (len(set(carriers)) < len(carriers))
    assert tokens(found) == any(said(v, n.lower()) is not None for n, v in found if n.lower() != b"cookie")


def test_only_the_beginning_of_an_endless_header_is_looked_at() -> None:
    """Two that begin alike for longer than any key are no good either way."""
    long = b"qw_live_" + b"a" * 100_000
    assert outcome(only_credential, [(b"x-api-key", long)]) == 401
    assert (
        outcome(our_credential, [(b"x-api-key", long), (b"authorization", b"Bearer " + long + b"b")]) == 400
    )
