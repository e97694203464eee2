"""Keys and ids: their form, their checksum, and how little of them is kept."""

from __future__ import annotations

import hashlib
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.errors import ConfigurationError
from quotaware.tenancy import keys

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
KINDS = ("live", "test", "admin")
PRINTABLE = string.digits + string.ascii_letters + string.punctuation + " \n\x00é"


def crc32(data: bytes) -> int:
    """CRC-32 bit by bit, from the reflected polynomial 0xEDB88320 (ISO 3309), as an independent reckoning."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def checksum(text: str) -> str:
    number = crc32(text.encode())
    return "".join(ALPHABET[number // 62**place % 62] for place in range(5, -1, -1))


def test_the_independent_reckoning_knows_the_published_check_value():
    """CRC-32 of `123456789` is 0xCBF43926."""
    assert crc32(b"123456789") == 0xCBF43926


@pytest.mark.parametrize("kind", KINDS)
def test_a_made_key_has_the_form_and_the_checksum_of_the_design(kind):
    """`qw_<kind>_`, 30 characters of 0-9A-Za-z, 6 of CRC32 over all before them, prefix included."""
    key = keys.make(kind)
    body = key.removeprefix(f"qw_{kind}_")
    assert len(body) == 36
    assert set(body) <= set(ALPHABET)
    assert key[-6:] == checksum(key[:-6])
    assert keys.well_formed(key)
    assert keys.is_ours(key)


@pytest.mark.parametrize(
    "body", ["0" * 30, "z" * 30, "0123456789ABCDEFGHIJKLMNOPQRST", "abcdefghijklmnopqrstuvwxyzABCD"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_any_body_with_its_right_checksum_is_well_formed(kind, body):
    text = f"qw_{kind}_{body}"
    assert keys.well_formed(text + checksum(text))


def test_a_small_checksum_is_padded_on_the_left_with_0():
    """Nearly one key in fourteen has a CRC32 below 62**5; its checksum still has six characters."""
    texts = (f"qw_live_{number:030d}" for number in range(10_000))
    text = next(text for text in texts if crc32(text.encode()) < 62**5)
    assert checksum(text).startswith("0")
    assert keys.well_formed(text + checksum(text))


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(KINDS), st.text(ALPHABET, min_size=30, max_size=30), st.data())
def test_any_single_character_change_is_refused(kind, body, data):
    """A CRC finds every error burst of up to 32 bits, and one character is at most 16."""
    text = f"qw_{kind}_{body}"
    key = text + checksum(text)
    place = data.draw(st.integers(0, len(key) - 1))
    other = data.draw(st.sampled_from(PRINTABLE).filter(lambda character: character != key[place]))
    assert not keys.well_formed(key[:place] + other + key[place + 1 :])


def test_a_key_cut_or_grown_or_of_another_form_is_refused():
    key = keys.make("live")
    for wrong in (
        "",
        "qw_",
        key[:-1],
        key[1:],
        key + "0",
        key + "\n",
        " " + key,
        key.upper(),
        "sk-" + key[3:],
    ):
        assert not keys.well_formed(wrong)
    other_kind = "qw_root_" + "0" * 30
    assert not keys.well_formed(other_kind + checksum(other_kind))
    assert not keys.well_formed("qw_live_" + "0" * 10_000_000)


@pytest.mark.parametrize("text", ["", "QW_live_x", "sk-proj-abc", "Bearer qw_live_x", "eyJhbGciOiJIUzI1NiJ9"])
def test_other_credentials_are_not_ours(text):
    """Only what begins with `qw_` is judged on host routes."""
    assert not keys.is_ours(text)


def test_keys_do_not_repeat_and_use_the_whole_alphabet():
    made = [keys.make("live") for _ in range(500)]
    assert len(set(made)) == 500
    assert set("".join(key[8:-6] for key in made)) == set(ALPHABET)


def test_the_digest_is_the_sha_256_in_hex():
    """SHA-256 of `abc`, from FIPS 180-2."""
    assert keys.digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert keys.digest("\ud800") == hashlib.sha256(b"\xed\xa0\x80").hexdigest()


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [("organization", "org_"), ("team", "team_"), ("project", "proj_"), ("key", "key_")],
)
def test_ids_are_a_prefix_and_twenty_characters(kind, prefix):
    first, second = keys.new_id(kind), keys.new_id(kind)
    assert first != second
    for made in (first, keys.id_of(kind, "StartupAI")):
        assert made.startswith(prefix)
        assert len(made) == len(prefix) + 20
        assert set(made.removeprefix(prefix)) <= set(ALPHABET)
        assert keys.check_id(made, "id") == made


def test_a_derived_id_is_the_same_for_everyone_with_the_same_text():
    """The last twenty base62 digits of the text's SHA-256 read as a number."""
    number = int(hashlib.sha256(b"StartupAI").hexdigest(), 16)
    digits = "".join(ALPHABET[number // 62**place % 62] for place in range(19, -1, -1))
    assert keys.id_of("organization", "StartupAI") == f"org_{digits}"
    assert keys.id_of("organization", "StartupAI") != keys.id_of("organization", "startupai")


@pytest.mark.parametrize("text", ["team_ml_001", "org_startup_ai", "proj_production", "a", "-", "9" * 64])
def test_ids_that_existing_clients_say_are_taken(text):
    assert keys.check_id(text, "id") == text


@pytest.mark.parametrize(
    "text", ["", "A", "a" * 65, "a b", "a/b", "ä", "{a}", "a\n", "org_ABC", "user_" + "A" * 20, 7, None, b"a"]
)
def test_other_ids_are_refused_naming_the_field(text):
    with pytest.raises(ConfigurationError) as caught:
        keys.check_id(text, "project_id")
    assert caught.value.field == "project_id"
