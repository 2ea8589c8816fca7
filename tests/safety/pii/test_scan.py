"""Personal data in sentences that were labelled by hand, in generated numbers, and in real mails whose headers are the truth."""

from __future__ import annotations

import ipaddress
import random
import re
import resource
from email.parser import HeaderParser
from email.utils import parseaddr

import phonenumbers
import pytest

from llmos.errors import InvalidValue, NotFound
from llmos.safety.pii.base import Finding, Options
from llmos.safety.pii.scan import Scanner, kinds
from tests.data.mails import mails
from tests.safety.pii.labelled import cards, chinese_ids, ibans, sentences, spans_of


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    return Scanner()


@pytest.mark.parametrize(("text", "wanted"), sentences(), ids=[text[:40] for text, _ in sentences()])
def test_each_labelled_sentence_gives_its_findings_and_no_other(
    scanner: Scanner, text: str, wanted: set[tuple[str, int, int]]
) -> None:
    assert spans_of(scanner.find(text)) == wanted


def test_all_sentences_at_once_give_the_same_as_one_by_one(scanner: Scanner) -> None:
    texts = [text for text, _ in sentences()]
    assert scanner.find_all(texts) == [scanner.find(text) for text in texts]


def test_the_labelled_set_has_every_kind() -> None:
    assert {kind for _, spans in sentences() for kind, _, _ in spans} == set(kinds()) - {"private_key"}


@pytest.mark.parametrize(
    ("kind", "made"), [("chinese_id", chinese_ids(200, 1)), ("credit_card", cards(200, 2)), ("iban", ibans(200, 3))]
)
def test_numbers_with_a_right_checksum_are_found_and_with_one_digit_changed_are_not(kind: str, made: list[str]) -> None:
    draw, scanner = random.Random(4), Scanner([kind])
    for value in made:
        assert spans_of(scanner.find(f"see {value} there")) == {(kind, 4, 4 + len(value))}, value
        place = draw.randrange(len(value) - 9, len(value) - 1)
        if value[place].isdigit():
            wrong = f"{value[:place]}{(int(value[place]) + draw.randint(1, 9)) % 10}{value[place + 1 :]}"
            assert scanner.find(f"see {wrong} there") == [], wrong


def test_few_random_numbers_pass_for_a_card(scanner: Scanner) -> None:
    draw = random.Random(5)
    texts = [f"It says {draw.randrange(10**15, 10**16)} here" for _ in range(2000)]
    found = [one for each in scanner.find_all(texts) for one in each if one.kind == "credit_card"]
    assert len(found) < 2000 * 0.1 * 0.35  # Luhn lets a tenth through, the issuers' prefixes a third of those


def test_the_headers_of_real_mails_are_found_without_exception(scanner: Scanner) -> None:
    try:
        texts = mails()
    except OSError as problem:
        pytest.skip(f"the mails could not be fetched: {problem}")
    senders = addresses = 0
    for text, found in zip(texts, scanner.find_all(texts), strict=True):
        values = {text[one.start : one.end] for one in found if one.confidence >= 0.5}
        sender = parseaddr(HeaderParser().parsestr(text)["From"] or "")[1]
        if "@" in sender:
            senders += 1
            assert sender in values
        for address in re.findall(r"^Received:.*?[\[(]((?:\d+\.){3}\d+)[\])]", text, re.MULTILINE):
            if max(int(part) for part in address.split(".")) < 256 and ipaddress.ip_address(address).is_global:
                addresses += 1
                assert address in values
        assert not {one.kind for one in found} & {"chinese_id", "us_ssn", "credit_card", "iban", "private_key", "jwt", "api_key"}
    assert (senders, addresses) == (400, 1050)


PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n"
    + "MIIEpAIBAAKCAQEA7bq98M4X\n" * 4
    + "-----END RSA PRIVATE KEY-----"
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"key:\n{PEM}\nafter", PEM),
        (PEM.replace("\n", "\\n"), PEM.replace("\n", "\\n")),
        (
            "-----BEGIN PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA7bq98M4X\n" * 2 + "and a comment",
            "-----BEGIN PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA7bq98M4X\n" * 2,
        ),
        ("The line -----BEGIN PRIVATE KEY----- opens the block.", ""),
    ],
    ids=["whole", "escaped", "no end", "only named"],
)
def test_private_keys_are_found_whole(scanner: Scanner, text: str, wanted: str) -> None:
    found = [text[one.start : one.end] for one in scanner.find(text) if one.kind == "private_key"]
    assert [one.strip() for one in found] == ([wanted.strip()] if wanted else [])


def test_a_heading_of_a_key_before_a_long_text_takes_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert Scanner(["private_key"]).find("-----BEGIN PRIVATE KEY-----" + " some prose" * (1 << 20)) == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10  # kilobytes


def test_small_numbers_after_a_word_for_hosts_are_addresses() -> None:
    text = "IPs: 8.8.8.8, 1.1.1.1 (not section 2.1.3.4)"
    assert [text[one.start : one.end] for one in Scanner(["ip_address"]).find(text) if one.confidence >= 0.5] == [
        "8.8.8.8",
        "1.1.1.1",
    ]


def test_a_value_that_is_also_part_of_something_longer_is_found_in_its_own_place() -> None:
    text = "x203.12.160.35.7 and 203.12.160.35"
    assert Scanner(["ip_address"]).find(text) == [Finding("ip_address", 21, 34, 0.85)]


def test_what_overlaps_goes_to_the_kind_that_is_surer(scanner: Scanner) -> None:
    text = "https://bob:s3cret99@mail.example.com/x"
    assert [(one.kind, text[one.start : one.end]) for one in scanner.find(text)] == [("url_credentials", "bob:s3cret99")]


def test_options_decide_about_private_addresses_and_regions() -> None:
    text = "ping 192.168.1.10 or call 07911 123456"
    assert Scanner(["ip_address", "phone"]).find(text) == []
    asked = Scanner(["ip_address", "phone"], Options(private_ips=True, phone_regions=("GB",)))
    assert [text[one.start : one.end] for one in asked.find(text)] == ["192.168.1.10", "07911 123456"]


def test_mistakes_are_told() -> None:
    with pytest.raises(NotFound, match="emial"):
        Scanner(["emial"])
    with pytest.raises(InvalidValue, match="No kind"):
        Scanner([])
    with pytest.raises(InvalidValue, match="UK"):
        Scanner(["phone"], Options(phone_regions=("UK",)))


@pytest.mark.parametrize(
    "piece", ["a@", "a.", "1.", "1-", "12:", "+1 ", "eyJaaaaaaaa.", "password=", "-----BEGIN PRIVATE KEY-----", "x://a:"]
)
def test_hostile_repetition_is_read_to_its_end(scanner: Scanner, piece: str) -> None:
    scanner.find(piece * 20_000)


def test_empty_and_foreign_texts_have_no_findings(scanner: Scanner) -> None:
    assert scanner.find_all(["", "床前明月光，疑是地上霜。", "😀" * 10]) == [[], [], []]


def test_international_numbers_of_every_country_are_found() -> None:
    scanner, kinds_of_line = Scanner(["phone"]), (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE)
    examples = [
        phonenumbers.example_number_for_type(region, kind)
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
        for kind in kinds_of_line
    ]
    written = [
        phonenumbers.format_number(one, form)
        for one in examples if one is not None
        for form in (phonenumbers.PhoneNumberFormat.E164, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    ]  # fmt: skip
    found = scanner.find_all([f"Reach me on {one}, thanks" for one in written])
    assert [spans_of(each) for each in found] == [{("phone", 12, 12 + len(one))} for one in written]
    assert len(written) > 900
