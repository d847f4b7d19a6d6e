//! Connection strings of `keyword=value` pairs.

use super::{Pair, is_blank, is_name, position_of};

pub(super) fn parse(text: &str) -> Result<Vec<Pair>, String> {
    let mut pairs: Vec<Pair> = Vec::new();
    let mut rest = text.trim_start_matches(is_blank);
    while !rest.is_empty() {
        let end = rest.find(|c| c == '=' || is_blank(c)).unwrap_or(rest.len());
        let (keyword, after) = rest.split_at(end);
        let Some(after) = after.trim_start_matches(is_blank).strip_prefix('=') else {
            return Err(format!(
                "expected `keyword=value` {} of the connection string: the pairs are separated by \
                 spaces, a value with spaces is in single quotes, and a URI begins with \
                 `postgresql://`",
                position_of(rest, text)
            ));
        };
        if keyword.is_empty() {
            return Err(format!(
                "there is no keyword before the `=` {} of the connection string: expected \
                 `keyword=value`",
                position_of(rest, text)
            ));
        }
        let after = after.trim_start_matches(is_blank);
        let (value, after) = match after.strip_prefix('\'') {
            Some(quoted) => quoted_value(quoted).ok_or_else(|| {
                format!(
                    "the quote that opens {} of the connection string is not closed: expected `'` \
                     at the end of the value, and `\\'` for a quote that is part of it",
                    position_of(after, text)
                )
            })?,
            None => plain_value(after),
        };
        pairs.push(Pair {
            keyword: keyword.to_owned(),
            value,
            position: position_of(rest, text),
            // It may be the rest of a password that has spaces and no quotes.
            can_be_named: is_name(keyword, "_.-") && !pairs.iter().any(Pair::is_password),
        });
        rest = after.trim_start_matches(is_blank);
    }
    Ok(pairs)
}

/// Splits a text behind its closing quote: the value, and the rest.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next()? {
            '\'' => return Some((value, rest.as_str())),
            '\\' => value.push(rest.next()?),
            c => value.push(c),
        }
    }
}

/// Splits a text at the first space without a backslash: the value, and the rest.
fn plain_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => value.extend(rest.next()),
            c if is_blank(c) => break,
            c => value.push(c),
        }
    }
    (value, rest.as_str())
}
