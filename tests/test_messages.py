"""Text of errors and warnings: short and printable."""

from moda_keras.messages import is_printable, listed, printable, shortened


def test_long_lists_end_in_a_number():
    text = listed([f"class {number}" for number in range(1000)])
    assert text.startswith("['class 0', 'class 1'") and text.endswith("... and 980 more]")
    assert listed([]) == "[]"
    assert len(listed(["x" * 10**6] * 10**5)) < 3000


def test_control_characters_are_escaped():
    hostile = "\x1b]0;title\x07 \u202egnp.exe \ud800 \x9b31m \u2028"
    assert not is_printable(hostile)
    shown = printable(hostile)
    assert shown == r"\x1b]0;title\x07 \u202egnp.exe \ud800 \x9b31m \u2028"
    assert shortened(hostile, 1000).encode()


def test_names_of_all_languages_are_printable():
    for name in ("cat", "Löwe", "猫", "\u0646\u06cc\u0645\u200c\u0641", "👩\u200d🚀", "a b"):
        assert is_printable(name)
        assert printable(name) == name


def test_long_texts_are_cut():
    assert shortened("a\n b", 10) == "a b"
    assert shortened("x" * 10**7, 5) == "xxxxx ..."
