"""Terminal escapes in strangers' text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.protocol.archive import sanitise_terminal

ESC = "\x1b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\nnext", "plain\ttext\nnext"),
        ("grüße 日本 🎉 א", "grüße 日本 🎉 א"),
        (f"{ESC}[31mred{ESC}[0m", "red"),
        (f"{ESC}[2J{ESC}[1;1Hclear", "clear"),
        (f"{ESC}[?1049h{ESC}[>cx", "x"),
        (f"{ESC}]0;title\x07x", "x"),
        (f"{ESC}]8;;http://evil{ESC}\\link{ESC}]8;;{ESC}\\", "link"),
        (f"{ESC}]52;c;aGk=\x07copy", "copy"),
        (f"{ESC}Pq#0{ESC}\\sixel", "sixel"),
        (f"{ESC}_apc{ESC}\\x{ESC}^pm{ESC}\\y{ESC}Xsos{ESC}\\z", "xyz"),
        ("\x9b31mred\x9d0;title\x9cx", "redx"),
        (f"{ESC}cfull reset", "full reset"),
        (f"{ESC}(0line", "line"),
        (f"end{ESC}", "end"),
        (f"end{ESC}[", "end"),
        (f"end{ESC}]0;never closed", "end"),
        ("10%\r20%\r\n", "10%\n20%\n"),
        ("bell\x07 back\x08 nul\x00 del\x7f", "bell back nul del"),
        ("a\u202egpj.exe\u2066", "agpj.exe"),
        (f"{ESC}{ESC}[31m[31m", "[31m"),
    ],
)
def test_text_is_shown_without_commands(text: str, shown: str) -> None:
    assert sanitise_terminal(text) == shown


@given(st.text(st.sampled_from("\x1b\x9b\x9d\x9c\x90[]()P\\;:?0123m\x07\r\n\tabcü\u202e\x00\x7f")))
def test_no_control_character_survives(text: str) -> None:
    shown = sanitise_terminal(text)
    assert not any((ord(letter) < 32 and letter not in "\n\t") or 0x7F <= ord(letter) <= 0x9F for letter in shown)
    assert sanitise_terminal(shown) == shown


def test_long_hostile_text_takes_no_time() -> None:
    assert sanitise_terminal(f"{ESC}[" + "1;" * 500_000) == ""
    assert sanitise_terminal(f"{ESC}]" * 500_000) == ""
