use super::*;

#[test]
fn conditions_are_read_as_sql_has_them() {
    let cases = [
        ("a = 1", "a = 1"),
        ("A<>-1.5e-3", "not (A = -1.5e-3)"),
        (
            "a = 1 or b = 2 and not c = 'it''s'",
            "(a = 1 or (b = 2 and not (c = 'it''s')))",
        ),
        (
            "(a = 1 OR b = 2) AND c IS NOT NULL",
            "((a = 1 or b = 2) and not (c is null))",
        ),
        ("\"a \"\"b\" in (1, null, true)", "\"a \"\"b\" in (1, null, true)"),
        (
            "a not between 1 and 2 and b>=3",
            "(not ((a >= 1 and a <= 2)) and b >= 3)",
        ),
        ("a not like 'x%'", "not (starts_with(a, 'x'))"),
        ("größe < '1'", "größe < '1'"),
        ("\"null\" is null", "\"null\" is null"),
    ];
    for (text, expected) in cases {
        let shown = parse(text).expect(text).to_string();
        assert_eq!(shown, expected);
        assert_eq!(parse(&shown).expect("what is shown can be read").to_string(), expected);
    }
}

#[test]
fn what_is_no_condition_is_refused_with_its_place() {
    let cases = [
        ("", "byte 0"),
        ("a", "byte 1"),
        ("a = ", "byte 4"),
        ("a = b", "byte 4"),
        ("a = 1 b = 2", "byte 6"),
        ("(a = 1", "byte 6"),
        ("a = 'x", "quote at byte 4"),
        ("a like '%x'", "byte 7"),
        ("a like 'x_%'", "byte 7"),
        ("a is 1", "byte 5"),
        ("a # 1", "byte 2"),
        ("null = 1", "byte 0"),
        ("a in ()", "byte 6"),
    ];
    for (text, place) in cases {
        let error = parse(text).expect_err(text);
        assert!(error.to_string().contains(place), "{text}: {error}");
    }
    let deep = "(".repeat(100_000) + "a = 1";
    assert!(parse(&deep).is_err());
    let long = vec!["a = 1"; 100_000].join(" and ");
    assert!(parse(&long).is_err());
}
