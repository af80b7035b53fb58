"""What is an email address, and which addresses are one mailbox."""

from email.message import EmailMessage
from email.utils import getaddresses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.kit.email_addresses import Sender, mailbox_of, normalise_address, parse_sender
from tokenbooth.kit.errors import InvalidRequest

KELVIN = "\N{KELVIN SIGN}"
UMLAUT = "\N{LATIN SMALL LETTER U WITH DIAERESIS}"

# What texts are put together from.
PARTS = [*"aB@.,;<>()[]:+-%!1", '"', "\\", " ", "\n", "\0", "=?utf-8?q?", "?=", "=40", "xn--", "example.com", UMLAUT]

# What is refused, and why it might pass for an address.
REFUSED = {
    "nothing": "",
    "no host": "ada@",
    "no local part": "@example.com",
    "no sign": "ada",
    "two addresses in an encoded word": "=?utf-8?q?victim=40bank.example?=,1@evil.example",
    "an encoded word": "=?utf-8?q?victim?=@evil.example",
    "an encoded host": "victim@=?utf-8?q?bank.example?=",
    "a comma": "victim@bank.example,ada@example.com",
    "a comma before": "victim,ada@example.com",
    "a semicolon": "victim@bank.example;ada@example.com",
    "two hosts": "ada@example.com@bank.example",
    "a display name": "Ada <ada@example.com>",
    "angle brackets": "<ada@example.com>",
    "a comment": "ada(victim@bank.example)@example.com",
    "a comment behind": "ada@example.com(x)",
    "a group": "friends:ada@example.com;",
    "a source route": "@bank.example:ada@example.com",
    "a percent route": "victim%bank.example@example.com",
    "a bang route": "bank!victim@example.com",
    "a quoted local part": '"ada"@example.com',
    "a quoted space": '"ada b"@example.com',
    "a backslash": "ada\\@example.com",
    "a pipe": "|true@example.com",
    "a space": "ada b@example.com",
    "a space in the host": "ada@exam ple.com",
    "a tab": "ada\t@example.com",
    "a line break": "ada@example.com\nBcc: victim@bank.example",
    "a line break behind": "ada@example.com\n",
    "a carriage return": "ada@example.com\r",
    "a NUL": "ada\0@example.com",
    "a NUL behind": "ada@example.com\0",
    "a lone surrogate": "ada\ud800@example.com",
    "a no-break space": "ada@example.com\N{NO-BREAK SPACE}",
    "a soft hyphen": "ada@exam\N{SOFT HYPHEN}ple.com",
    "a space without a width": "ada@exam\N{ZERO WIDTH SPACE}ple.com",
    "other letters before the sign": "ad\N{CYRILLIC SMALL LETTER A}@example.com",
    "a letter that lowers to ASCII": f"{KELVIN}ate@example.com",
    "such a letter in the host": f"ada@{KELVIN}ate.example",
    "wide letters": "ada@\N{FULLWIDTH LATIN SMALL LETTER E}xample.com",
    "a full stop of another script": "ada@example\N{IDEOGRAPHIC FULL STOP}com",
    "a host that IDNA folds": "ada@stra\N{LATIN SMALL LETTER SHARP S}e.example",
    "a dot in front": ".ada@example.com",
    "a dot behind": "ada.@example.com",
    "two dots": "ada..b@example.com",
    "a host that ends with a dot": "ada@example.com.",
    "an empty label": "ada@example..com",
    "a hyphen in front": "ada@-example.com",
    "an IP address": "ada@127.0.0.1",
    "an address literal": "ada@[127.0.0.1]",
    "an IPv6 literal": "ada@[IPv6:::1]",
    "an underscore in the host": "ada@exam_ple.com",
    "a local part of 65": f"{'a' * 65}@example.com",
    "a label of 64": f"ada@{'a' * 64}.com",
    "a label of 64 once it is encoded": f"ada@{UMLAUT * 63}.com",
    "255 in all": f"ada@{'.'.join(['a' * 61] * 4)}.com",
    "a very long text": "a@" + UMLAUT * 16_000,
}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ada@example.com", "ada@example.com"),
        ("  Ada@Example.COM ", "ada@example.com"),
        ("ada.lovelace+x@mail.example.co.uk", "ada.lovelace+x@mail.example.co.uk"),
        ("o'brien_&=/#~-1@example.com", "o'brien_&=/#~-1@example.com"),
        ("root@localhost", "root@localhost"),
        ("ada@xn--mller-kva.example", "ada@xn--mller-kva.example"),
        (f"ada@M{UMLAUT}ller.example", "ada@xn--mller-kva.example"),
        ("ada@\N{CYRILLIC SMALL LETTER A}pple.example", "ada@xn--pple-43d.example"),
        (f"{'a' * 64}@example.com", f"{'a' * 64}@example.com"),
        (f"ada@{'.'.join(['a' * 61] * 4)}.de"[:254], f"ada@{'.'.join(['a' * 61] * 4)}.de"[:254]),
    ],
)
def test_an_address_is_kept_in_one_form(text: str, address: str) -> None:
    """Lower case, and a host of other letters as its ASCII name, which shows what it is."""
    assert normalise_address(text) == address
    assert normalise_address(address) == address


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_may_be_read_as_something_else_is_refused(text: str) -> None:
    """It is no address at all, more than one, or one that two readers take for different ones."""
    with pytest.raises(InvalidRequest) as refused:
        normalise_address(text)
    assert (refused.value.code, refused.value.param) == ("invalid_email", "email")


@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join))
def test_a_header_holds_the_one_address_that_was_taken(text: str) -> None:
    """Whatever is taken, the standard library's two readers of headers find it, and nothing beside it."""
    try:
        address = normalise_address(text)
    except InvalidRequest:
        return
    message = EmailMessage()
    message["To"] = address
    assert [found.addr_spec for found in message["To"].addresses] == [address]
    assert getaddresses([message["To"]]) == [("", address)]


@pytest.mark.parametrize(
    ("address", "mailbox"),
    [
        ("ada@example.com", "ada@example.com"),
        ("ada+1@example.com", "ada@example.com"),
        ("ada+1+2@example.com", "ada@example.com"),
        ("a.da@example.com", "a.da@example.com"),
        ("a.d.a@gmail.com", "ada@gmail.com"),
        ("a.da+1@googlemail.com", "ada@gmail.com"),
        ("+ada@example.com", "+ada@example.com"),
    ],
)
def test_spellings_of_a_mailbox_are_one(address: str, mailbox: str) -> None:
    """A tag behind "+" is left out everywhere, dots where Google leaves them out."""
    assert mailbox_of(address) == mailbox


@pytest.mark.parametrize(
    ("text", "sender"),
    [
        ("booth@example.com", Sender("", "booth@example.com")),
        ("<booth@example.com>", Sender("", "booth@example.com")),
        ("The Booth <Booth@example.com>", Sender("The Booth", "booth@example.com")),
        ('"Booth, Inc." <booth@example.com>', Sender("Booth, Inc.", "booth@example.com")),
    ],
)
def test_a_sender_is_an_address_that_may_have_a_name(text: str, sender: Sender) -> None:
    """The forms in which people write one."""
    assert parse_sender(text) == sender


@pytest.mark.parametrize(
    "text",
    ["", "Booth", "a@b.example, c@d.example", "A <a@b.example>, B <c@d.example>", "A\nBcc: x <a@b.example>",
     "=?utf-8?q?A?= <a@b.example>", "Booth <a@b.example", "Booth <>"],
)  # fmt: skip
def test_what_is_not_one_sender_is_refused(text: str) -> None:
    """A mail is from one address."""
    with pytest.raises(InvalidRequest):
        parse_sender(text)
