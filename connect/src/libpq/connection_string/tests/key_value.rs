use super::{reads, refuses};

#[test]
fn blanks_around_the_equals_sign_are_skipped() {
    reads(&[
        ("host=a", &[("host", "a")]),
        (
            " host = a\tport\n=\n5433 ",
            &[("host", "a"), ("port", "5433")],
        ),
        ("host\x0b=\x0ca", &[("host", "a")]),
    ]);
}

#[test]
fn the_value_of_a_bare_equals_sign_is_the_next_word() {
    reads(&[
        ("host=", &[("host", "")]),
        ("host= port=1", &[("host", "port=1")]),
        ("host='' port=1", &[("host", ""), ("port", "1")]),
    ]);
}

#[test]
fn blanks_in_quotes_are_part_of_the_value() {
    reads(&[
        ("password=' a  b '", &[("password", " a  b ")]),
        ("password='a=b'", &[("password", "a=b")]),
        ("password='ä €'", &[("password", "ä €")]),
    ]);
}

#[test]
fn a_backslash_in_quotes_escapes_a_quote() {
    reads(&[
        (r"password='it\'s'", &[("password", "it's")]),
        (r"password='a\\'", &[("password", r"a\")]),
        (r"password='\a\ä'", &[("password", "aä")]),
    ]);
}

#[test]
fn a_backslash_without_quotes_escapes_a_blank() {
    reads(&[
        (r"password=a\ b", &[("password", "a b")]),
        (r"password=a\\b", &[("password", r"a\b")]),
        (r"password=a\", &[("password", "a")]),
        (r"password=\'a", &[("password", "'a")]),
    ]);
}

#[test]
fn a_quote_counts_at_the_start_of_a_value_only() {
    reads(&[
        ("password=a'b", &[("password", "a'b")]),
        ("password=a'", &[("password", "a'")]),
    ]);
}

#[test]
fn a_pair_may_follow_a_closing_quote_at_once() {
    reads(&[("host='a'port=1", &[("host", "a"), ("port", "1")])]);
}

#[test]
fn the_error_of_a_word_without_equals_sign_has_its_position() {
    refuses(&[
        ("host", "at character 1 "),
        ("password=my secret", "at character 13 "),
        ("ü=ä host port=1", "at character 5 "),
    ]);
}

#[test]
fn an_open_quote_is_refused() {
    refuses(&[
        ("password='", "quote that opens at character 10 "),
        ("password= 'a", "quote that opens at character 11 "),
        (r"password='a\'", "quote that opens at character 10 "),
        (r"password='a\", "quote that opens at character 10 "),
    ]);
}
