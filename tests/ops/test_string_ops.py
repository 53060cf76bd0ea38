"""StringConcat, StringSplit, RegexFullMatch, StringNormalizer: Unicode, broadcasting, white space, hostile patterns."""

import re
import time

import numpy as np

from tests.ops.harness import Case, check, raises


def strings(items):
    return np.array(items, object)


test_concat = check(
    [
        Case("StringConcat", [strings(["a", "bc"]), strings(["x", ""])], expect=strings(["ax", "bc"])),
        Case(
            "StringConcat", [strings([["a"], ["b"]]), strings(["x", "y"])], expect=strings([["ax", "ay"], ["bx", "by"]])
        ),
        Case("StringConcat", [strings(["ä", "漢"]), strings("字")], expect=strings(["ä字", "漢字"])),
        Case("StringConcat", [strings([]).reshape(0, 1), strings(["x", "y"])], expect=strings([]).reshape(0, 2)),
        raises(Case("StringConcat", [strings(["a", "b"]), strings(["x", "y", "z"])]), "broadcast"),
    ]
)


def parts(delimiter=None, most=-1):
    def expected(x):
        lists = [s.split(delimiter, most) for s in x.ravel()]
        width = max(map(len, lists), default=0)
        y = strings([p + [""] * (width - len(p)) for p in lists]).reshape(*x.shape, width)
        return [y, np.array([len(p) for p in lists], np.int64).reshape(x.shape)]

    return expected


texts = strings(["a,b,c", "", ",x,", "  hello   world \t now ", "no", "é\u00a0ü\u3000z", ",,"])
test_split = check(
    [
        Case("StringSplit", [texts], {} if d is None else {"delimiter": d}, outputs=2, expect=parts(d))
        for d in (None, ",", "lo", ",,")
    ]
    + [
        Case(
            "StringSplit",
            [texts],
            {"maxsplit": m} | ({} if d is None else {"delimiter": d}),
            outputs=2,
            expect=parts(d, m),
        )
        for d in (None, ",")
        for m in (0, 1, 2, 100)
    ]
    + [
        Case("StringSplit", [texts.reshape(7, 1)], {"delimiter": ""}, outputs=2, expect=parts()),
        Case("StringSplit", [strings([])], outputs=2, expect=[strings([]).reshape(0, 0), np.zeros(0, np.int64)]),
    ]
)

words = [
    "",
    "a",
    "abc",
    "ABC",
    "a1_",
    "foo@bar.com",
    "12:34",
    "aaa\n",
    "\n",
    "ä",
    "äöü",
    "aab",
    "x y",
    "日本",
    "a-b",
    "[",
    "tt",
    "\t",
]
patterns = [
    "",
    "a",
    "a*",
    "(ab|a)c?",
    "[a-c]+",
    "[^a-c]*",
    r"\d\d:\d\d",
    r"\w+",
    r"\W*",
    r"\s",
    r"[\w.]+@[\w.]+\.[a-z]{2,3}",
    "a{3}",
    "a{2,}b?",
    "(?i)abc",
    "(?i:A)bc",
    "a.b",
    "(?s)aaa.",
    "^a$",
    r"\Aabc\z",
    r"\bx\b y",
    r"a\Bbc",
    "(?P<n>a)+b?",
    ".",
    "..",
    "[äöü]+",
    "[^x]",
    r"\x61bc",
    r"\[",
    "[[]",
    "[]a]",
    "a|b|abc",
    "(a|b)*?c",
    "a??bc",
    "(?:)",
    "x{0}",
    r"\t",
    "日.",
    "[a-]-b|a-b",
    "t{1,2}",
    "(|a)+",
]
test_regex = check(
    [
        Case(
            "RegexFullMatch",
            [strings(words)],
            {"pattern": p},
            id=str(i),
            expect=np.array([re.fullmatch(p.replace(r"\z", r"\Z"), w) is not None for w in words]),
        )
        for i, p in enumerate(patterns)
        if p not in (r"\w+", r"\W*")
    ]
    + [
        Case(
            "RegexFullMatch",
            [strings(words)],
            {"pattern": p},
            id=f"ascii-{p}",
            expect=np.array([re.fullmatch(p, w, re.ASCII) is not None for w in words]),
        )
        for p in (r"\w+", r"\W*")
    ]
    + [
        Case("RegexFullMatch", [strings([]).reshape(0, 2)], {"pattern": "a"}, expect=np.zeros((0, 2), bool)),
        raises(Case("RegexFullMatch", [strings(["a"])], {"pattern": "("}), r"\("),
        raises(Case("RegexFullMatch", [strings(["a"])], {"pattern": "*a"}), "nothing|repe"),
        raises(Case("RegexFullMatch", [strings(["a"])], {"pattern": "[z-a]"}), "RegexFullMatch"),
        raises(Case("RegexFullMatch", [strings(["a"])], {"pattern": "((a{1000}){1000}){1000}"}), "RegexFullMatch"),
        raises(Case("RegexFullMatch", [strings(["a"])], {"pattern": r"(a)\1"}), "RegexFullMatch"),
    ]
)


def test_hostile_patterns() -> None:
    start = time.monotonic()
    for pattern in ["(a+)+b", "(a|a)*b", "(a*)*b", "(.*.*.*.*)*x", "(a?){500}b"]:
        Case("RegexFullMatch", [strings(["a" * 3000])], {"pattern": pattern}, expect=np.array([False])).run()
    assert time.monotonic() - start < 60


def test_pattern_of_empty_repetitions() -> None:
    case = Case(
        "RegexFullMatch",
        [strings(["", "a"])],
        {"pattern": "((((){1000}){1000}){1000}){1000}"},
        expect=np.array([True, False]),
    )
    start = time.monotonic()
    try:
        case.run()
    except Exception as error:
        assert "RegexFullMatch" in str(error)
    assert time.monotonic() - start < 30


def normalized(words, stopwords=(), action="NONE", case_sensitive=0):
    kept = [
        w
        for w in words
        if (w if case_sensitive else w.lower()) not in {s if case_sensitive else s.lower() for s in stopwords}
    ]
    return [{"LOWER": str.lower, "UPPER": str.upper, "NONE": str}[action](w) for w in kept] or [""]


days = ["Monday", "tuesday", "WEDNESDAY", "Ärger", "ЖУК", "ωμέγα", "Straße"[:4], "ǆ"]
test_normalizer = check(
    [
        Case(
            "StringNormalizer",
            [strings(days)],
            {"case_change_action": action, "is_case_sensitive": s, "stopwords": stop},
            opset=10,
            expect=strings(normalized(days, stop, action, s)),
            id=f"{action}-{s}-{len(stop)}",
        )
        for action in ("NONE", "LOWER", "UPPER")
        for s in (0, 1)
        for stop in (["monday", "жук"], ["Monday"])
    ]
    + [
        Case(
            "StringNormalizer",
            [strings(days)],
            {"case_change_action": "UPPER"},
            expect=strings(normalized(days, (), "UPPER")),
        ),
        Case(
            "StringNormalizer",
            [strings([days])],
            {"case_change_action": "LOWER", "locale": "en_US"},
            expect=strings([normalized(days, (), "LOWER")]),
        ),
        # No locale need be installed, and none changes the result: one letter maps to one letter everywhere.
        *(
            Case(
                "StringNormalizer",
                [strings(["İstanbul", "ISPARTA", "I\u0307rmak", "\u0131rmak", "Straße", "GRÖẞE", "Ÿ", "ΣΊΣΥΦΟΣ"])],
                {"case_change_action": action, "locale": locale},
                expect=strings(expected),
                id=f"{action}-{locale}",
            )
            for locale in ("tr_TR.UTF-8", "de_DE", "C", "no_such_locale", "")
            for action, expected in (
                ("LOWER", ["istanbul", "isparta", "i\u0307rmak", "\u0131rmak", "straße", "größe", "ÿ", "σίσυφοσ"]),
                ("UPPER", ["İSTANBUL", "ISPARTA", "I\u0307RMAK", "IRMAK", "STRAßE", "GRÖẞE", "Ÿ", "ΣΊΣΥΦΟΣ"]),
            )
        ),
        Case("StringNormalizer", [strings(["a", "b"])], {"stopwords": ["a", "b"]}, expect=strings([""])),
        Case("StringNormalizer", [strings([["a", "b"]])], {"stopwords": ["A", "b"]}, expect=strings([[""]])),
        raises(
            Case("StringNormalizer", [strings(["a"])], {"case_change_action": "TITLE"}), "case_change_action is 'TITLE'"
        ),
        raises(Case("StringNormalizer", [strings([["a"], ["b"]])]), "expected"),
    ]
)


def test_case_tables() -> None:
    """Every code point with a simple mapping, against Python's own tables where they map to one character."""
    letters = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    lower = [c for c in letters if len(c.lower()) == 1]
    upper = [c for c in letters if len(c.upper()) == 1]
    for action, text, expected in [("LOWER", lower, str.lower), ("UPPER", upper, str.upper)]:
        x = "".join(text)
        y = "".join(expected(c) for c in text)
        Case("StringNormalizer", [strings([x])], {"case_change_action": action}, expect=strings([y])).run()
