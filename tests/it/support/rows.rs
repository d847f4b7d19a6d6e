//! Rows that a framework cannot read.

/// Values of sessions that are not JSON objects.
pub(crate) const NOT_OBJECTS: [Option<&str>; 9] = [
    None,
    Some(""),
    Some("SecretOfTheLobster"),
    Some("\"SecretOfTheLobster\""),
    Some("[\"SecretOfTheLobster\"]"),
    Some("{\"SecretOfTheLobster\": "),
    Some("{\"text\": 1} SecretOfTheLobster"),
    Some("{1: 2}"),
    Some("null"),
];
